"""Compare each system with the baseline: differences, paired tests, Holm's correction, effects.

Questions are paired by id; one that either system lacks, or to which the metric does not apply in
either, is left out of the pair. Numbers that differ by no more than the rounding of float32 sums
count as equal: a question that is read in another batch is no win. Intervals and p are those of
evaluation/resampling.py.

Holm's correction (1979) is over the systems compared in one metric, m of them: with p rising,

    p_holm(i) = max over j ≤ i of min(1, (m - j + 1) p(j))

so that the probability of one false rejection or more in a metric is at most that of the level.
The effect size is Cohen's d of paired samples (1988, d_z): mean difference by its standard
deviation.

Knows reports and metrics; knows nothing of how a system is run or a table is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ragcore.evaluation.figures import Figure
from ragcore.evaluation.metrics.base import Better, Mean, Metric
from ragcore.evaluation.report import Report
from ragcore.evaluation.resampling import Table, intervals, p_values, value_of
from ragcore.experiments.results import Comparison

__all__ = ["better_values", "cohens_d", "compare_with_baseline", "holm"]

_EQUAL: Final = 1e-9
"""Differences that are this part of the largest apart count as one constant."""

_ROUNDING: Final = 1e-5
"""How far a log p may lie from itself, computed in another batch: so many times it, or 0.1."""

_LOG: Final = logging.getLogger("ragcore.experiments")


@dataclass(frozen=True, slots=True)
class _Pair:
    """A system and the baseline in one metric.

    Attributes:
        index: of the system among those compared.
        name: of the metric.
        metric: the metric.
        baseline: its numbers for the baseline, of the questions that both have, [questions, n].
        system: its numbers for the system, of the same questions.
    """

    index: int
    name: str
    metric: Metric
    baseline: Table
    system: Table


def compare_with_baseline(
    metrics: Mapping[str, Metric], baseline: Report, systems: Sequence[Report]
) -> list[dict[str, Comparison]]:
    """Compare systems with the baseline in each metric.

    Args:
        metrics: by the names of the reports' figures.
        baseline: what the others are compared with.
        systems: reports on the same questions, or some of them.

    Returns:
        For each system its comparisons, by metric. A metric that failed or applies to no common
        question has none; one that is not resampled has a difference alone.
    """
    comparisons: list[dict[str, Comparison]] = [{} for _ in systems]
    pairs = []
    for name, metric in metrics.items():
        baseline_figure = _figure_of(baseline, name)
        baseline_scores = _by_id(baseline, baseline_figure)
        for index, report in enumerate(systems):
            figure = _figure_of(report, name)
            scores = _by_id(report, figure)
            common = [question for question in baseline_scores if question in scores]
            if not common or figure is None or baseline_figure is None:
                continue
            if not metric.resampled:
                # Such a figure is of all questions together, and not of those in common.
                if figure.value is not None and baseline_figure.value is not None:
                    difference = figure.value - baseline_figure.value
                    comparisons[index][name] = _untested(difference, len(common))
                continue
            tables = [
                np.array([numbers[question] for question in common], np.float64)
                for numbers in (baseline_scores, scores)
            ]
            pairs.append(_Pair(index, name, metric, tables[0], _rounded(*tables)))
    for pair, comparison in _tested(pairs):
        comparisons[pair.index][pair.name] = comparison
    for name in metrics:
        _correct(comparisons, name)
    return [{name: rows[name] for name in metrics if name in rows} for rows in comparisons]


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values of tests of one family by Holm's method, in their order; see above."""
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def cohens_d(gains: Table) -> float | None:
    """Compute the effect size of differences by question, [questions]; see above.

    Returns:
        0 where no question differs; None where all differ by the same, as no standard deviation
        is left to divide by.
    """
    if not gains.any():
        return 0.0
    if np.ptp(gains) <= _EQUAL * np.abs(gains).max():
        return None
    return float(gains.mean() / gains.std(ddof=1))


