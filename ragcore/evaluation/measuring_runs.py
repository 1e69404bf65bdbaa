"""Measure the rankings of a run file in place of searching.

Knows run files and questions; knows nothing of how a measure is computed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from ragcore.errors import MetricError, QuestionError
from ragcore.evaluation.checks import absent_passages, check_answered, check_grades, check_labels
from ragcore.evaluation.choosing import default_metrics, make_metrics, ranking_metrics
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.prediction import Ranking, make_predictions, unique_ids
from ragcore.evaluation.report import Report
from ragcore.evaluation.running import report_of
from ragcore.evaluation.searching import judged_ranking
from ragcore.evaluation.trec_runs import TrecRun
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion
from ragcore.questions.trec import Qrels

__all__ = ["evaluate_run", "questions_of", "report_of_run"]

_LOG: Final = logging.getLogger("ragcore.evaluation")

_SHOWN: Final = 3


def questions_of(qrels: Qrels) -> list[LabelledQuestion]:
    """Return a question for each id that judgments have; its text is the id."""
    return [
        LabelledQuestion(name, id=name, relevance=grades) for name, grades in qrels.grades.items()
    ]


def evaluate_run(
    run: TrecRun,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric] | None = None,
    *,
    memory: Memory | None = None,
    depth: int | None = None,
) -> Report:
    """Measure the rankings of a run file, and log what makes the figures doubtful.

    Args and errors are those of `report_of_run`.
    """
    report = report_of_run(run, asked, metrics, memory=memory, depth=depth)
    for warning in report.warnings:
        _LOG.warning("%s", warning)
    return report


def report_of_run(
    run: TrecRun,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric] | None = None,
    *,
    memory: Memory | None = None,
    depth: int | None = None,
) -> Report:
    """Measure the rankings of a run file as `evaluate_run` does, and log nothing.

    A judged question that the file lacks counts as not found.

    Args:
        run: the file.
        asked: the questions, with what is right; at least one.
        metrics: of passages, by name; `default_metrics` where None.
        memory: has the passages, to judge them by their texts where no ids are known; where None,
            only questions with ids of relevant passages are measured.
        depth: how deep the run was searched; where None, its longest ranking.

    Raises:
        QuestionError: there is no question, none is of the run, none has labels, or no passage of
            the run is in the memory.
        MetricError: a metric is of answers, or of more passages than the run has.
    """
    if not asked:
        raise QuestionError("no question to evaluate on: give one or more")
    metrics = make_metrics(default_metrics(asked, retrieval=True)) if metrics is None else metrics
    check_answered(metrics)
    depth = _depth(run, metrics, depth)
    version = "" if memory is None else memory.version
    check_labels(asked, version, metrics)
    names = unique_ids(asked)
    warnings = [*check_grades(asked), *_missing(run, names)]
    rows: dict[str, int] = {}
    if memory is not None:
        warnings += absent_passages(asked, memory)
        rows = _rows(run, memory, warnings)
    rankings = []
    for name, question in zip(names, asked, strict=True):
        hits = run.hits.get(name, ())[:depth]
        ids, scores = [passage for passage, _ in hits], [score for _, score in hits]
        if memory is None:
            grades = question.grades_by(version)
            rankings.append(Ranking(tuple(ids), tuple(scores), depth, grades, by_text=not grades))
        else:
            known = [rows[passage] for passage in ids if passage in rows]
            rankings.append(judged_ranking(memory, question, ids, scores, depth, known))
    if memory is None and all(ranking.by_text for ranking in rankings):
        raise QuestionError(
            f"no question has ids of relevant passages, and {run.path} has no texts to judge: give "
            "--qrels, or the pipeline whose memory has the passages"
        )
    predictions = make_predictions(asked, None, rankings, version=version)
    return report_of(predictions, metrics, version, warnings=warnings, depth=depth)


def _depth(run: TrecRun, metrics: Mapping[str, Metric], depth: int | None) -> int:
    searched = run.depth if depth is None else depth
    for name, metric in ranking_metrics(metrics).items():
        if metric.cutoff is not None and metric.cutoff > searched:
            raise MetricError(
                f"{name} is of the first {metric.cutoff} passages, and {run.path} has at most "
                f"{searched} a question: measure less deep, or, if the run was searched deeper "
                "and no more was found, say how deep (--depth)"
            )
    return searched


def _missing(run: TrecRun, names: Sequence[str]) -> list[str]:
    """Warn of questions that only the run or only the file of questions has, and of ties."""
    asked = set(names)
    unknown = [name for name in run.hits if name not in asked]
    missing = [name for name in names if name not in run.hits]
    if len(missing) == len(names):
        raise QuestionError(
            f"{run.path}: no question of the {len(names)} asked: it has {_examples(unknown)}, "
            f"asked are {_examples(missing)}: check that both are of one data set"
        )
    warnings = []
    if unknown:
        warnings.append(
            f"{len(unknown)} questions of {run.path} ({_examples(unknown)}) are not among those "
            "asked: they are not measured"
        )
    if missing:
        warnings.append(
            f"{len(missing)} of {len(names)} questions are not in {run.path} "
            f"({_examples(missing)}): nothing counts as found for them"
        )
    if run.tied:
        warnings.append(
            f"{run.tied} questions of {run.path} have passages of equal scores: of these the "
            "greater id comes first, as for trec_eval, whatever the column of ranks says"
        )
    return warnings


def _rows(run: TrecRun, memory: Memory, warnings: list[str]) -> dict[str, int]:
    """Return the rows of a run's passages, and warn of those that the memory does not have."""
    ids = {passage for hits in run.hits.values() for passage, _ in hits}
    rows = memory.passages.rows_of(list(ids))
    absent = sorted(ids - rows.keys())
    if not rows:
        raise QuestionError(
            f"{run.path}: none of its {len(ids)} passages ({_examples(absent)}) is in memory "
            f"{memory.version!r}: check that the run is of this corpus"
        )
    if absent:
        warnings.append(
            f"{len(absent)} of {len(ids)} passages of {run.path} ({_examples(absent)}) are not in "
            f"memory {memory.version!r}"
        )
    return rows


def _examples(ids: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in ids[:_SHOWN])
    return f"{shown}, …" if len(ids) > _SHOWN else shown
