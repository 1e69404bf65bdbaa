"""Draw questions again and exchange two runs: 95 % intervals, and p of a difference.

A table has a row of numbers for each question, and a metric computes its figure from their sums. So
what a draw of questions or an exchange of runs adds up is a product of matrices, for all tables of
the same questions together. Knows metrics and tables; knows nothing of predictions and systems.

Intervals: percentiles over questions drawn with replacement (Efron, 1979), by scipy.

Test: where two runs are equally good, which of them an answer came from is a label, and the labels
of a question may be exchanged without changing how probable the two answers are
(exchangeability). So the difference is compared with those after exchanging the runs of each
question with probability 1/2 (randomisation test; Fisher, 1935; Noreen, 1989; for retrieval Smucker
et al., 2007). Questions are taken as independent of each other; nothing is assumed of how scores
are distributed. Where there are few enough questions every exchange is computed, and

    p = (exchanges with a difference at least as large) / exchanges

is exact; else of EXCHANGES random ones, and p = (… + 1) / (EXCHANGES + 1), since the observed
labels are one of the possible ones: without the 1, p could be 0, and the test would reject too
often (Phipson and Smyth, 2010). scipy.stats.permutation_test computes the same p, for one mean at
a time, and builds every exchanged sample: a dozen systems and ten metrics take it a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.errors import MetricError
from ragcore.evaluation.metrics.base import Mean, Metric

if TYPE_CHECKING:
    import numpy.typing as npt

    Table = npt.NDArray[np.float64]
else:
    Table = Any

Interval = tuple[float, float]
"""Lower and upper end."""

__all__ = ["EXCHANGES", "RESAMPLES", "Interval", "Table", "intervals", "p_values", "value_of"]

RESAMPLES: Final = 2000
"""Draws of questions for an interval."""
EXCHANGES: Final = 10_000
"""Random exchanges for a test, enough for Holm's correction over some 400 systems."""

_BATCH: Final = 100
_EXCHANGED_AT_ONCE: Final = 2**20
"""Numbers in the matrix of exchanges that is in memory."""
_ROUNDING: Final = 1e-10
"""Differences that are this part of the figures apart count as equal."""
_SEED: Final = 0


def intervals(
    tables: Sequence[tuple[Metric, Table, Table | None]],
) -> list[Interval | Exception]:
    """Compute the 2.5th and the 97.5th percentile over drawn questions, of each table.

    Tables of as many questions are drawn together.

    Args:
        tables: each a metric, its table [questions, numbers], and another of the same questions;
            where that is not None, the interval is of other - table.

    Returns:
        For each the two ends, or the error that its metric raised.
    """
    ends: list[Interval | Exception] = [(0.0, 0.0)] * len(tables)
    for count, indices in _by_count([table for _, table, _ in tables]).items():
        drawn = _drawn_together([tables[index] for index in indices], count)
        for index, interval in zip(indices, drawn, strict=True):
            ends[index] = interval
    return ends


def p_values(tables: Sequence[tuple[Metric, Table, Table]]) -> list[float | Exception]:
    """Compute the two-sided p of no difference between the two tables of each metric; see above.

    Two equal tables have a p of 1.

    Args:
        tables: each a metric and two tables [questions, numbers] of the same questions.

    Returns:
        For each its p, or the error that its metric raised; or one that says that its figure is no
        number, as where an exchange leaves nothing to divide by.
    """
    ps: list[float | Exception] = [1.0] * len(tables)
    for count, indices in _by_count([table for _, table, _ in tables]).items():
        tested = _tested_together([tables[index] for index in indices], count)
        for index, p in zip(indices, tested, strict=True):
            ps[index] = p
    return ps


def value_of(metric: Metric, table: Table) -> float:
    """Compute the figure of a table [questions, numbers]."""
    return float(metric.value(table.sum(axis=0)))


