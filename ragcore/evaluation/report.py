"""The report of an evaluation, and the folder that it is kept in so that it can be repeated.

run.json             pipeline, overrides, sha256 of the questions, memory, versions, figures
predictions.jsonl    a line a question: answer, log p, passages, ranking, right or wrong, scores

Knows what is written; knows nothing of how a metric or an interval is computed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragcore.config.record import environment, portable
from ragcore.config.training import QuestionsConfig
from ragcore.disk.atomic import sha256
from ragcore.disk.replacing import replacing
from ragcore.errors import MetricError
from ragcore.evaluation.figures import Figure
from ragcore.evaluation.prediction import Prediction
from ragcore.evaluation.runs import FORMAT, PREDICTIONS, RETRIEVAL_FORMAT, RUN
from ragcore.evaluation.trec_runs import write_run
from ragcore.questions import LabelledQuestion, questions_digest, read_questions, spread_over
from ragcore.questions.sources import is_dataset

__all__ = ["QuestionSource", "Report"]


@dataclass(frozen=True)
class QuestionSource:
    """Where the questions of a run come from; they are read once.

    Attributes:
        path: a file, a folder, or "ir_datasets:NAME", as for `read_questions`.
        format: as for `read_questions`.
        limit: at most so many questions, evenly spaced; None for all.
        qrels: a file of judgments; None where the questions have their own.
    """

    path: str | Path
    format: str = "auto"
    limit: int | None = None
    qrels: Path | None = None

    def read(self) -> list[LabelledQuestion]:
        """Read the questions; see `read_questions` for what it raises."""
        return spread_over(self._questions, self.limit)

    def sha256(self) -> str:
        """Compute the sha256 of the file, or else of the questions with their labels."""
        if self.qrels is None and not is_dataset(self.path) and Path(self.path).is_file():
            return sha256(Path(self.path))
        return questions_digest(self._questions)

    @functools.cached_property
    def _questions(self) -> list[LabelledQuestion]:
        """All questions, whatever the limit."""
        return read_questions(self.path, format=self.format, qrels=self.qrels)

    def to_dict(self, base: Path, project: Path | None = None) -> dict[str, Any]:
        """Return it JSON-ready, with paths as `portable` writes them for the folder `base`."""
        path = str(self.path) if is_dataset(self.path) else str(Path(self.path).resolve())
        qrels = {}
        if self.qrels is not None:
            qrels["qrels"] = portable(str(self.qrels.resolve()), base, project)
        return {
            "path": portable(path, base, project),
            "format": self.format,
            "limit": self.limit,
            "sha256": self.sha256(),
            **qrels,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The answers to a file of questions, and the metrics' figures.

    Attributes:
        predictions: one for each question.
        figures: one for each metric, in the caller's order.
        memory: the version that was read.
        warnings: reasons to doubt the figures; also logged.
        settings: overrides that repeat the prompts on another day.
        depth: how many passages were searched for, for metrics of passages; None without these.
    """

    predictions: tuple[Prediction, ...]
    figures: tuple[Figure, ...]
    memory: str
    warnings: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    depth: int | None = None

    @property
    def retrieval(self) -> bool:
        """Whether retrieval alone was measured, without answers."""
        return all(prediction.answer is None for prediction in self.predictions)

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
            "depth": self.depth,
            "metrics": [figure.to_dict() for figure in self.figures],
            "warnings": list(self.warnings),
            "predictions": list(self.rows()),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the predictions, each with the numbers that the metrics add up."""
        for index, prediction in enumerate(self.predictions):
            scores = {figure.metric: figure.by_question[index] for figure in self.figures}
            yield {**prediction.to_dict(), "scores": scores}

    def write(
        self,
        folder: Path,
        pipeline: str | Path,
        overrides: Sequence[str],
        questions: QuestionsConfig | QuestionSource,
        *,
        project: Path | None = None,
    ) -> None:
        """Write the run into a folder, so that `replay` can repeat it; replaces a run there.

        Args:
            folder: made where it is missing.
            pipeline: the file that the answers are of.
            overrides: changes to it.
            questions: where they come from.
            project: the folder that is moved as a whole, with all in it; see `portable`.

        Raises:
            StoreError: what is at one of the two paths is no regular file; then both stay.
        """
        folder.mkdir(parents=True, exist_ok=True)
        base = folder.resolve()
        if isinstance(questions, QuestionsConfig):
            questions = QuestionSource(questions.path, questions.format, questions.limit)
        alone = {"retrieval": True} if self.retrieval else {}
        run = {
            "format": RETRIEVAL_FORMAT if self.retrieval else FORMAT,
            "pipeline": portable(str(Path(pipeline).resolve()), base, project),
            "overrides": [*overrides, *self._unset(overrides)],
            "questions": questions.to_dict(base, project),
            **alone,
            "depth": self.depth,
            "memory": self.memory,
            "metrics": [figure.to_dict() for figure in self.figures],
            "versions": environment(),
        }
        text = json.dumps(run, indent=2, ensure_ascii=False) + "\n"
        with replacing(folder / RUN) as run_file, replacing(folder / PREDICTIONS) as predictions:
            for row in self.rows():
                line = json.dumps(row, ensure_ascii=False) + "\n"
                predictions.write(line.encode("utf-8"))
            run_file.write(text.encode("utf-8"))

    def write_trec_run(self, path: Path, tag: str = "ragcore") -> None:
        """Write the rankings as a TREC run file, in which no two scores of a question are equal.

        Measuring the file gives the same figures, also by trec_eval, which orders by score alone.

        Args:
            path: replaced if it is a file.
            tag: the run's name, in the last column.

        Raises:
            MetricError: there are no rankings.
            QuestionError: an id or the tag has white space.
            StoreError: at the path is no regular file.
        """
        rankings = {}
        for prediction in self.predictions:
            if prediction.ranking is None:
                raise MetricError(
                    "this run has no rankings to write: name a metric of passages, such as nDCG@10"
                )
            rankings[prediction.id] = prediction.ranking
        write_run(path, rankings, tag)
