"""An encoder: vectors of passages and of questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Passage

if TYPE_CHECKING:
    import torch

    from ragcore.arrays import FloatArray
    from ragcore.types import Vectors

__all__ = ["Encoder"]


@runtime_checkable
class Encoder(Component, Protocol):
    """Maps texts to vectors whose inner product is the score (paper, section 2.2)."""

    @property
    def dim(self) -> int:
        """Return d, the length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Name what the passages' vectors depend on: model, revision, pooling, prefix, d."""
        ...

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        """Encode n passages as vectors d(z), float32 [n, d].

        A vector depends on the passage's title and text, and on nothing else of it: the embedding
        cache knows a passage by these two.
        """
        ...

    def encode_questions(self, questions: Sequence[str]) -> FloatArray | torch.Tensor:
        """Encode B questions as vectors q(x), float32 [B, d], of NumPy or of torch.

        Those of a `trainable` encoder are a tensor, with a gradient where the caller has gradients
        enabled.
        """
        ...
