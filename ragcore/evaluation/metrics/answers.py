"""Metrics of short answers: exact match, F1, label accuracy, log p."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from ragcore.evaluation.metrics.base import Labels, Mean
from ragcore.evaluation.prediction import Prediction
from ragcore.questions.normalization import composed, words

__all__ = [
    "ExactMatch",
    "HasAnswerExactMatch",
    "HasAnswerF1",
    "LabelAccuracy",
    "LogProb",
    "NoAnswerExactMatch",
    "TokenF1",
]


class ExactMatch(Mean):
    """Share of right answers, as SQuAD normalises them; a pattern is matched from its beginning.

    For a question without an answer an empty answer is right, and so is to abstain.
    """

    labels: ClassVar[Labels | None] = "answers"

    def score(self, prediction: Prediction) -> float | None:
        """Return 1 or 0."""
        return None if prediction.correct is None else float(prediction.correct)


class HasAnswerExactMatch(ExactMatch):
    """Exact match on the questions that have an answer: SQuAD 2.0's HasAns_exact."""

    def score(self, prediction: Prediction) -> float | None:
        """Return 1 or 0."""
        return None if prediction.unanswerable else super().score(prediction)


class NoAnswerExactMatch(ExactMatch):
    """Share of the questions without an answer that got none: SQuAD 2.0's NoAns_exact, NoAns_f1."""

    def score(self, prediction: Prediction) -> float | None:
        """Return 1 or 0."""
        return super().score(prediction) if prediction.unanswerable else None


class TokenF1(Mean):
    """SQuAD's F1 of words, with the best of the right answers; not for patterns.

    For a question without an answer it is exact match.
    """

    labels: ClassVar[Labels | None] = "answers"

    def score(self, prediction: Prediction) -> float | None:
        """Return a number from 0 to 1."""
        if prediction.unanswerable:
            return float(bool(prediction.correct))
        if not prediction.right or prediction.regex:
            return None
        if prediction.withheld:
            return 0.0
        return max(_f1(prediction.text, right) for right in prediction.right)


class HasAnswerF1(TokenF1):
    """F1 on the questions that have an answer: SQuAD 2.0's HasAns_f1."""

    def score(self, prediction: Prediction) -> float | None:
        """Return a number from 0 to 1."""
        return None if prediction.unanswerable else super().score(prediction)


class LabelAccuracy(Mean):
    """Share of answers that are the label, letter for letter but for case and spaces."""

    labels: ClassVar[Labels | None] = "answers"

    def score(self, prediction: Prediction) -> float | None:
        """Return 1 or 0."""
        if not prediction.right or prediction.regex:
            return None
        answer = _folded(prediction.text)
        return float(any(answer == _folded(label) for label in prediction.right))


class LogProb(Mean):
    """Mean log p(y|x) of the pipeline's answer, over the answers that have one."""

    def score(self, prediction: Prediction) -> float | None:
        """Return a number of at most 0; None where the generator gives no log p."""
        return prediction.log_p


def _folded(text: str) -> str:
    return composed(" ".join(text.split()).casefold())


def _f1(answer: str, right: str) -> float:
    answer_words, right_words = words(answer), words(right)
    if not answer_words or not right_words:
        # As in SQuAD 2.0: where the right answer is empty, only an empty one is right.
        return float(answer_words == right_words)
    common = sum((Counter(answer_words) & Counter(right_words)).values())
    return 2 * common / (len(answer_words) + len(right_words))
