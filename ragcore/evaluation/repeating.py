"""Repeat the run in a folder, and compare a report with it.

Knows runs and reports; knows nothing of how a metric or an interval is computed.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ragcore.build import open_memory
from ragcore.config import load_config
from ragcore.config.record import environment
from ragcore.errors import ConfigError, MetricError, QuestionError
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.figures import Difference, Figure, difference
from ragcore.evaluation.metrics.ranking import RankingMetric
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.report import QuestionSource, Report
from ragcore.evaluation.running import evaluate
from ragcore.evaluation.runs import PREDICTIONS, RecordedPrediction, RecordedRun, read_run
from ragcore.questions import LabelledQuestion
from ragcore.questions.sources import is_dataset
from ragcore.rag import load

__all__ = ["Replayed", "compare_with_run", "replay"]

_CLOSE: Final = 1e-3
"""How far a replayed log p or score may lie from that of the run."""

_NAMES: Final = {"hit": "recall", "recall": "hit"}

_LOG: Final = logging.getLogger("ragcore.evaluation")

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a repeated run differs from the one in the folder.

    Attributes:
        questions: number of questions.
        changed: those whose answer or log p differs: (question, then, now).
        versions: libraries whose version differs: {name: (then, now)}; None where not installed.
    """

    questions: int
    changed: tuple[tuple[str, str, str], ...]
    versions: Mapping[str, tuple[str | None, str | None]]


def compare_with_run(folder: Path, report: Report) -> list[Difference]:
    """Compute how a run differs from the one in a folder, for each metric that both have.

    Metrics that only this run has are warned of, and those of all that was found if one run was
    searched deeper than the other.

    Raises:
        ConfigError: the folder holds no run, or a damaged one.
        MetricError: the two are of different questions.
    """
    run = read_run(folder)
    earlier = [prediction.question for prediction in run.predictions]
    if earlier != [prediction.question for prediction in report.predictions]:
        raise MetricError(
            f"{folder} has {len(earlier)} questions and this run {len(report.predictions)}, or in "
            "another order: a paired test needs the same questions in both"
        )
    earlier_figures = {figure.metric: figure for figure in run.figures}
    differences = []
    unmatched = []
    uncut = []
    for figure in report.figures:
        name = figure.metric
        earlier_name = name if name in earlier_figures else _other_name(name)
        if earlier_name not in earlier_figures:
            unmatched.append(name)
            continue
        by_question = _earlier_scores(folder, run, earlier_name)
        recorded = earlier_figures[earlier_name].model_dump()
        earlier_figure = Figure(**recorded, by_question=by_question)
        metric = make_metrics([name])[name]
        if isinstance(metric, RankingMetric) and metric.cutoff is None:
            uncut.append(name)
        differences.append(difference(name, metric, earlier_figure, figure))
    if unmatched:
        _LOG.warning(
            "%s: not compared, since the run in %s has no such metric: it has %s",
            *(", ".join(unmatched), folder, ", ".join(earlier_figures) or "none"),
        )
    if uncut and None not in (run.depth, report.depth) and run.depth != report.depth:
        _LOG.warning(
            "%s: of all passages that were found, and the run in %s was searched %s deep and this "
            "one %s: search both as deep (--depth)",
            *(", ".join(uncut), folder, run.depth, report.depth),
        )
    return differences


def _other_name(metric: str) -> str:
    """Return the other name of a metric that has two, hit@k and recall@k; its own of another.

    Earlier releases called hit@k recall@k, and measured it over the passages that were read.
    """
    name, at, number = metric.partition("@")
    return _NAMES.get(name, name) + at + number


def _earlier_scores(
    folder: Path, run: RecordedRun, metric: str
) -> tuple[tuple[float, ...] | None, ...]:
    """Return a metric's numbers for each question of a run, as many for each."""
    table: list[tuple[float, ...] | None] = []
    for prediction in run.predictions:
        if metric not in prediction.scores:
            raise ConfigError(
                f"{folder / PREDICTIONS}: no scores of {metric!r} for the question "
                f"{prediction.question!r}: the run is damaged: evaluate again"
            )
        numbers = prediction.scores[metric]
        table.append(None if numbers is None else tuple(numbers))
    if len({len(numbers) for numbers in table if numbers is not None}) > 1:
        raise ConfigError(
            f"{folder / PREDICTIONS}: the scores of {metric!r} have different lengths: the run is "
            "damaged: evaluate again"
        )
    return tuple(table)


