"""Keys and values of a passage's tokens, as a causal model computed them.

Knows tensors; knows no model, no text and nothing of where they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PassageStates", "common_length"]


@dataclass(frozen=True, slots=True)
class PassageStates:
    """What a model computed of a prompt's first n tokens, the last of them a passage's; immutable.

    No token of a causal model depends on a later one, so it holds for every prompt that begins
    with the same tokens.

    Attributes:
        token_ids: the n tokens.
        keys: of each layer [H, n, d].
        values: likewise.
    """

    token_ids: tuple[int, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Return n."""
        return len(self.token_ids)

    def tensors(self) -> Iterator[Tensor]:
        """Iterate over keys, then values, layer by layer."""
        yield from self.keys
        yield from self.values

    @property
    def bytes(self) -> int:
        """The bytes of all keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    @torch.inference_mode(False)
    @torch.no_grad()
    def copied(self, dtype: torch.dtype | None = None) -> PassageStates:
        """Return a copy in memory of its own, in another dtype where one is named."""

        def copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(
                tensor.to(dtype or tensor.dtype, copy=True, memory_format=torch.contiguous_format)
                for tensor in tensors
            )

        return PassageStates(self.token_ids, copies(self.keys), copies(self.values))


def common_length(some: Sequence[int], others: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common at their beginnings."""
    for count, (one, other) in enumerate(zip(some, others, strict=False)):
        if one != other:
            return count
    return min(len(some), len(others))