def _by_count(tables: Sequence[Table]) -> dict[int, list[int]]:
    """Return the indices of the tables of each number of questions."""
    by_count: dict[int, list[int]] = {}
    for index, table in enumerate(tables):
        by_count.setdefault(len(table), []).append(index)
    return by_count


def _drawn_together(
    tables: Sequence[tuple[Metric, Table, Table | None]], count: int
) -> list[Interval | Exception]:
    """Compute intervals of tables of `count` questions from the same draws; see `intervals`."""
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
                computed[index] = _values(metric, own[:, :width])
                if other is not None:
                    computed[index] = _values(metric, own[:, width:]) - computed[index]
            # The other figures go on; see `figures`.
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
        ends_of = [(float(lower), float(upper)) for lower, upper in zip(low, high, strict=True)]
    return [errors.get(index, interval) for index, interval in enumerate(ends_of)]


def _tested_together(
    tables: Sequence[tuple[Metric, Table, Table]], count: int
) -> list[float | Exception]:
    """Compute p of tables of `count` questions from the same exchanges; see `p_values`."""
    gains = np.hstack([other - table for _, table, other in tables])  # [questions, numbers of all]
    ends = np.cumsum([table.shape[1] for _, table, _ in tables])
    sums = [(table.sum(axis=0), other.sum(axis=0)) for _, table, other in tables]
    errors: dict[int, Exception] = {}
    observed, rounding = np.zeros(len(tables)), np.zeros(len(tables))
    as_large = np.zeros(len(tables), np.int64)
    exact = 2**count <= EXCHANGES
    # The first row exchanges nothing: the observed difference, by the same arithmetic.
    first = True
    for exchanged in _exchanges(count):  # [exchanges, questions]
        moved = exchanged @ gains  # [exchanges, numbers of all]
        for index, (metric, table, _) in enumerate(tables):
            if index in errors:
                continue
            own = moved[:, ends[index] - table.shape[1] : ends[index]]
            table_sums, other_sums = sums[index]
            try:
                first_values = _values(metric, table_sums + own)
                second_values = _values(metric, other_sums - own)
            # As in `_drawn_together`.
            except Exception as error:
                errors[index] = error
                continue
            differences = np.abs(second_values - first_values)
            if not np.isfinite(differences).all():
                errors[index] = MetricError("its figure is no number once runs are exchanged")
                continue
            if first:
                observed[index] = differences[0]
                rounding[index] = _ROUNDING * max(
                    np.abs(first_values).max(), np.abs(second_values).max()
                )
            as_large[index] += int((differences >= observed[index] - rounding[index]).sum())
        first = False
    # The observed labels are among those counted, and their number is the 1 of (… + 1).
    total = 2**count if exact else EXCHANGES + 1
    return [errors.get(index, float(number / total)) for index, number in enumerate(as_large)]


def _exchanges(count: int) -> Iterator[Table]:
    """Yield in batches which questions' runs are exchanged, 1 or 0: [exchanges, questions].

    The first row is that of no exchange. All 2^count rows where these are at most EXCHANGES; else
    so many random ones besides the first.
    """
    if 2**count <= EXCHANGES:
        yield (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.float64)
        return
    rng = np.random.default_rng(_SEED)
    size = max(_EXCHANGED_AT_ONCE // count, 1)
    none = np.zeros((1, count))
    for begin in range(0, EXCHANGES, size):
        octets = rng.integers(
            256, size=(min(size, EXCHANGES - begin), -(-count // 8)), dtype=np.uint8
        )
        rows = np.unpackbits(octets, axis=1, count=count).astype(np.float64)
        yield rows if begin else np.vstack([none, rows])


def _values(metric: Metric, sums: Table) -> Table:
    """Compute the figure of each row of sums [rows, numbers]: [rows]."""
    if isinstance(metric, Mean) and metric.takes_arrays:
        # A quotient of sums, of all rows together.
        return np.asarray(metric.value(sums.T), np.float64)
    return np.array([metric.value(row) for row in sums], np.float64)
