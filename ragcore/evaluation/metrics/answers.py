"""Metrics of short answers: exact match, F1, label accuracy, log p."""

from __future__ import annotations

from collections import Counter

from ragcore.evaluation.metrics.base import Mean
from ragcore.evaluation.prediction import Prediction
from ragcore.questions.matching import normalize

__all__ = ["ExactMatch", "LabelAccuracy", "LogProb", "TokenF1"]


class ExactMatch(Mean):
    """Share of right answers, as SQuAD normalises them; a pattern is matched from its beginning."""

    def score(self, prediction: Prediction) -> float | None:
        """Return 1 or 0."""
        return None if prediction.correct is None else float(prediction.correct)


class TokenF1(Mean):
    """SQuAD's F1 of words, with the best of the right answers; not for patterns."""

    def score(self, prediction: Prediction) -> float | None:
        """Return a number from 0 to 1."""
        if not prediction.right or prediction.regex:
            return None
        return max(_f1(prediction.answer, right) for right in prediction.right)


class LabelAccuracy(Mean):
    """Share of answers that are the label, letter for letter but for case and spaces."""

    def score(self, prediction: Prediction) -> float | None:
        """Return 1 or 0."""
        if not prediction.right or prediction.regex:
            return None
        answer = _folded(prediction.answer)
        return float(any(answer == _folded(label) for label in prediction.right))


class LogProb(Mean):
    """Mean log p(y|x) of the pipeline's answer."""

    def score(self, prediction: Prediction) -> float | None:
        """Return a number of at most 0."""
        return prediction.log_prob


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _f1(answer: str, right: str) -> float:
    answer_words, right_words = normalize(answer).split(), normalize(right).split()
    if not answer_words or not right_words:
        # As in SQuAD 2.0: where the right answer is empty, only an empty one is right.
        return float(answer_words == right_words)
    common = sum((Counter(answer_words) & Counter(right_words)).values())
    return 2 * common / (len(answer_words) + len(right_words))
