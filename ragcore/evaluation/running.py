"""Evaluate a file of questions, and what is kept of it so that it can be repeated.

run.json             pipeline, overrides, sha256 of the questions, memory, versions, figures
predictions.jsonl    a line a question: answer, log p, passages, right or wrong, scores
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ragcore.config.record import environment, portable
from ragcore.config.training import QuestionsConfig
from ragcore.disk.atomic import sha256
from ragcore.errors import ConfigError, MetricError, QuestionError
from ragcore.evaluation.figures import Difference, Figure, difference, figures, lacking
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.prediction import Prediction, predictions
from ragcore.questions import LabelledQuestion, read_questions, spread_over
from ragcore.rag import Rag, load
from ragcore.registry.discovery import registry

__all__ = ["DEFAULT_METRICS", "Report", "Replayed", "against", "evaluate", "make_metrics", "replay"]

DEFAULT_METRICS: Final = ("exact_match", "f1", "recall@1", "recall@5", "mrr", "log_prob")
RUN: Final = "run.json"
PREDICTIONS: Final = "predictions.jsonl"
FORMAT: Final = 1
BATCH: Final = 32
"""Questions that are searched for at once; what is read at once, `rag.batch_size` says."""

_CLOSE: Final = 1e-3
"""How far a replayed log p may lie from the one that was kept."""

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of answering a file of questions.

    Attributes:
        predictions: one for each question.
        figures: one for each metric, in the order asked for.
        memory: the version that was read.
    """

    predictions: tuple[Prediction, ...]
    figures: tuple[Figure, ...]
    memory: str

    @property
    def failed(self) -> tuple[Figure, ...]:
        """The metrics that raised an error."""
        return tuple(one for one in self.figures if one.error is not None)

    def to_dict(self) -> dict[str, Any]:
        """The figures and the predictions, with each question's scores, JSON-ready."""
        return {
            "memory": self.memory,
            "questions": len(self.predictions),
            "metrics": [one.to_dict() for one in self.figures],
            "predictions": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """The predictions, each with the numbers that its metrics add up."""
        return [
            {
                **one.to_dict(),
                "scores": {figure.metric: figure.by_question[place] for figure in self.figures},
            }
            for place, one in enumerate(self.predictions)
        ]

    def write(
        self,
        folder: Path,
        pipeline: str | Path,
        overrides: Sequence[str],
        questions: QuestionsConfig,
    ) -> None:
        """Keep it in a folder, so that `replay` can repeat it; what is there is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows())
        (folder / PREDICTIONS).write_text(lines, encoding="utf-8")
        said = {
            "format": FORMAT,
            "pipeline": portable(str(Path(pipeline).resolve()), place),
            "overrides": list(overrides),
            "questions": {
                "path": portable(str(questions.path.resolve()), place),
                "format": questions.format,
                "limit": questions.limit,
                "sha256": sha256(questions.path),
            },
            "memory": self.memory,
            "metrics": [one.to_dict() for one in self.figures],
            "versions": environment(),
        }
        text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
        (folder / RUN).write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Replayed:
    """A run that was repeated.

    Attributes:
        questions: how many.
        changed: those whose answer or log p is another now: (question, kept, now).
        versions: libraries whose version is another: {name: (then, now)}.
    """

    questions: int
    changed: tuple[tuple[str, str, str], ...]
    versions: Mapping[str, tuple[str | None, str | None]]


def make_metrics(names: Sequence[str] = DEFAULT_METRICS) -> dict[str, Metric]:
    """Registered metrics by name; `NAME@10` is `NAME` of the first ten passages.

    Raises:
        UnknownComponentError: no plugin gives one of them.
        MetricError: one takes no k, or needs a package that is not installed.
    """
    made: dict[str, Metric] = {}
    for name in dict.fromkeys(names):
        bare, at, k = name.partition("@")
        component = registry().load("metric", bare)
        settings: dict[str, Any] = {}
        if at:
            if "k" not in component.Config.model_fields or not k.isdecimal() or not int(k):
                raise MetricError(f"metric {name!r}: expected a name, or NAME@K as in recall@5")
            settings["k"] = int(k)
        try:
            made[name] = component(component.Config(**settings))
        except ModuleNotFoundError as missing:
            raise MetricError(f"metric {name!r}: {lacking(missing)}") from None
    return made


def evaluate(
    rag: Rag,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric] | None = None,
    *,
    progress: Progress | None = None,
) -> Report:
    """Answer questions out of one version of the memory; how good the answers are.

    Args:
        rag: answers them.
        asked: at least one.
        metrics: by name; `DEFAULT_METRICS` where None.
        progress: called with how many questions are answered, and of how many.

    Raises:
        QuestionError: there is no question, or one cannot be asked.
    """
    if not asked:
        raise QuestionError("no question to evaluate on: give one at least")
    metrics = make_metrics() if metrics is None else metrics
    answers = []
    with rag.pinned(rag.memory.version):
        version = rag.memory.version
        for begin in range(0, len(asked), BATCH):
            part = asked[begin : begin + BATCH]
            answers += rag.answer([one.question for one in part])
            if progress is not None:
                progress(len(answers), len(asked))
    made = predictions(asked, answers)
    return Report(tuple(made), tuple(figures(metrics, made)), version)


def against(folder: Path, report: Report) -> list[Difference]:
    """How a run differs from one that was kept, for each metric that both have.

    Raises:
        ConfigError: the folder holds no run.
        MetricError: the two are of different questions.
    """
    said, rows = _read_run(folder)
    theirs = [row["question"] for row in rows]
    if theirs != [one.question for one in report.predictions]:
        raise MetricError(
            f"{folder} has {len(theirs)} questions and this run {len(report.predictions)}, or in "
            "another order: a paired test needs the same questions in both"
        )
    found = []
    for figure in report.figures:
        known = next((one for one in said["metrics"] if one["metric"] == figure.metric), None)
        if known is None:
            continue
        scores = [row["scores"][figure.metric] for row in rows]
        kept = Figure(
            **known,
            by_question=tuple(None if one is None else tuple(one) for one in scores),
        )
        metric = make_metrics([figure.metric])[figure.metric]
        found.append(difference(figure.metric, metric, kept, figure))
    return found


def replay(folder: Path, *, progress: Progress | None = None) -> Replayed:
    """Repeat a run: the same pipeline, version of the memory and questions.

    Raises:
        ConfigError: the folder holds no run, or the pipeline is gone.
        QuestionError: the questions are others than they were.
    """
    said, rows = _read_run(folder)
    told = said["questions"]
    path = (folder / told["path"]).resolve()
    if not path.is_file() or sha256(path) != told["sha256"]:
        raise QuestionError(
            f"{path}: not the questions of the run in {folder} (its sha256 is another, or it is "
            "gone): put back the file, or evaluate anew"
        )
    asked = spread_over(read_questions(path, format=told["format"]), told["limit"])
    pipeline = (folder / said["pipeline"]).resolve()
    with load(pipeline, *said["overrides"], f"memory.version={json.dumps(said['memory'])}") as rag:
        report = evaluate(rag, asked, {}, progress=progress)
    changed = []
    for row, now in zip(rows, report.predictions, strict=True):
        near = math.isclose(row["log_prob"], now.log_prob, abs_tol=_CLOSE)
        if row["answer"] != now.answer or not near:
            kept = f"{row['answer']} (log p {row['log_prob']:.4f})"
            changed.append((now.question, kept, f"{now.answer} (log p {now.log_prob:.4f})"))
    then, today = said["versions"], environment()
    versions = {
        name: (then.get(name), today.get(name))
        for name in sorted({*then, *today})
        if then.get(name) != today.get(name)
    }
    return Replayed(len(rows), tuple(changed), versions)


def _read_run(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        said = json.loads((folder / RUN).read_text(encoding="utf-8"))
        lines = (folder / PREDICTIONS).read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder} holds no run that can be read ({error}): expected {RUN} and {PREDICTIONS}, "
            "as `ragcore eval … --output FOLDER` and `ragcore train` write them"
        ) from None
    if said.get("format") != FORMAT:
        raise ConfigError(
            f"{folder / RUN} has format {said.get('format')!r}, this version reads {FORMAT}: "
            "evaluate anew"
        )
    return said, rows
