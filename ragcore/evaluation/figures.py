"""From predictions to figures: each metric with an interval, and the difference of two runs.

A metric that fails is a figure with its error: it never goes missing. Intervals are of questions
drawn with replacement (Efron, 1979), 95 %, by scipy; the test of a difference exchanges the two
runs' answers to a question at random (approximate randomisation; Noreen, 1989).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.errors import MetricError
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.installation import DISTRIBUTION, install_hint

if TYPE_CHECKING:
    import numpy.typing as npt

    Table = npt.NDArray[np.float64]

__all__ = ["Difference", "Figure", "difference", "figures", "lacking"]

RESAMPLES: Final = 2000
_BATCH: Final = 100
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Figure:
    """What a metric says of a run.

    Attributes:
        metric: its name, as it was asked for.
        value: the figure; None where it applies to no question, or failed.
        low: of the 95 % interval; None where there is no value, or it has none.
        high: of the interval.
        questions: to how many it applies.
        error: why it failed; None where it did not.
        by_question: the numbers that add up to it, of each prediction; None where not applicable.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    questions: int
    error: str | None
    by_question: tuple[tuple[float, ...] | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figure without the numbers of questions, JSON-ready."""
        return {
            "metric": self.metric,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "questions": self.questions,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """How two runs differ on the questions that both answered.

    Attributes:
        metric: its name.
        one: the first run's figure on those questions.
        other: the second's.
        low: of the 95 % interval of other - one.
        high: of the interval.
        p: how often a difference at least as large comes of exchanging the runs by chance.
        questions: how many there are of which both have a score.
        error: why there is no figure; None where there is.
    """

    metric: str
    one: float | None
    other: float | None
    low: float | None
    high: float | None
    p: float | None
    questions: int
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        from dataclasses import asdict

        return asdict(self)


def figures(metrics: Mapping[str, Metric], predictions: Sequence[Prediction]) -> list[Figure]:
    """Each metric's figure, in order; one that raises is told in its own."""
    return [_figure(name, metric, predictions) for name, metric in metrics.items()]


def _figure(name: str, metric: Metric, predictions: Sequence[Prediction]) -> Figure:
    try:
        found = [
            None if one is None else tuple(map(float, one))
            for one in metric.statistics(predictions)
        ]
        if len(found) != len(predictions):
            raise MetricError(f"gave {len(found)} scores for {len(predictions)} predictions")
        rows = [one for one in found if one is not None]
        if not rows:
            return Figure(name, None, None, None, 0, None, tuple(found))
        table = np.array(rows, np.float64)
        value = float(metric.value(table.sum(axis=0)))
        if not np.isfinite(value):
            raise MetricError(f"its figure is {value}")
        low, high = _interval(metric, table) if metric.resampled else (None, None)
    # Metrics are foreign code too; what one raises is the report's to tell.
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError):
            told = lacking(error)
        return Figure(name, None, None, None, 0, told, (None,) * len(predictions))
    return Figure(name, value, low, high, len(rows), None, tuple(found))


def lacking(missing: ModuleNotFoundError) -> str:
    """What to do about a package that a metric needs."""
    return f"{missing.name} is not installed: {install_hint(DISTRIBUTION, 'eval')}"


def difference(name: str, metric: Metric, one: Figure, other: Figure) -> Difference:
    """The difference of two runs over the same questions, in the same order.

    Args:
        name: the metric's.
        metric: of both figures.
        one: a run's.
        other: another's.

    Raises:
        MetricError: they are of different numbers of questions.
    """
    if len(one.by_question) != len(other.by_question):
        raise MetricError(
            f"{name}: {len(one.by_question)} questions in one run and {len(other.by_question)} in "
            "the other: a paired test needs the same questions in both"
        )
    both = [
        (mine, theirs)
        for mine, theirs in zip(one.by_question, other.by_question, strict=True)
        if mine is not None and theirs is not None
    ]
    error = one.error or other.error
    if error or not both or not metric.resampled:
        said = error or (None if both else "no question has a score in both")
        return Difference(name, one.value, other.value, None, None, None, len(both), said)
    pairs = np.array(both, np.float64)
    mine, theirs = pairs[:, 0], pairs[:, 1]
    here, there = (_of(metric, table, None) for table in (mine, theirs))
    low, high = _interval(metric, mine, theirs)
    return Difference(name, here, there, low, high, _p(metric, mine, theirs), len(both), None)


def _interval(metric: Metric, table: Table, other: Table | None = None) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile over drawn questions; of other - table where there are two.

    Args:
        metric: gives the figure of sums.
        table: [questions, numbers].
        other: of the same questions.
    """
    from scipy.stats import bootstrap

    if len(table) == 1:
        return (_of(metric, table, other),) * 2

    def drawn(places: npt.NDArray[np.int64], axis: int = -1) -> Table:
        del axis
        rows = places.reshape(-1, places.shape[-1])
        values = [_of(metric, table[row], None if other is None else other[row]) for row in rows]
        return np.array(values).reshape(places.shape[:-1])

    found = bootstrap(
        (np.arange(len(table)),),
        drawn,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(_SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _p(metric: Metric, mine: Table, theirs: Table) -> float:
    """Two-sided p of no difference: at random which run an answer is of, question by question."""
    rng = np.random.default_rng(_SEED)
    wanted = abs(_of(metric, mine, theirs))
    as_far = 0
    for _ in range(RESAMPLES):
        exchange = (rng.random(len(mine)) < 0.5)[:, None]
        swapped = np.where(exchange, theirs, mine), np.where(exchange, mine, theirs)
        as_far += abs(_of(metric, *swapped)) >= wanted - 1e-12
    return (as_far + 1) / (RESAMPLES + 1)


def _of(metric: Metric, table: Table, other: Table | None) -> float:
    value = float(metric.value(table.sum(axis=0)))
    return value if other is None else float(metric.value(other.sum(axis=0))) - value
