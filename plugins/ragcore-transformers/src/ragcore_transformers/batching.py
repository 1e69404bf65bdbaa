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
    """The vectors [n, d] of n ≥ 1 items, in their order; `encode` gives those of one batch."""
    order = sorted(range(len(items)), key=lambda at: length(items[at]))
    parts = [
        encode([items[at] for at in order[begin : begin + batch_size]])
        for begin in range(0, len(order), batch_size)
    ]
    vectors = torch.cat(parts)
    return vectors[torch.argsort(torch.tensor(order)).to(vectors.device)]