def replay(folder: Path, *, progress: Progress | None = None) -> Replayed:
    """Repeat a run: the same pipeline, version of the memory and questions.

    Of a run of retrieval alone, the rankings are compared.

    Raises:
        ConfigError: the folder holds no run, a damaged one, or the pipeline's file is missing.
        QuestionError: the questions are missing or have changed.
    """
    run = read_run(folder)
    questions = _questions(folder, run)
    if len(questions) != len(run.predictions):
        raise ConfigError(
            f"{folder / PREDICTIONS} has {len(run.predictions)} predictions, expected "
            f"{len(questions)}, one for each question: the run is damaged: evaluate again"
        )
    pipeline = (folder / run.pipeline).resolve()
    overrides = [*run.overrides, f"memory.version={json.dumps(run.memory)}"]
    if run.retrieval:
        config = load_config(pipeline, overrides)
        with open_memory(config) as memory:
            report = evaluate(
                memory, questions, {}, depth=run.depth, where=config.rag.where, progress=progress
            )
    else:
        with load(pipeline, *overrides) as rag:
            report = evaluate(rag, questions, {}, progress=progress)
    recorded, current = run.versions, environment()
    versions = {
        name: (recorded.get(name), current.get(name))
        for name in sorted({*recorded, *current})
        if recorded.get(name) != current.get(name)
    }
    return Replayed(len(run.predictions), tuple(_changed(folder, run, report)), versions)


def _questions(folder: Path, run: RecordedRun) -> list[LabelledQuestion]:
    """Read the questions of a run again, once they are the same."""
    recorded = run.questions
    named = is_dataset(recorded.path)
    source = QuestionSource(
        recorded.path if named else (folder / recorded.path).resolve(),
        recorded.format,
        recorded.limit,
        None if recorded.qrels is None else (folder / recorded.qrels).resolve(),
    )
    missing = not named and not Path(source.path).exists()
    if missing or source.sha256() != recorded.sha256:
        raise QuestionError(
            f"{source.path}: not the questions of the run in {folder} (the file is missing, or its "
            "sha256 differs): put the file back, or evaluate again"
        )
    return source.read()


def _changed(folder: Path, run: RecordedRun, report: Report) -> Iterator[tuple[str, str, str]]:
    """Yield each question whose answer or ranking differs, with what it was and what it is."""
    for number, (earlier, now) in enumerate(
        zip(run.predictions, report.predictions, strict=True), 1
    ):
        then, today = _outcome(earlier), _outcome(now)
        if then is None or today is None:
            raise ConfigError(
                f"{folder / PREDICTIONS}: the run is damaged: prediction {number} has no "
                f"{'ranking' if now.answer is None else 'answer'}: evaluate again"
            )
        near = len(then[1]) == len(today[1]) and all(
            math.isclose(one, other, abs_tol=_CLOSE)
            for one, other in zip(then[1], today[1], strict=True)
        )
        if then[0] != today[0] or not near:
            yield now.question, _shown(then), _shown(today)


_Outcome = tuple[str, tuple[float, ...], str]
"""What an answer or a ranking is, as a text; numbers that may differ a little; what these are."""


def _outcome(prediction: Prediction | RecordedPrediction) -> _Outcome | None:
    """Return what a prediction's answer is, or else its ranking; None where it has neither."""
    if prediction.answer is not None and prediction.log_prob is not None:
        return prediction.answer, (prediction.log_prob,), "log p"
    if prediction.answer is None and prediction.ranking is not None:
        return ", ".join(prediction.ranking.ids), tuple(prediction.ranking.scores), "best score"
    return None


def _shown(outcome: _Outcome) -> str:
    text, numbers, name = outcome
    return f"{text} ({name} {numbers[0]:.4f})" if numbers else "nothing found"
