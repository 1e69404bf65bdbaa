"""The tokens that end an answer: a model may have several, as Llama 3, Qwen and Gemma do.

An answer ends by whichever of them comes, so all of their probability is that of the first, and the
others have none. Log-probs stay normalised, and the decoding needs to know one end token only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EndTokens"]


@dataclass(frozen=True, slots=True)
class EndTokens:
    """The end tokens of a model.

    Attributes:
        first: the one that targets end with.
        others: the other ones.
    """

    first: int
    others: tuple[int, ...] = ()

    @classmethod
    def of(cls, first: int, named: list[int], vocabulary_size: int) -> EndTokens:
        """Take `first`, and of the named ids those that the model can write."""
        others = {token for token in named if token != first and 0 <= token < vocabulary_size}
        return cls(first, tuple(sorted(others)))

    @property
    def ids(self) -> tuple[int, ...]:
        """Return all of them, the first one first."""
        return (self.first, *self.others)

    def merged(self, values: Tensor) -> Tensor:
        """Give the first end token what all of them have.

        Args:
            values: log-probs or logits [..., V]; not changed.

        Returns:
            The same shape: Σ over the ends of p in the first one's place, -inf in the others';
            `values` itself where there is one end token only. Differentiable.
        """
        if not self.others:
            return values
        # Only now: who has no tensor needs no torch.
        import torch

        ends = torch.tensor(self.ids, device=values.device)
        # p(end) = Σ_e p(e)
        total = values.index_select(-1, ends).logsumexp(dim=-1)  # [...]
        merged = values.clone()
        merged[..., self.first] = total
        merged[..., ends[1:]] = -torch.inf
        return merged
