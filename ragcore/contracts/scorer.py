"""A scorer of a question with a passage, and one that tells whether the passage answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Scores

__all__ = ["AnswerabilityScorer", "Scorer"]


@runtime_checkable
class Scorer(Component, Protocol):
    """Scores pairs of question and passage, each independently, as a cross-encoder does."""

    def score(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Score P pairs, questions[i] with passages[i].

        Returns:
            float32 [P], finite, higher is better: logits of p(z|x).
        """
        ...


@runtime_checkable
class AnswerabilityScorer(Scorer, Protocol):
    """A scorer with the capability `answerability`: it tells whether a passage answers."""

    def log_unanswerable(self, questions: Sequence[str], passages: Sequence[Passage]) -> Scores:
        """Compute how probable each of P passages has no answer to its question.

        Returns:
            float32 [P], finite, at most 0: log p(z has no answer|x,z), natural.

        Raises:
            QuestionError: a question is longer than the model's input.
        """
        ...
