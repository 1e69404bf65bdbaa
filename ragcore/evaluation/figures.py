"""Turn predictions into figures: each metric with an interval, and the difference of two runs.

A metric that fails becomes a figure with its error, so that none goes missing. Intervals are
95 %, of questions drawn with replacement (Efron, 1979), by scipy; the test of a difference
exchanges the two runs' answers to a question at random (approximate randomisation; Noreen, 1989).
Knows numbers a question; knows nothing of how a metric computes them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.errors import MetricError
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.metrics.ranking import RankingMetric, statistics_of
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.installation import DISTRIBUTION, install_hint

if TYPE_CHECKING:
    import numpy.typing as npt

    Table = npt.NDArray[np.float64]

Statistics = Sequence[Sequence[float] | None]
"""A metric's numbers for each prediction; see `Metric.statistics`."""

__all__ = ["Difference", "Figure", "difference", "figures", "missing_package"]

RESAMPLES: Final = 2000
_BATCH: Final = 100
_SEED: Final = 0

_LOG: Final = logging.getLogger("ragcore.evaluation")


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric's value for a run.

    Attributes:
        metric: its name, as the caller gave it.
        value: the figure; None where the metric applies to no question, or failed.
        low: lower end of the 95 % interval; None where there is no value or no interval.
        high: upper end of the interval.
        questions: number of questions to which the metric applies.
        error: why the metric failed; None where it did not.
        by_question: for each prediction the numbers whose sums give the value; None where the
            metric does not apply.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    questions: int
    error: str | None
    by_question: tuple[tuple[float, ...] | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figure without the numbers a question, JSON-ready."""
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
        other: the second run's.
        low: lower end of the 95 % interval of other - one.
        high: upper end of the interval.
        p: two-sided p: how often exchanging the runs' answers at random gives a difference at
            least as large.
        questions: number of questions for which both runs have a score.
        error: why there is no figure; None where there is one.
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
        """Return all of it, JSON-ready."""
        from dataclasses import asdict

        return asdict(self)


def figures(metrics: Mapping[str, Metric], predictions: Sequence[Prediction]) -> list[Figure]:
    """Compute each metric's figure, in order; where a metric raises, its figure has the error.

    Metrics of ranked passages are computed together, which is many times cheaper.
    """
    ranking = {name: each for name, each in metrics.items() if isinstance(each, RankingMetric)}
    together: Mapping[str, Statistics] = {}
    try:
        together = statistics_of(ranking, predictions)
    # Then each is computed by itself, so that the error is that of its cause.
    except Exception:
        _LOG.debug("ranking metrics are computed one by one", exc_info=True)
    return [
        _figure(name, metric, predictions, together.get(name)) for name, metric in metrics.items()
    ]


def _figure(
    name: str, metric: Metric, predictions: Sequence[Prediction], statistics: Statistics | None
) -> Figure:
    """Compute a figure from a metric's statistics, where these are computed already."""
    try:
        if statistics is None:
            statistics = metric.statistics(predictions)
        by_question = tuple(
            None if numbers is None else tuple(map(float, numbers)) for numbers in statistics
        )
        if len(by_question) != len(predictions):
            raise MetricError(f"gave {len(by_question)} scores for {len(predictions)} predictions")
        rows = [numbers for numbers in by_question if numbers is not None]
        if not rows:
            return Figure(name, None, None, None, 0, None, by_question)
        table = np.array(rows, np.float64)  # [questions, numbers]
        value = _value(metric, table)
        if not np.isfinite(value):
            raise MetricError(f"its figure is {value}")
        low, high = _interval(metric, table) if metric.resampled else (None, None)
    # A metric may be a plugin's and raise any error; the report shows it with the other figures.
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError):
            message = missing_package(error)
        return Figure(name, None, None, None, 0, message, (None,) * len(predictions))
    return Figure(name, value, low, high, len(rows), None, by_question)


def missing_package(missing: ModuleNotFoundError) -> str:
    """Say how to install the package that a metric needs."""
    return f"{missing.name} is not installed: {install_hint(DISTRIBUTION, 'eval')}"


def difference(name: str, metric: Metric, one: Figure, other: Figure) -> Difference:
    """Compute the difference of two runs over the same questions, in the same order.

    Args:
        name: the metric's.
        metric: of both figures.
        one: the first run's figure.
        other: the second run's.

    Raises:
        MetricError: the figures are of different numbers of questions.
    """
    if len(one.by_question) != len(other.by_question):
        raise MetricError(
            f"{name}: {len(one.by_question)} questions in one run and {len(other.by_question)} in "
            "the other: a paired test needs the same questions in both"
        )
    paired = [
        (first, second)
        for first, second in zip(one.by_question, other.by_question, strict=True)
        if first is not None and second is not None
    ]
    error = one.error or other.error
    if error or not paired or not metric.resampled:
        message = error or (None if paired else "no question has a score in both")
        return Difference(name, one.value, other.value, None, None, None, len(paired), message)
    tables = np.array(paired, np.float64)  # [questions, 2, numbers]
    first_table, second_table = tables[:, 0], tables[:, 1]  # [questions, numbers] each
    low, high = _interval(metric, first_table, second_table)
    return Difference(
        name,
        _value(metric, first_table),
        _value(metric, second_table),
        low,
        high,
        _p(metric, first_table, second_table),
        len(paired),
        None,
    )


def _interval(metric: Metric, table: Table, other: Table | None = None) -> tuple[float, float]:
    """Compute the 2.5th and the 97.5th percentile over drawn questions.

    Args:
        metric: gives the figure from sums.
        table: [questions, numbers].
        other: of the same questions; where given, the interval is of other - table.
    """
    from scipy.stats import bootstrap

    if len(table) == 1:
        return (_value(metric, table, other),) * 2

    def drawn_values(drawn: npt.NDArray[np.int64], axis: int = -1) -> Table:
        """Compute the value of each draw of questions, [..., questions]."""
        del axis
        draws = drawn.reshape(-1, drawn.shape[-1])  # [draws, questions]
        values = [
            _value(metric, table[draw], None if other is None else other[draw]) for draw in draws
        ]
        return np.array(values).reshape(drawn.shape[:-1])

    result = bootstrap(
        (np.arange(len(table)),),
        drawn_values,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _p(metric: Metric, table: Table, other: Table) -> float:
    """Compute the two-sided p of no difference, exchanging the runs question by question."""
    rng = np.random.default_rng(_SEED)
    observed = abs(_value(metric, table, other))
    as_large = 0
    for _ in range(RESAMPLES):
        exchange = (rng.random(len(table)) < 0.5)[:, None]  # [questions, 1]
        first, second = np.where(exchange, other, table), np.where(exchange, table, other)
        as_large += abs(_value(metric, first, second)) >= observed - 1e-12
    return (as_large + 1) / (RESAMPLES + 1)


def _value(metric: Metric, table: Table, other: Table | None = None) -> float:
    """Compute the figure of a table [questions, numbers], or the difference other - table."""
    value = float(metric.value(table.sum(axis=0)))
    return value if other is None else float(metric.value(other.sum(axis=0))) - value
