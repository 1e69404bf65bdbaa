"""Measure systems that are TREC run files of other programs.

Knows run files and questions; knows nothing of pipelines.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ragcore.disk.atomic import sha256
from ragcore.disk.replacing import replacing
from ragcore.errors import QuestionError
from ragcore.evaluation.choosing import ranking_metrics
from ragcore.evaluation.measuring_runs import evaluate_run
from ragcore.evaluation.prediction import unique_ids
from ragcore.evaluation.report import Report
from ragcore.evaluation.runs import PREDICTIONS
from ragcore.evaluation.trec_runs import read_trec_run
from ragcore.experiments.folders import digest_of, run_folder
from ragcore.experiments.planning import TEST, Measured
from ragcore.experiments.results import SystemRun
from ragcore.experiments.systems import Experiment, System

__all__ = ["measure_run_file", "write_run_file"]


def measure_run_file(system: System, experiment: Experiment, measured: Measured) -> SystemRun:
    """Measure a run file.

    Raises:
        QuestionError: the file is faulty or lacks a question, or no question has judgments by
            passage ids.
        MetricError: a metric is of answers, or of more passages than the file has.
    """
    assert system.run is not None
    asked = measured.asked[TEST]
    if not any(question.relevance or question.passage_ids for question in asked):
        raise QuestionError(
            f"system {system.name!r}: {system.run} has no texts to judge, and no question has ids "
            "of relevant passages: give questions with relevance or passage_ids, or qrels"
        )
    run = read_trec_run(system.run)
    missing = [name for name in unique_ids(asked) if name not in run.hits]
    if missing:
        raise QuestionError(
            f"system {system.name!r}: {system.run} lacks {len(missing)} of {len(asked)} questions "
            f"({', '.join(map(repr, missing[:3]))}): systems are compared on the same questions: "
            "add them to the file, or limit the questions to those that it has"
        )
    depth = experiment.depth
    if depth is None and measured.depth is not None and run.depth > measured.depth:
        # As deep as the pipelines.
        depth = measured.depth
    report = evaluate_run(run, asked, measured.metrics, depth=depth)
    report = replace(report, warnings=(*report.warnings, *_shallow(system, report, measured)))
    digest = digest_of([sha256(system.run), measured.digests, report.depth])
    folder = run_folder(experiment.output, system.name, digest)
    return SystemRun(system, folder, report)


def _shallow(system: System, report: Report, measured: Measured) -> list[str]:
    """Warn of measures without a cutoff that see fewer passages than those of the pipelines."""
    unlimited = [
        name for name, metric in ranking_metrics(measured.metrics).items() if metric.cutoff is None
    ]
    if not unlimited or report.depth == measured.depth:
        return []
    return [
        f"{', '.join(unlimited)}: of the first {report.depth} passages in {system.run}, and of "
        f"{measured.depth} for pipelines: name a depth (depth: {report.depth}), or, if the run was "
        f"searched {measured.depth} deep and no more was found, that one"
    ]


def write_run_file(folder: Path, report: Report) -> None:
    """Write the predictions of a run file, a line a question with its scores."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PREDICTIONS) as file:
        for row in report.rows():
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))
