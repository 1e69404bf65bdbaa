"""Runs of experiments made by hand: systems whose scores are written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragcore.evaluation.figures import Figure
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.report import QuestionSource, Report
from ragcore.experiments.results import Cost, Counters, ExperimentRun, SystemRun
from ragcore.experiments.systems import Experiment, System

Scores = Sequence[float | None]


def made_prediction(name: str, answer: str | None = None, **more: Any) -> Prediction:
    """Make a prediction of which the id and the answer count."""
    fields = {"log_prob": None, "correct": None, **more}
    return Prediction(name, "who?", ("x",), False, (), answer, passages=(), **fields)


def made_report(
    scores: Mapping[str, Scores],
    *,
    ids: Sequence[str] | None = None,
    answers: Sequence[str] | None = None,
    predictions: Sequence[Prediction] | None = None,
) -> Report:
    """Make a report with a figure of means for each metric's scores by question."""
    if predictions is None:
        count = len(next(iter(scores.values())))
        ids = ids or [str(number) for number in range(1, count + 1)]
        predictions = [
            made_prediction(name, None if answers is None else answers[index])
            for index, name in enumerate(ids)
        ]
    figures = tuple(made_figure(name, numbers) for name, numbers in scores.items())
    return Report(tuple(predictions), figures, "v")


def made_figure(name: str, scores: Scores) -> Figure:
    known = [score for score in scores if score is not None]
    value = sum(known) / len(known) if known else None
    low, high = (min(known), max(known)) if known else (None, None)
    by_question = tuple(None if score is None else (score, 1.0) for score in scores)
    return Figure(name, value, low, high, len(known), None, by_question)


def made_run(
    name: str,
    report: Report,
    factors: Mapping[str, Any] | None = None,
    *,
    cost: Cost | None = None,
    dev: Report | None = None,
) -> SystemRun:
    system = System(name, Path("/p.yaml"), factors=factors or {"system": name})
    return SystemRun(system, Path("/out/runs") / "slug", report, cost, dev)


def made_experiment(
    *runs: SystemRun,
    metrics: Sequence[str] | None = None,
    baseline: str | None = None,
    risk: float | None = None,
    name: str = "made",
    warnings: tuple[str, ...] = (),
    counters: Counters | None = None,
) -> ExperimentRun:
    experiment = Experiment(
        name=name,
        systems=tuple(run.system for run in runs),
        questions=QuestionSource("/q.jsonl"),
        metrics=None if metrics is None else tuple(metrics),
        baseline=baseline or runs[0].system.name,
        output=Path("/out"),
        risk=risk,
    )
    return ExperimentRun(experiment, runs, counters or Counters(), warnings)
