"""Turn predictions into figures: each metric with an interval, and the difference of two runs.

A metric that fails becomes a figure with its error, so that none goes missing. Knows numbers a
question; knows nothing of how a metric computes them, nor of how intervals and tests draw
(resampling.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ragcore.errors import MetricError
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.metrics.ranking import RankingMetric, statistics_of
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.resampling import Interval, Table, intervals, p_values, value_of
from ragcore.registry.installation import missing_package

Statistics = Sequence[Sequence[float] | None]
"""A metric's numbers for each prediction; see `Metric.statistics`."""

__all__ = ["Difference", "Figure", "difference", "figures"]

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
    parts = [
        _part(name, metric, predictions, together.get(name)) for name, metric in metrics.items()
    ]
    resampled = [part for part in parts if part.table is not None and part.metric.resampled]
    tables = [(part.metric, part.table, None) for part in resampled if part.table is not None]
    drawn = dict(zip((part.name for part in resampled), intervals(tables), strict=True))
    return [_figure(part, drawn.get(part.name), len(predictions)) for part in parts]


@dataclass(frozen=True, slots=True)
class _Part:
    """What is computed of a metric before its interval.

    Attributes:
        name: as the caller gave it.
        metric: the metric.
        by_question: as in `Figure`.
        table: the numbers of the questions to which it applies, [questions, numbers]; None where it
            applies to none, or failed.
        value: the figure.
        error: why it failed; None where it did not.
    """

    name: str
    metric: Metric
    by_question: tuple[tuple[float, ...] | None, ...]
    table: Table | None
    value: float | None
    error: Exception | None


def _part(
    name: str, metric: Metric, predictions: Sequence[Prediction], statistics: Statistics | None
) -> _Part:
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
            return _Part(name, metric, by_question, None, None, None)
        table = np.array(rows, np.float64)  # [questions, numbers]
        value = value_of(metric, table)
        if not np.isfinite(value):
            raise MetricError(f"its figure is {value}")
    # A metric may be a plugin's and raise any error; the report shows it with the other figures.
    except Exception as error:
        return _Part(name, metric, (), None, None, error)
    return _Part(name, metric, by_question, table, value, None)


def _figure(part: _Part, interval: Interval | Exception | None, count: int) -> Figure:
    """Put a figure together with its interval; with an error, where one was raised."""
    error = interval if isinstance(interval, Exception) else part.error
    if error is not None:
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError):
            message = missing_package(error, "eval")
        return Figure(part.name, None, None, None, 0, message, (None,) * count)
    applied = 0 if part.table is None else len(part.table)
    low, high = interval if isinstance(interval, tuple) else (None, None)
    return Figure(part.name, part.value, low, high, applied, None, part.by_question)


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
    (interval,) = intervals([(metric, first_table, second_table)])
    if isinstance(interval, Exception):
        raise interval
    (p,) = p_values([(metric, first_table, second_table)])
    if isinstance(p, Exception):
        raise p
    first_value, second_value = value_of(metric, first_table), value_of(metric, second_table)
    return Difference(name, first_value, second_value, *interval, p, len(paired), None)
