"""What a metric is: numbers for each question, and the figure that their sums give.

    statistics(predictions)  for each numbers that add up over questions; None where not applicable
    value(sums)              the figure of all questions, from those sums

A mean is value = sum / count; BLEU is no mean of its sentences, but its counts add up. So an
interval by resampling questions, and a test between two runs, need no metric to be computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from ragcore.evaluation.prediction import Prediction
from ragcore.registry.components import ComponentConfig

__all__ = ["Better", "Labels", "Mean", "Metric", "NoSettings"]


Labels = Literal["answers", "passages"]
"""What a metric compares with: right answers, or passages that are known to answer."""

Better = Literal["higher", "lower", "neither"]
"""Which values of a metric are better; a metric without `better` is better if it is higher."""


class NoSettings(ComponentConfig):
    """No settings."""


@runtime_checkable
class Metric(Protocol):
    """A metric, made as `Metric(config)`; see above.

    Attributes:
        resampled: whether the figure of questions drawn with replacement means something; false
            for a metric that counts repetitions, which then has no interval.
    """

    Config: ClassVar[type[Any]]
    capabilities: ClassVar[frozenset[str]]
    resampled: ClassVar[bool]

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Return numbers that add up, equally many for each prediction; None if not applicable."""
        ...

    def value(self, sums: Sequence[float]) -> float:
        """Compute the figure from the sums over those predictions to which it applies."""
        ...


class Mean:
    """A metric that is the mean of a score of each question; subclasses define `score`.

    A subclass that scores all questions together defines `scores` instead. One that sets `labels`
    is not asked for questions none of which has such labels: that is an error.
    """

    Config: ClassVar[type[ComponentConfig]] = NoSettings
    capabilities: ClassVar[frozenset[str]] = frozenset()
    resampled: ClassVar[bool] = True
    labels: ClassVar[Labels | None] = None
    better: Better = "higher"
    takes_arrays: ClassVar[bool] = True
    """Whether `value` computes many figures at once, of sums that are arrays."""

    def __init_subclass__(cls) -> None:
        """Do not pass arrays to a subclass that has a `value` of its own and does not say so."""
        super().__init_subclass__()
        if "value" in cls.__dict__ and "takes_arrays" not in cls.__dict__:
            cls.takes_arrays = False

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    def score(self, prediction: Prediction) -> float | None:
        """Score one question; None where the metric does not apply."""
        raise NotImplementedError

    def scores(self, predictions: Sequence[Prediction]) -> Sequence[float | None]:
        """Score each question."""
        return [self.score(prediction) for prediction in predictions]

    def statistics(self, predictions: Sequence[Prediction]) -> list[Sequence[float] | None]:
        """Return the score of each question, and 1 to count it."""
        return [None if score is None else (score, 1.0) for score in self.scores(predictions)]

    def value(self, sums: Any) -> Any:
        """Compute the mean, or means of sums that are arrays."""
        return sums[0] / sums[1]
