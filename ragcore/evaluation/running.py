"""Evaluate a file of questions, and keep the run in a folder so that it can be repeated.

run.json             pipeline, overrides, sha256 of the questions, memory, versions, figures
predictions.jsonl    a line a question: answer, log p, passages, right or wrong, scores

Knows runs and their folders; knows nothing of how a metric or an interval is computed.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from pydantic import ValidationError

from ragcore.config.record import environment, portable
from ragcore.config.training import QuestionsConfig
from ragcore.contracts import Generator
from ragcore.disk.atomic import sha256
from ragcore.disk.replacing import replacing
from ragcore.errors import ConfigError, MetricError, QuestionError
from ragcore.evaluation.checks import (
    absent_passages,
    check_labels,
    labels_of,
    unmatched_sources,
)
from ragcore.evaluation.figures import Difference, Figure, difference, figures, missing_package
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.prediction import Prediction, make_predictions
from ragcore.evaluation.runs import FORMAT, PREDICTIONS, RUN, RecordedRun, read_run
from ragcore.questions import LabelledQuestion, read_questions, spread_over
from ragcore.rag import Rag, load
from ragcore.registry.conformance import check_class, check_instance
from ragcore.registry.discovery import registry

__all__ = [
    "DEFAULT_METRICS",
    "Replayed",
    "Report",
    "compare_with_run",
    "default_metrics",
    "evaluate",
    "make_metrics",
    "replay",
]

DEFAULT_METRICS: Final = ("exact_match", "f1", "recall@1", "recall@5", "mrr", "log_prob")
ANSWERABILITY_METRICS: Final = (
    "has_ans_exact_match",
    "has_ans_f1",
    "no_ans_exact_match",
    "log_prob_auroc",
    "selective_exact_match@20",
    "selective_exact_match@40",
    "selective_exact_match@60",
    "selective_exact_match@80",
)
"""What is reported besides where questions are known to have no answer, as SQuAD 2.0's."""
BATCH: Final = 32
"""Questions that are retrieved for together; `rag.batch_size` sets how many are read together."""

_AT: Final = ("k", "coverage")
"""The settings that a metric's name may set, behind an at sign."""

_LOG: Final = logging.getLogger("ragcore.evaluation")

