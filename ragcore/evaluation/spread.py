"""Evaluate a pipeline where a runner runs it: each worker opens it once and takes batches.

The batches are those of one process, so that the report is the same. Knows pipelines and batches;
knows nothing of processes or clusters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ragcore.build import open_memory
from ragcore.config import load_config
from ragcore.contracts import PartReport, Runner
from ragcore.errors import ComponentError, QuestionError
from ragcore.evaluation.begun import Begun
from ragcore.evaluation.checks import check_answered
from ragcore.evaluation.choosing import default_metrics, make_metrics, search_depth
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.prediction import Prediction, unique_ids
from ragcore.evaluation.report import Report
from ragcore.evaluation.running import Predicted, Predictor, both_filters, report_by
from ragcore.evaluation.searching import BATCH
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.runners.parts import run_parts

__all__ = ["evaluate_on"]

Progress = Callable[[int, int], object]


def evaluate_on(
    runner: Runner,
    pipeline: str | Path,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric] | None = None,
    *,
    overrides: Sequence[str] = (),
    depth: int | None = None,
    retrieval: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Evaluate a pipeline as `evaluate` does, with batches of questions where a runner runs them.

    Args:
        runner: where; see `load_runner`. Workers need the pipeline's file, its models and its store
            at the same paths.
        pipeline: path of a YAML file.
        asked: the questions, with what is right; at least one.
        metrics: by name; `default_metrics` where None.
        overrides: changes to the file, as on the command line.
        depth: as for `evaluate`.
        retrieval: measure retrieval alone, also where there is a generator.
        progress: as for `evaluate`.

    Raises:
        ComponentError: a worker ended, or none could be started.
        MemoryMismatchError: a worker has another version of the same name, or none.
        ConfigError: the pipeline has other settings where a worker is, or ragcore another release.
        RagcoreError: as for `evaluate`, raised here or by a worker.
    """
    if not asked:
        raise QuestionError("no question to evaluate on: give one or more")
    config = load_config(pipeline, overrides)
    alone = retrieval or config.generator is None
    chosen = metrics is not None
    metrics = make_metrics(default_metrics(asked, retrieval=alone)) if metrics is None else metrics
    depth = search_depth(metrics, depth)
    if alone:
        check_answered(metrics)
    with open_memory(config) as memory:
        version = memory.version

        def predict(searched: int | None) -> Predicted:
            batches = _Batches(
                Path(pipeline).absolute(),
                (*overrides, f"memory.version={json.dumps(version)}"),
                Begun.of(config, version),
                tuple(asked),
                searched,
                alone,
            )
            return _predicted(batches, runner, progress)

        expression = both_filters(config.rag.where, None)
        return report_by(predict, memory, asked, metrics, depth, expression, chosen=chosen)


@dataclass(frozen=True, slots=True)
class _Batches:
    """Batches of questions as parts of a job.

    Attributes:
        pipeline: the file.
        overrides: changes to it, which name the version.
        begun: what each worker must have.
        asked: all questions.
        depth: how many passages to search for; None where no metric needs any.
        alone: whether retrieval alone is measured.
    """

    pipeline: Path
    overrides: tuple[str, ...]
    begun: Begun
    asked: tuple[LabelledQuestion, ...]
    depth: int | None
    alone: bool

    @property
    def names(self) -> Sequence[str]:
        return [
            f"questions {begin + 1} to {min(begin + BATCH, len(self.asked))}"
            for begin in range(0, len(self.asked), BATCH)
        ]

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, PartReport], Predicted]]:
        """Open the pipeline, or its memory alone.

        Raises:
            MemoryMismatchError: the version is not the caller's.
            ConfigError: the settings are not.
        """
        config = load_config(self.pipeline, self.overrides)
        self.begun.check(config, self.pipeline)
        ids = unique_ids(self.asked)
        with ExitStack() as opened:
            expression = both_filters(config.rag.where, None)
            if self.alone:
                memory = opened.enter_context(open_memory(config))
                predictor = Predictor(memory, None, None, expression, self.depth)
            else:
                rag = opened.enter_context(Rag.from_config(config))
                opened.enter_context(rag.pinned(self.begun.version))
                memory = opened.enter_context(rag.memory.reading())
                predictor = Predictor(memory, rag, None, expression, self.depth)

            def predict(part: int, report: PartReport) -> Predicted:
                its = slice(part * BATCH, (part + 1) * BATCH)
                return Predicted(predictor.predict(self.asked[its], ids[its]), predictor.settings)

            yield predict


def _predicted(batches: _Batches, runner: Runner, progress: Progress | None) -> Predicted:
    """Let a runner predict all batches, in any order; return them in theirs.

    Raises:
        ComponentError: a worker ended.
    """
    predicted: dict[int, Predicted] = {}
    done = 0
    for part in run_parts(batches, runner):
        if part.lost:
            raise ComponentError(f"{batches.names[part.number]}: their worker ended: {part.lost}")
        predicted[part.number] = part.result()
        done += len(predicted[part.number].predictions)
        if progress is not None:
            progress(done, len(batches.asked))
    ordered = [predicted[number] for number in range(len(batches.names))]
    predictions: list[Prediction] = [each for batch in ordered for each in batch.predictions]
    return Predicted(predictions, ordered[-1].settings)
