"""A scorer of a question with a passage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Scores

__all__ = ["Scorer"]


@runtime_checkable
class Scorer(Component, Protocol):
    """Scores pairs of question and passage, each independently, as a cross-encoder does."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Score P pairs, questions[i] with passages[i].

        Returns:
            float32 [P], finite, higher is better: logits of p(z|x).
        """
        ...