_CLOSE: Final = 1e-3
"""How far a replayed log p may lie from that of the run."""

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Report:
    """The answers to a file of questions, and the metrics' figures.

    Attributes:
        predictions: one for each question.
        figures: one for each metric, in the caller's order.
        memory: the version that was read.
        warnings: reasons to doubt the figures; also logged.
        settings: overrides that repeat the prompts on another day; see `_settings_of_today`.
    """

    predictions: tuple[Prediction, ...]
    figures: tuple[Figure, ...]
    memory: str
    warnings: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def _unset(self, overrides: Sequence[str]) -> list[str]:
        """Return the settings that no override sets."""
        keys = {override.partition("=")[0] for override in overrides}
        return [setting for setting in self.settings if setting.partition("=")[0] not in keys]

    @property
    def failed(self) -> tuple[Figure, ...]:
        """The metrics that raised an error."""
        return tuple(figure for figure in self.figures if figure.error is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the predictions, with each question's scores, JSON-ready."""
        return {
            "memory": self.memory,
            "questions": len(self.predictions),
            "metrics": [figure.to_dict() for figure in self.figures],
            "warnings": list(self.warnings),
            "predictions": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the predictions, each with the numbers that the metrics add up."""
        return [
            {
                **prediction.to_dict(),
                "scores": {figure.metric: figure.by_question[index] for figure in self.figures},
            }
            for index, prediction in enumerate(self.predictions)
        ]

    def write(
        self,
        folder: Path,
        pipeline: str | Path,
        overrides: Sequence[str],
        questions: QuestionsConfig,
    ) -> None:
        """Write the run into a folder, so that `replay` can repeat it; replaces a run there.

        Args:
            folder: made where it is missing.
            pipeline: the file that the answers are of.
            overrides: changes to it.
            questions: the file of questions, with its format and limit.

        Raises:
            StoreError: what is at one of the two paths is no regular file; then both stay.
        """
        folder.mkdir(parents=True, exist_ok=True)
        base = folder.resolve()
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows())
        run = {
            "format": FORMAT,
            "pipeline": portable(str(Path(pipeline).resolve()), base),
            "overrides": [*overrides, *self._unset(overrides)],
            "questions": {
                "path": portable(str(questions.path.resolve()), base),
                "format": questions.format,
                "limit": questions.limit,
                "sha256": sha256(questions.path),
            },
            "memory": self.memory,
            "metrics": [figure.to_dict() for figure in self.figures],
            "versions": environment(),
        }
        text = json.dumps(run, indent=2, ensure_ascii=False) + "\n"
        with replacing(folder / RUN) as run_file, replacing(folder / PREDICTIONS) as predictions:
            predictions.write(lines.encode("utf-8"))
            run_file.write(text.encode("utf-8"))


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


def make_metrics(names: Sequence[str] = DEFAULT_METRICS) -> dict[str, Metric]:
    """Make registered metrics by name; `NAME@10` is `NAME` of the first ten passages.

    Of a metric with a coverage, `NAME@20` is at 20 percent.

    Raises:
        UnknownComponentError: no plugin has a metric of that name.
        PluginError: a metric lacks members of its contract.
        MetricError: a metric takes no such number, or needs a package that is not installed.
    """
    metrics: dict[str, Metric] = {}
    for name in dict.fromkeys(names):
        base_name, has_number, number = name.partition("@")
        component = registry().load("metric", base_name)
        check_class("metric", base_name, component, Metric)
        settings: dict[str, Any] = {}
        if has_number:
            keys = [key for key in _AT if key in component.Config.model_fields]
            if not keys or not number.isdecimal() or not int(number):
                raise MetricError(f"metric {name!r}: expected a name, or NAME@K as in recall@5")
            settings[keys[0]] = int(number)
        try:
            metric = component(component.Config(**settings))
        except ValidationError as error:
            raise MetricError(f"metric {name!r}: {error.errors()[0]['msg']}") from None
        except ModuleNotFoundError as missing:
            raise MetricError(f"metric {name!r}: {missing_package(missing)}") from None
        check_instance("metric", base_name, metric, Metric)
        metrics[name] = metric
    return metrics


def default_metrics(asked: Sequence[LabelledQuestion]) -> tuple[str, ...]:
    """Return the names of the metrics that suit questions where the caller names none.

    Args:
        asked: the questions; where some are known to have no answer, those with and those without
            one are also reported apart, and how well log p tells right from wrong.
    """
    unanswerable = any(
        question.unanswerable
        or (isinstance(question.answers, Mapping) and not all(question.answers.values()))
        for question in asked
    )
    return DEFAULT_METRICS + (ANSWERABILITY_METRICS if unanswerable else ())


def evaluate(
    rag: Rag,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric] | None = None,
    *,
    progress: Progress | None = None,
) -> Report:
    """Answer questions from one version of the memory, and measure how good the answers are.

    Args:
        rag: the pipeline.
        asked: the questions, with what is right; at least one.
        metrics: by name; `default_metrics` where None.
        progress: called after each batch with the questions done and all questions.

    Raises:
        QuestionError: there is no question, the metrics need right answers and no question has
            any, or the pipeline cannot answer a question: it is empty, or longer than the
            generator's input.
    """
    if not asked:
        raise QuestionError("no question to evaluate on: give one or more")
    metrics = make_metrics(default_metrics(asked)) if metrics is None else metrics
    answers = []
    with rag.pinned(rag.memory.version), rag.memory.reading() as memory:
        version = memory.version
        check_labels(asked, version, metrics)
        ranking = any(labels_of(metric) == "passages" for metric in metrics.values())
        warnings = absent_passages(asked, memory) if ranking else []
        for begin in range(0, len(asked), BATCH):
            batch = asked[begin : begin + BATCH]
            answers += rag.answer([question.question for question in batch])
            if progress is not None:
                progress(len(answers), len(asked))
    predictions = make_predictions(asked, answers)
    warnings += unmatched_sources(asked, predictions, version) if ranking else []
    for warning in warnings:
        _LOG.warning("%s", warning)
    values = figures(metrics, predictions)
    settings = _settings_of_today(rag.generator)
    return Report(tuple(predictions), tuple(values), version, tuple(warnings), settings)


@runtime_checkable
class _DatedGenerator(Protocol):
    """A generator whose prompts depend on the day, where its config does not say which."""

    def settings_of_today(self) -> Mapping[str, str]:
        """Return the settings that repeat today's prompts on another day."""
        ...


def _settings_of_today(generator: Generator) -> tuple[str, ...]:
    """Return the overrides by which a replay gets the prompts of this run."""
    if not isinstance(generator, _DatedGenerator):
        return ()
    return tuple(f"generator.{key}={value}" for key, value in generator.settings_of_today().items())


def compare_with_run(folder: Path, report: Report) -> list[Difference]:
    """Compute how a run differs from the one in a folder, for each metric that both have.

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
    for figure in report.figures:
        name = figure.metric
        if name not in earlier_figures:
            continue
        by_question = _earlier_scores(folder, run, name)
        earlier_figure = Figure(**earlier_figures[name].model_dump(), by_question=by_question)
        metric = make_metrics([name])[name]
        differences.append(difference(name, metric, earlier_figure, figure))
    return differences


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

    Raises:
        ConfigError: the folder holds no run, a damaged one, or the pipeline's file is missing.
        QuestionError: the file of questions is missing or has changed.
    """
    run = read_run(folder)
    source = run.questions
    path = (folder / source.path).resolve()
    if not path.is_file() or sha256(path) != source.sha256:
        raise QuestionError(
            f"{path}: not the questions of the run in {folder} (the file is missing, or its sha256 "
            "differs): put the file back, or evaluate again"
        )
    questions = spread_over(read_questions(path, format=source.format), source.limit)
    if len(questions) != len(run.predictions):
        raise ConfigError(
            f"{folder / PREDICTIONS} has {len(run.predictions)} predictions, expected "
            f"{len(questions)}, one for each question: the run is damaged: evaluate again"
        )
    pipeline = (folder / run.pipeline).resolve()
    with load(pipeline, *run.overrides, f"memory.version={json.dumps(run.memory)}") as rag:
        report = evaluate(rag, questions, {}, progress=progress)
    changed = []
    for earlier, now in zip(run.predictions, report.predictions, strict=True):
        near = math.isclose(earlier.log_prob, now.log_prob, abs_tol=_CLOSE)
        if earlier.answer != now.answer or not near:
            then = f"{earlier.answer} (log p {earlier.log_prob:.4f})"
            changed.append((now.question, then, f"{now.answer} (log p {now.log_prob:.4f})"))
    recorded, current = run.versions, environment()
    versions = {
        name: (recorded.get(name), current.get(name))
        for name in sorted({*recorded, *current})
        if recorded.get(name) != current.get(name)
    }
    return Replayed(len(run.predictions), tuple(changed), versions)
