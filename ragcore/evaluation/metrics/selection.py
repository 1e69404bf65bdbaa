"""How well log p tells right answers from wrong ones: AUROC, and exact match at a coverage.

A pipeline may keep back answers of low log p. Coverage is the share of questions that it answers
then; the risk is that these are wrong (El-Yaniv and Wiener, 2010; for question answering Kamath et
al., 2020). Both figures rank all questions together, so resampling questions gives no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import ClassVar

import numpy as np
from pydantic import Field

from ragcore.evaluation.metrics.base import Labels, Mean
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["LogProbAuroc", "SelectiveExactMatch"]


class LogProbAuroc(Mean):
    """The probability that a right answer has a higher log p than a wrong one; ties count half.

    Applies to no question where all answers are right, or all wrong, and to no answer without log
    p.
    """

    resampled: ClassVar[bool] = False
    labels: ClassVar[Labels | None] = "answers"

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Return for each right answer the share of wrong ones below it, and 1 to count it."""
        judged = _log_probs(predictions)
        wrong = np.sort([log_p for log_p, correct in judged if correct is False])
        if not len(wrong) or not any(correct for _, correct in judged):
            return [None] * len(predictions)
        statistics: list[Sequence[float] | None] = []
        for prediction in predictions:
            if prediction.correct is None or prediction.log_p is None:
                statistics.append(None)
            else:
                below = np.searchsorted(wrong, prediction.log_p, side="left")
                not_above = np.searchsorted(wrong, prediction.log_p, side="right")
                share = float(below + not_above) / (2 * len(wrong))
                # Wrong answers add nothing to the sums, but the figure is of them too.
                statistics.append((share, 1.0) if prediction.correct else (0.0, 0.0))
        return statistics


class SelectiveExactMatch(Mean):
    """Exact match of the answers of the highest log p, so many that they cover a share of all."""

    class Config(ComponentConfig):
        """How many answers count."""

        coverage: int = Field(
            80, gt=0, le=100, description="percentage of the questions whose answers count"
        )

    config: Config
    resampled: ClassVar[bool] = False
    labels: ClassVar[Labels | None] = "answers"

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Return whether each answer that counts is right, and how much it counts.

        Where the last that count have one log p with others, all of these count in part.
        """
        log_probs = np.sort([log_p for log_p, _ in _log_probs(predictions)])
        if not len(log_probs):
            return [None] * len(predictions)
        covered = ceil(len(log_probs) * self.config.coverage / 100)
        threshold = log_probs[-covered]
        above = int((log_probs > threshold).sum())
        part = (covered - above) / int((log_probs == threshold).sum())
        statistics: list[Sequence[float] | None] = []
        for prediction in predictions:
            if prediction.correct is None or prediction.log_p is None:
                statistics.append(None)
            elif prediction.log_p < threshold:
                statistics.append((0.0, 0.0))
            else:
                weight = 1.0 if prediction.log_p > threshold else part
                statistics.append((weight * prediction.correct, weight))
        return statistics


def _log_probs(predictions: Sequence[Prediction]) -> list[tuple[float, bool]]:
    """Return log p and correctness of each answer for which both are known."""
    return [
        (each.log_p, each.correct)
        for each in predictions
        if each.correct is not None and each.log_p is not None
    ]
