"""What a metric is: numbers for each question, and what their sums come to.

    statistics(prediction)  numbers that add up over questions; None where it does not apply
    value(sums)             the figure of all questions, from those sums

A mean is value = sum / count; BLEU is no mean of its sentences, but its counts add up. With that an
interval by resampling questions, and a test between two runs, need no metric to be computed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["Mean", "Metric", "NoSettings"]


class NoSettings(ComponentConfig):
    """A metric without settings."""


@runtime_checkable
class Metric(Protocol):
    """See above. Made as `Metric(config)`.

    Attributes:
        resampled: whether the figure of questions drawn with replacement means something; false
            for one that counts repetitions, which has no interval then.
    """

    Config: ClassVar[type[Any]]
    capabilities: ClassVar[frozenset[str]]
    resampled: ClassVar[bool]

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """For each prediction numbers that add up, as many for each; None where not applicable."""
        ...

    def value(self, sums: Sequence[float]) -> float:
        """The figure, from the sums over those predictions to which it applies."""
        ...


class Mean:
    """A metric that is the mean of a score of each question; subclasses give `score`."""

    Config: ClassVar[type[NoSettings]] = NoSettings
    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = True

    def __init__(self, config: NoSettings) -> None:
        self.config = config

    def score(self, prediction: Prediction) -> float | None:
        """Of one question; None where it does not apply."""
        raise NotImplementedError

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """The score, and 1 for the question."""
        scores = [self.score(one) for one in predictions]
        return [None if score is None else (score, 1.0) for score in scores]

    def value(self, sums: Sequence[float]) -> float:
        """The mean."""
        return sums[0] / sums[1]