def better_values(metric: Metric) -> Better:
    """Say which values of a metric are better; plugins need not say, and mean the higher ones."""
    better: Better = getattr(metric, "better", "higher")
    return better


def _rounded(baseline: Table, system: Table) -> Table:
    """Return a system's numbers, those of the baseline where rounding alone tells them apart."""
    if baseline.shape != system.shape:
        return system
    sizes = np.maximum(np.maximum(np.abs(system), np.abs(baseline)), 0.1)
    return np.where(np.abs(system - baseline) <= _ROUNDING * sizes, baseline, system)


def _untested(difference: float, questions: int) -> Comparison:
    """Return a difference alone."""
    return Comparison(difference, None, None, None, None, None, None, None, None, questions)


def _tested(pairs: Sequence[_Pair]) -> list[tuple[_Pair, Comparison]]:
    """Compare each pair; all are resampled together. `p_holm` is still None."""
    tables = [(pair.metric, pair.baseline, pair.system) for pair in pairs]
    tested = []
    for pair, interval, p in zip(pairs, intervals(tables), p_values(tables), strict=True):
        if isinstance(interval, Exception) or isinstance(p, Exception):
            error = interval if isinstance(interval, Exception) else p
            # The figures have their values: what fails is a draw or an exchange.
            _LOG.warning("%s: no comparison with the baseline: %s", pair.name, error)
            continue
        difference = value_of(pair.metric, pair.system) - value_of(pair.metric, pair.baseline)
        effect, wins, ties, losses = _by_question(pair)
        low, high = interval if np.isfinite(interval).all() else (None, None)
        comparison = Comparison(
            difference=difference,
            low=low,
            high=high,
            p=p,
            p_holm=None,
            effect=effect,
            wins=wins,
            ties=ties,
            losses=losses,
            questions=len(pair.system),
        )
        tested.append((pair, comparison))
    return tested


def _by_question(pair: _Pair) -> tuple[float | None, int | None, int | None, int | None]:
    """Return effect, wins, ties and losses; each None where the metric is no mean of scores."""
    if not (_is_mean(pair.metric, pair.baseline) and _is_mean(pair.metric, pair.system)):
        return None, None, None, None
    gains = pair.system[:, 0] - pair.baseline[:, 0]  # [questions]
    higher, lower = int((gains > 0).sum()), int((gains < 0).sum())
    ties = len(gains) - higher - lower
    match better_values(pair.metric):
        case "higher":
            return cohens_d(gains), higher, ties, lower
        case "lower":
            return cohens_d(gains), lower, ties, higher
        case _:
            return cohens_d(gains), None, ties, None


def _is_mean(metric: Metric, table: Table) -> bool:
    """Tell whether a metric's figure is the mean of a score of each question, [questions, 2].

    A measure that counts (NumRet) has such numbers too, and adds them up.
    """
    if not isinstance(metric, Mean) or not metric.takes_arrays or table.shape[1] != 2:
        return False
    scores, weights = table.T
    return bool((weights == 1).all() and np.isclose(value_of(metric, table), scores.mean()))


def _correct(comparisons: Sequence[dict[str, Comparison]], name: str) -> None:
    """Set the corrected p of one metric's comparisons."""
    tested = [
        (rows, rows[name], rows[name].p)
        for rows in comparisons
        if name in rows and rows[name].p is not None
    ]
    corrected = holm([p for _, _, p in tested if p is not None])
    for (rows, comparison, _), p_holm in zip(tested, corrected, strict=True):
        rows[name] = replace(comparison, p_holm=p_holm)


def _figure_of(report: Report, name: str) -> Figure | None:
    return next((figure for figure in report.figures if figure.metric == name), None)


def _by_id(report: Report, figure: Figure | None) -> dict[str, tuple[float, ...]]:
    """Return a figure's numbers by the id of the question, where it applies."""
    if figure is None:
        return {}
    return {
        prediction.id: numbers
        for prediction, numbers in zip(report.predictions, figure.by_question, strict=True)
        if numbers is not None
    }
