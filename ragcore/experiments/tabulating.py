"""Turn the runs of an experiment into its table: figures, comparisons, thresholds, factors.

Knows reports and what is computed from them; knows nothing of how a system is run or a table is
shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from ragcore.errors import MetricError
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.confidence import at_threshold, choose_threshold
from ragcore.evaluation.figures import Figure
from ragcore.evaluation.report import Report
from ragcore.experiments.results import (
    Abstaining,
    Comparison,
    ExperimentRun,
    FactorLevel,
    Results,
    SystemResult,
    SystemRun,
)
from ragcore.experiments.statistics import better_values, compare_with_baseline
from ragcore.questions.matching import same_answer

__all__ = ["make_results"]

VERSION: Final = "memory.version"
"""The factor whose levels may change answers."""
SYSTEM: Final = "system"
"""The factor that every system has."""


def make_results(run: ExperimentRun) -> Results:
    """Compute the table of an experiment.

    Args:
        run: all systems' runs; their figures are computed already.

    Raises:
        MetricError: there is no run of the baseline; or a threshold is to be chosen and a run has
            no confidence.
        UnknownComponentError: a figure is of a metric that is not installed.
    """
    names = _metric_names(run)
    metrics = make_metrics(names)
    baseline = _baseline(run)
    others = [each for each in run.runs if each is not baseline]
    compared = compare_with_baseline(metrics, baseline.report, [each.report for each in others])
    comparisons: dict[str, dict[str, Comparison]] = {baseline.system.name: {}}
    for each, by_metric in zip(others, compared, strict=True):
        comparisons[each.system.name] = by_metric
    rows = tuple(
        SystemResult(
            run=each,
            figures=_figures(each.report, names),
            comparisons=comparisons[each.system.name],
            abstaining=_abstaining(each, run.experiment.risk),
        )
        for each in run.runs
    )
    levels = tuple(_factor_levels(rows, names))
    return Results(
        experiment=run.experiment,
        systems=rows,
        metrics=names,
        better={name: better_values(metric) for name, metric in metrics.items()},
        factors=levels,
        counters=run.counters,
        warnings=(*run.warnings, *_mean_notes(levels, rows)),
    )


def _metric_names(run: ExperimentRun) -> tuple[str, ...]:
    """Return the metrics that the experiment names, or else those of the runs, each once."""
    if run.experiment.metrics is not None:
        return tuple(dict.fromkeys(run.experiment.metrics))
    figures = (figure for each in run.runs for figure in each.report.figures)
    return tuple(dict.fromkeys(figure.metric for figure in figures))


def _baseline(run: ExperimentRun) -> SystemRun:
    for each in run.runs:
        if each.system.name == run.experiment.baseline:
            return each
    raise MetricError(
        f"no run of the baseline {run.experiment.baseline!r} among "
        f"{', '.join(repr(each.system.name) for each in run.runs) or 'no runs'}: name one of these"
    )


def _figures(report: Report, names: Sequence[str]) -> dict[str, Figure]:
    """Return the figure of each metric; one that was not computed applies to no question."""
    computed = {figure.metric: figure for figure in report.figures}
    none = (None,) * len(report.predictions)
    return {
        name: computed.get(name, Figure(name, None, None, None, 0, None, none)) for name in names
    }


def _abstaining(run: SystemRun, target: float | None) -> Abstaining | None:
    """Choose a threshold on the dev questions and report it on the others."""
    # A run file has no answers to withhold.
    if target is None or run.dev is None or run.dev.retrieval or run.report.retrieval:
        return None
    dev, predictions = run.dev.predictions, run.report.predictions
    threshold = choose_threshold(dev, target)
    return Abstaining(
        target, threshold, *at_threshold(dev, threshold), *at_threshold(predictions, threshold)
    )


def _factor_levels(rows: Sequence[SystemResult], names: Sequence[str]) -> list[FactorLevel]:
    """Compute the levels of each factor that has two or more; see `Results.factors`."""
    factors = dict.fromkeys(factor for row in rows for factor in row.run.system.factors)
    levels = []
    for factor in factors:
        by_level = _by_level(rows, factor)
        shared = any(len(sharing) > 1 for sharing in by_level.values())
        if len(by_level) < 2 or (factor == SYSTEM and not shared):
            continue
        first = next(iter(by_level.values()))
        for sharing in by_level.values():
            levels.append(
                FactorLevel(
                    factor=factor,
                    level=sharing[0].run.system.factors[factor],
                    systems=len(sharing),
                    means=_means(sharing, names),
                    changed_answers=(
                        _changed_answers(first, sharing, factor) if factor == VERSION else None
                    ),
                )
            )
    return levels


def _by_level(rows: Sequence[SystemResult], factor: str) -> dict[str, list[SystemResult]]:
    """Return the systems with each level of a factor, by the level as `_key` writes it."""
    by_level: dict[str, list[SystemResult]] = {}
    for row in rows:
        if factor in row.run.system.factors:
            by_level.setdefault(_key(row.run.system.factors[factor]), []).append(row)
    return by_level


def _key(level: Any) -> str:
    """Write a level so that equal ones are equal, lists can be keys, and 1 is not True."""
    return json.dumps(level, sort_keys=True, default=repr)


def _means(rows: Sequence[SystemResult], names: Sequence[str]) -> dict[str, float]:
    """Compute the mean of the systems' figures of each metric for which all have one."""
    means = {}
    for name in names:
        values = [row.figures[name].value for row in rows]
        known = [value for value in values if value is not None]
        # A mean of some would be of other systems than the mean of another level.
        if len(known) == len(values):
            means[name] = sum(known) / len(known)
    return means


def _mean_notes(levels: Sequence[FactorLevel], rows: Sequence[SystemResult]) -> list[str]:
    """Say which levels have no mean of a metric, though some of their systems have a figure."""
    notes = []
    for level in levels:
        sharing = _by_level(rows, level.factor)[_key(level.level)]
        for name in sharing[0].figures:
            without = [row.run.system.name for row in sharing if row.figures[name].value is None]
            if without and len(without) < len(sharing):
                notes.append(
                    f"no mean of {name} for {level.factor}={level.level}: "
                    f"{', '.join(map(repr, without))} of its {len(sharing)} systems have no figure"
                )
    return notes


def _changed_answers(
    first: Sequence[SystemResult], rows: Sequence[SystemResult], factor: str
) -> float | None:
    """Compute the share of answers that differ from those of the system that is else the same.

    Args:
        first: systems with the factor's first level.
        rows: systems with one level.
        factor: what the two systems of a pair differ in.

    Returns:
        A share over the questions of all pairs; None where no pair has answers.
    """
    partners = {_other_levels(row, factor): row for row in first}
    changed = questions = 0
    for row in rows:
        partner = partners.get(_other_levels(row, factor))
        if partner is None:
            continue
        before = {each.id: each.answer for each in partner.run.report.predictions}
        for prediction in row.run.report.predictions:
            answer = before.get(prediction.id)
            if answer is not None and prediction.answer is not None:
                questions += 1
                changed += not same_answer(answer, prediction.answer)
    return changed / questions if questions else None


def _other_levels(row: SystemResult, factor: str) -> str:
    """Write a system's levels of all factors but one."""
    return _key({name: lvl for name, lvl in row.run.system.factors.items() if name != factor})
