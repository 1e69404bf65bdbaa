"""Encoding many items in batches of similar length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

__all__ = ["encode_by_length"]

Item = TypeVar("Item")


def encode_by_length(
    items: Sequence[Item],
    length: Callable[[Item], int],
    batch_size: int,
    encode: Callable[[list[Item]], torch.Tensor],
) -> torch.Tensor:
    """Encode n ≥ 1 items as vectors [n, d], in their order; `encode` takes one batch."""
    order = sorted(range(len(items)), key=lambda number: length(items[number]))
    parts = [
        encode([items[number] for number in order[begin : begin + batch_size]])
        for begin in range(0, len(order), batch_size)
    ]
    vectors = torch.cat(parts)  # [n, d], by length
    return vectors[torch.argsort(torch.tensor(order)).to(vectors.device)]
