"""Metrics of confidence: Brier score, expected calibration error, area under risk and coverage.

All compare the confidence of an answer (`Prediction.confidence`) with whether it is right; of all
three lower is better. What counts as right, and what to abstain means, says
ragcore/evaluation/confidence.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ragcore.evaluation.confidence import BINS, bin_of, confidence_of
from ragcore.evaluation.metrics.base import Better, Labels, Mean
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["Aurc", "Brier", "ExpectedCalibrationError"]


class Brier(Mean):
    """Mean of (confidence - correct)², 0 to 1 (Brier, 1950); correct is 1 or 0."""

    labels: ClassVar[Labels | None] = "answers"
    better: Better = "lower"

    def score(self, prediction: Prediction) -> float | None:
        """Return a number from 0 to 1."""
        if prediction.correct is None or prediction.withheld:
            return None
        return (confidence_of(prediction) - prediction.correct) ** 2


class ExpectedCalibrationError(Mean):
    """How far confidence and accuracy differ, 0 to 1 (Naeini et al., 2015; Guo et al., 2017).

        ECE = Σ_b n_b / n · |confidence_b - accuracy_b|
            = 1 / n · Σ_b |Σ_{i in b} confidence_i - correct_i|

    over bins of equal width, with the mean confidence and the accuracy of the n_b answers of each.
    With few answers a bin it is above 0 even where confidence is perfect, the more so the more bins
    there are (Kumar et al., 2019). Drawing questions again adds as much once more, so that near 0
    the whole interval can lie above the figure.
    """

    class Config(ComponentConfig):
        """How confidences are grouped."""

        bins: int = Field(BINS, gt=0, le=1000, description="number of bins of equal width")

    config: Config
    labels: ClassVar[Labels | None] = "answers"
    better: Better = "lower"
    takes_arrays: ClassVar[bool] = True

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Return confidence - correct in the column of the answer's bin, and 1 to count it.

        Each row has a column for each bin and one for the count.
        """
        statistics: list[Sequence[float] | None] = []
        for prediction in predictions:
            if prediction.correct is None or prediction.withheld:
                statistics.append(None)
                continue
            confidence = confidence_of(prediction)
            row = [0.0] * self.config.bins
            row[int(bin_of(confidence, self.config.bins))] = confidence - prediction.correct
            statistics.append((*row, 1.0))
        return statistics

    def value(self, sums: Any) -> Any:
        """Compute the error from sums [bins + 1], or errors from sums [bins + 1, draws]."""
        return np.abs(np.asarray(sums[:-1])).sum(axis=0) / sums[-1]


class Aurc(Mean):
    """Area under the curve of risk by coverage, 0 to 1 (Geifman, Uziel and El-Yaniv, 2019).

        AURC = 1/n · Σ_{m=1..n} risk of the m answers of highest confidence

    Answers of equal confidence come in random order: it is the expected area. Answers by which the
    pipeline abstains come last, so that no pipeline gains by abstaining from all hard questions.
    All questions are ranked together, so resampling questions gives no interval.
    """

    resampled: ClassVar[bool] = False
    labels: ClassVar[Labels | None] = "answers"
    better: Better = "lower"

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Return for each answer the risk, on average, of those that come no later; and 1."""
        judged = [each for each in predictions if each.correct is not None]
        # Below every confidence where the pipeline abstains.
        confidence = np.array(
            [-1.0 if each.abstained else confidence_of(each) for each in judged], np.float64
        )  # [n]
        wrong = np.array([not each.correct for each in judged], np.float64)  # [n]
        levels, level_of, counts = np.unique(
            -confidence, return_inverse=True, return_counts=True
        )  # [levels] by falling confidence, [n], [levels]
        errors = np.bincount(level_of, wrong, len(levels))  # [levels]
        before = np.cumsum(counts) - counts  # [levels], answers of higher confidence
        errors_before = np.cumsum(errors) - errors  # [levels]
        places = np.arange(1, len(judged) + 1)  # [n]
        level = np.repeat(np.arange(len(levels)), counts)  # [n], of each place
        entered = places - before[level]  # [n], answers of the level up to each place
        risks = (errors_before[level] + entered * (errors / counts)[level]) / places  # [n]
        means = np.bincount(level, risks, len(levels)) / counts  # [levels]
        scores = iter(means[level_of].tolist())
        return [None if each.correct is None else (next(scores), 1.0) for each in predictions]
