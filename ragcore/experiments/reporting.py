"""Turn a system's predictions into its report, and a finished run into the folder of one.

Knows plans and reports; knows nothing of how predictions are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ragcore.evaluation.checks import check_grades, unmatched_sources
from ragcore.evaluation.choosing import limited_search, ranking_metrics
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.report import QuestionSource, Report
from ragcore.evaluation.running import report_of
from ragcore.evaluation.runs import PREDICTIONS, read_predictions
from ragcore.experiments.blocks import Journal, blocks_of
from ragcore.experiments.folders import DEV
from ragcore.experiments.planning import FILTER, TEST, Measured, Plan

__all__ = ["finish", "part_folder", "reused_report"]

_DAYS: Final = (
    "blocks were answered on different days, and the generator's prompts say which day it is: a "
    "replay uses the first one's; run the experiment with --fresh, or name the day in the "
    "generator's settings"
)


def part_folder(folder: Path, part: str) -> Path:
    """Return the folder of a part of a run: its own, or that of the dev questions in it."""
    return folder if part == TEST else folder / DEV


def finish(plan: Plan, measured: Measured, part: str, source: QuestionSource) -> Report:
    """Join the blocks of a run, write its folder as `ragcore eval --output` does, remove them.

    Raises:
        ConfigError: a block is missing or damaged.
    """
    folder = part_folder(plan.folder, part)
    journal = Journal(folder)
    predictions: list[Prediction] = []
    days: dict[tuple[str, ...], None] = {}
    for block in blocks_of(len(measured.asked[part])):
        block_predictions, block_settings = journal.read(block)
        predictions += block_predictions
        days[block_settings] = None
    notes = [_DAYS] if len(days) > 1 else []
    report = _report(plan, measured, part, predictions, next(iter(days), ()), notes)
    assert plan.system.pipeline is not None
    report.write(folder, plan.system.pipeline, plan.located.overrides, source)
    journal.remove()
    return report


def reused_report(plan: Plan, measured: Measured, part: str) -> Report:
    """Compute the figures of a complete run again, from its predictions.

    Raises:
        ConfigError: the run is damaged; names file and line.
    """
    predictions = read_predictions(part_folder(plan.folder, part) / PREDICTIONS)
    return _report(plan, measured, part, predictions, (), [])


def _report(
    plan: Plan,
    measured: Measured,
    part: str,
    predictions: Sequence[Prediction],
    settings: tuple[str, ...],
    notes: Sequence[str],
) -> Report:
    """Compute the figures, with the warnings that an evaluation has."""
    asked, version = measured.asked[part], plan.located.version
    metrics, depth, warnings = limited_search(
        measured.metrics, measured.depth, plan.record.deepest, chosen=measured.chosen
    )
    predictions = [_cut(prediction, depth) for prediction in predictions]
    recorded = plan.record.warnings
    warnings += notes
    if ranking_metrics(metrics):
        warnings += [*check_grades(asked), *recorded.get(part, ())]
    warnings += recorded.get(FILTER, ())
    if ranking_metrics(metrics):
        warnings += unmatched_sources(asked, predictions, version)
    return report_of(
        predictions, metrics, version, warnings=warnings, settings=settings, depth=depth
    )


def _cut(prediction: Prediction, depth: int | None) -> Prediction:
    """Return a prediction as a search of this depth gives it, from a deeper one."""
    ranking = prediction.ranking
    if ranking is None or ranking.depth == depth:
        return prediction
    if depth is None:
        return replace(prediction, ranking=None)
    ids = ranking.ids[:depth]
    grades = ranking.grades
    if ranking.by_text:
        grades = {name: grade for name, grade in grades.items() if name in set(ids)}
    cut = replace(ranking, ids=ids, scores=ranking.scores[:depth], depth=depth, grades=grades)
    return replace(prediction, ranking=cut)
