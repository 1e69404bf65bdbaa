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
from ragcore.evaluation.metrics.base import Mean, Metric
from ragcore.evaluation.metrics.ranking import RankingMetric, statistics_of
from ragcore.evaluation.prediction import Prediction
from ragcore.registry.installation import DISTRIBUTION, install_hint

if TYPE_CHECKING:
    import numpy.typing as npt

    Table = npt.NDArray[np.float64]

Statistics = Sequence[Sequence[float] | None]
"""A metric's numbers for each prediction; see `Metric.statistics`."""

Interval = tuple[float, float]
"""Lower and upper end."""

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
    parts = [
        _part(name, metric, predictions, together.get(name)) for name, metric in metrics.items()
    ]
    resampled = [part for part in parts if part.table is not None and part.metric.resampled]
    tables = [(part.metric, part.table, None) for part in resampled if part.table is not None]
    intervals = dict(zip((part.name for part in resampled), _intervals(tables), strict=True))
    return [_figure(part, intervals.get(part.name), len(predictions)) for part in parts]


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
        value = _value(metric, table)
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
            message = missing_package(error)
        return Figure(part.name, None, None, None, 0, message, (None,) * count)
    applied = 0 if part.table is None else len(part.table)
    low, high = interval if isinstance(interval, tuple) else (None, None)
    return Figure(part.name, part.value, low, high, applied, None, part.by_question)


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
    (interval,) = _intervals([(metric, first_table, second_table)])
    if isinstance(interval, Exception):
        raise interval
    low, high = interval
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


def _intervals(
    tables: Sequence[tuple[Metric, Table, Table | None]],
) -> list[Interval | Exception]:
    """Compute the 2.5th and the 97.5th percentile over drawn questions, of each table.

    Tables of as many questions are drawn together: what a draw adds up is a product of matrices.

    Args:
        tables: each a metric, its table [questions, numbers], and another of the same questions;
            where that is not None, the interval is of other - table.

    Returns:
        For each the two ends, or the error that its metric raised.
    """
    intervals: list[Interval | Exception] = [(0.0, 0.0)] * len(tables)
    by_count: dict[int, list[int]] = {}
    for index, (_, table, _) in enumerate(tables):
        by_count.setdefault(len(table), []).append(index)
    for count, indices in by_count.items():
        drawn = _drawn_together([tables[index] for index in indices], count)
        for index, interval in zip(indices, drawn, strict=True):
            intervals[index] = interval
    return intervals


def _drawn_together(
    tables: Sequence[tuple[Metric, Table, Table | None]], count: int
) -> list[Interval | Exception]:
    """Compute intervals of tables of `count` questions from the same draws; see `_intervals`."""
    from scipy.stats import bootstrap

    errors: dict[int, Exception] = {}
    numbers = [
        np.hstack([table] if other is None else [table, other]) for _, table, other in tables
    ]
    joined = np.hstack(numbers)  # [questions, numbers of all]
    ends = np.cumsum([columns.shape[1] for columns in numbers])

    def values(sums: Table) -> Table:
        """Compute each table's values from sums [draws, numbers of all]: [tables, draws]."""
        computed = np.zeros((len(tables), len(sums)))
        for index, (metric, table, other) in enumerate(tables):
            own = sums[:, ends[index] - numbers[index].shape[1] : ends[index]]
            width = table.shape[1]
            try:
                if index in errors:
                    continue
                if isinstance(metric, Mean) and metric.takes_arrays and other is None:
                    # A quotient of sums, of all draws together.
                    computed[index] = metric.value(own.T)
                    continue
                computed[index] = [
                    _difference(metric, row[:width], None if other is None else row[width:])
                    for row in own
                ]
            # As in `_part`: the other figures go on.
            except Exception as error:
                errors[index] = error
        return computed

    def drawn_values(drawn: npt.NDArray[np.int64], axis: int = -1) -> Table:
        """Compute the values of draws of questions, [..., questions]: [tables, ...]."""
        del axis
        draws = drawn.reshape(-1, count)  # [draws, questions]
        offsets = np.arange(len(draws))[:, None] * count
        times = np.bincount((draws + offsets).ravel(), minlength=draws.size)
        sums = times.reshape(len(draws), count).astype(np.float64) @ joined
        return values(sums).reshape(len(tables), *drawn.shape[:-1])

    if count == 1:
        only = values(joined)[:, 0].tolist()
        ends_of: list[Interval] = [(value, value) for value in only]
    else:
        result = bootstrap(
            (np.arange(count),),
            drawn_values,
            n_resamples=RESAMPLES,
            batch=_BATCH,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(_SEED),
        )
        low, high = result.confidence_interval
        ends_of = [(float(one), float(other)) for one, other in zip(low, high, strict=True)]
    return [errors.get(index, interval) for index, interval in enumerate(ends_of)]


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
    return _difference(metric, table.sum(axis=0), None if other is None else other.sum(axis=0))


def _difference(metric: Metric, sums: Any, other: Any) -> float:
    """Compute the figure of sums [numbers], or the difference of those of other - sums."""
    value = float(metric.value(sums))
    return value if other is None else float(metric.value(other)) - value
