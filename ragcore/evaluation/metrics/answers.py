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
        """1 or 0."""
        return None if prediction.correct is None else float(prediction.correct)


class TokenF1(Mean):
    """SQuAD's F1 of words, with the best of the right answers; not for patterns."""

    def score(self, prediction: Prediction) -> float | None:
        """From 0 to 1."""
        if not prediction.right or prediction.regex:
            return None
        return max(_f1(prediction.answer, one) for one in prediction.right)


class LabelAccuracy(Mean):
    """Share of answers that are the label, letter for letter but for case and spaces."""

    def score(self, prediction: Prediction) -> float | None:
        """1 or 0."""
        if not prediction.right or prediction.regex:
            return None
        said = " ".join(prediction.answer.split()).casefold()
        return float(said in {" ".join(one.split()).casefold() for one in prediction.right})


class LogProb(Mean):
    """Mean log p(y|x) of what was said."""

    def score(self, prediction: Prediction) -> float | None:
        """At most 0."""
        return prediction.log_prob


def _f1(answer: str, right: str) -> float:
    said, wanted = normalize(answer).split(), normalize(right).split()
    if not said or not wanted:
        # As SQuAD 2.0 has it: nothing is right where nothing is asked for.
        return float(said == wanted)
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted))
