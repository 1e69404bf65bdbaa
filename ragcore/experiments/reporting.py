"""Turn a system's predictions into its report, and a finished run into the folder of one.

Knows plans and reports; knows nothing of how predictions are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ragcore.errors import ConfigError
from ragcore.evaluation.checks import check_grades, unmatched_sources
from ragcore.evaluation.choosing import limited_search, ranking_metrics
from ragcore.evaluation.prediction import Prediction, unique_ids
from ragcore.evaluation.report import QuestionSource, Report
from ragcore.evaluation.running import report_of
from ragcore.evaluation.runs import PREDICTIONS, read_predictions
from ragcore.experiments.blocks import Journal, blocks_of
from ragcore.experiments.folders import DEV, Record, advice
from ragcore.experiments.planning import FILTER, TEST, Measured, Plan

__all__ = ["check_reused", "finish", "part_folder", "reused_report"]

_DAYS: Final = (
    "blocks were answered on different days, and the generator's prompts say which day it is: a "
    "replay uses the first one's; run the experiment with --fresh, or name the day in the "
    "generator's settings"
)


def part_folder(folder: Path, part: str) -> Path:
    """Return the folder of a part of a run: its own, or that of the dev questions in it."""
    return folder / _subfolder(part)


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
    # That of OUTPUT/runs/NAME: what an evaluation into OUTPUT would take it for.
    project = plan.folder.resolve().parent.parent.parent.parent
    report.write(folder, plan.system.pipeline, plan.located.overrides, source, project=project)
    record = Record.read(plan.folder)
    assert record is not None
    record.completed(plan.folder, _subfolder(part))
    # Last: what is not complete by the record is made again from the blocks.
    journal.remove()
    return report


def check_reused(plan: Plan, measured: Measured) -> None:
    """Check that the files of a complete run are those that were written.

    Raises:
        ConfigError: a file was changed; names it, and the line where that can be told.
    """
    for part in measured.asked:
        for path in plan.record.changed(plan.folder, _subfolder(part)):
            if path.name == PREDICTIONS:
                # May name the line.
                _predictions(plan, measured, part)
            raise ConfigError(f"{path}: was changed since the run was made: {advice(plan.folder)}")


def reused_report(plan: Plan, measured: Measured, part: str) -> Report:
    """Compute the figures of a complete run again, from its predictions.

    Raises:
        ConfigError: the run is damaged, or its predictions are not those of the questions in their
            order; names file and line.
    """
    return _report(plan, measured, part, _predictions(plan, measured, part), (), [])


def _predictions(plan: Plan, measured: Measured, part: str) -> list[Prediction]:
    path = part_folder(plan.folder, part) / PREDICTIONS
    predictions = read_predictions(path, advice=advice(plan.folder))
    ids = unique_ids(measured.asked[part])
    if len(predictions) != len(ids):
        raise ConfigError(
            f"{path}: {len(predictions)} predictions, and {len(ids)} questions: "
            f"{advice(plan.folder)}"
        )
    for line, (prediction, name) in enumerate(zip(predictions, ids, strict=True), 1):
        if prediction.id != name:
            raise ConfigError(
                f"{path}: prediction {line} is of question {prediction.id!r}, expected {name!r}: "
                f"{advice(plan.folder)}"
            )
    return predictions


def _subfolder(part: str) -> str:
    """Return the folder of a part from that of the run."""
    return "" if part == TEST else DEV


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
