"""Evaluate questions: answer them, search as deep as metrics need, and compute the figures.

Knows pipelines and memories; knows nothing of how a metric or an interval is computed, or of what
is written (report.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, runtime_checkable

from ragcore.answering.searching import Where
from ragcore.contracts import AnyGenerator
from ragcore.errors import QuestionError
from ragcore.evaluation.checks import (
    absent_passages,
    cautions,
    check_answered,
    check_grades,
    check_labels,
    unmatched_sources,
)
from ragcore.evaluation.choosing import (
    default_metrics,
    limited_search,
    make_metrics,
    ranking_metrics,
    search_depth,
)
from ragcore.evaluation.figures import figures
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.prediction import Prediction, Ranking, make_predictions, unique_ids
from ragcore.evaluation.report import Report
from ragcore.evaluation.searching import (
    BATCH,
    deepest_ranking,
    evidence_ranking,
    search_rankings,
)
from ragcore.filters.expressions import Filter, both, read_where
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.types import Answer

__all__ = [
    "Predicted",
    "Predictor",
    "both_filters",
    "evaluate",
    "measured",
    "report_by",
    "report_of",
    "settings_of_today",
]

_LOG: Final = logging.getLogger("ragcore.evaluation")

Progress = Callable[[int, int], object]


def evaluate(
    pipeline: Rag | Memory,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric] | None = None,
    *,
    depth: int | None = None,
    where: Where = None,
    progress: Progress | None = None,
) -> Report:
    """Answer questions from one version of the memory, and measure answers and retrieval.

    Answers are read from `rag.k` passages. Metrics of passages see a search as deep as the deepest
    of them, whatever `rag.k` is.

    Args:
        pipeline: a pipeline, or a memory; of a memory, and of a pipeline without a generator,
            retrieval alone is measured.
        asked: the questions, with what is right; at least one.
        metrics: by name; `default_metrics` where None.
        depth: how many passages to search for; where None, as many as the metrics need.
        where: a filter in addition to `rag.where`, as for `Rag.answer`.
        progress: called after each batch with the questions done and all questions.

    Raises:
        QuestionError: there is no question, the metrics need labels and no question has any, no
            relevant passage is in the memory, or the pipeline cannot answer a question: it is
            empty, or longer than the generator's input.
        MetricError: a metric is of more passages than `depth` or than the retriever ranks
            (`deepest_search` of the contract), or of answers where there are none.
    """
    if not asked:
        raise QuestionError("no question to evaluate on: give one or more")
    alone = isinstance(pipeline, Memory) or not pipeline.can_answer
    chosen = metrics is not None
    metrics = make_metrics(default_metrics(asked, retrieval=alone)) if metrics is None else metrics
    depth = search_depth(metrics, depth)
    if alone:
        check_answered(metrics)
    if isinstance(pipeline, Memory):
        return _evaluated(pipeline, None, asked, metrics, depth, where, progress, chosen=chosen)
    with pipeline.pinned(pipeline.memory.version), pipeline.memory.reading() as memory:
        return _evaluated(memory, pipeline, asked, metrics, depth, where, progress, chosen=chosen)


def _evaluated(
    memory: Memory,
    rag: Rag | None,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric],
    depth: int | None,
    where: Where,
    progress: Progress | None,
    *,
    chosen: bool,
) -> Report:
    """Evaluate on one opened version; without a pipeline that answers, retrieval alone."""
    filters = (None if rag is None else rag.config.where, where)
    answering = rag if rag is not None and rag.can_answer else None
    expression = both_filters(*filters)

    def predict(searched: int | None) -> Predicted:
        predictor = Predictor(memory, answering, where, expression, searched)
        names, predictions = unique_ids(asked), list[Prediction]()
        for begin in range(0, len(asked), BATCH):
            batch = slice(begin, begin + BATCH)
            predictions += predictor.predict(asked[batch], names[batch])
            if progress is not None:
                progress(len(predictions), len(asked))
        return Predicted(predictions, predictor.settings)

    return report_by(
        predict,
        memory,
        asked,
        metrics,
        depth,
        # Answering logs what is odd about a filter itself.
        expression if answering is None else None,
        chosen=chosen,
    )


class Predicted(NamedTuple):
    """Predictions, one for each question, and the settings that repeat them; see `Report`."""

    predictions: Sequence[Prediction]
    settings: tuple[str, ...]


def report_by(
    predict: Callable[[int | None], Predicted],
    memory: Memory,
    asked: Sequence[LabelledQuestion],
    metrics: Mapping[str, Metric],
    depth: int | None,
    expression: Filter | None,
    *,
    chosen: bool,
) -> Report:
    """Check questions and metrics against a memory, let them be predicted, and measure that.

    Args:
        predict: called with how deep is searched; None where no metric needs a search.
        memory: the version that is searched.
        asked: the questions, at least one.
        metrics: by name.
        depth: how many passages to search for; None where no metric needs any.
        expression: a filter whose oddities nothing else logs.
        chosen: whether the caller chose the metrics.
    """
    version = memory.version
    check_labels(asked, version, metrics)
    metrics, depth, warnings = limited_search(
        metrics, depth, deepest_ranking(memory), chosen=chosen
    )
    if ranking_metrics(metrics):
        warnings += [*check_grades(asked), *absent_passages(asked, memory)]
    if expression is not None:
        warnings += memory.filter_notes(expression)
    predictions, settings = predict(depth)
    if ranking_metrics(metrics):
        warnings += unmatched_sources(asked, predictions, version)
    return measured(
        predictions, metrics, version, warnings=warnings, settings=settings, depth=depth
    )


@dataclass(frozen=True, slots=True)
class Predictor:
    """Answers and searches for batches of questions.

    Attributes:
        memory: the version that is read.
        rag: the pipeline that answers from it; None where retrieval alone is measured.
        where: a filter in addition to the pipeline's own.
        expression: both.
        depth: how many passages to search for; None where no metric needs any.
    """

    memory: Memory
    rag: Rag | None
    where: Where
    expression: Filter | None
    depth: int | None

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that repeat the prompts on another day."""
        return () if self.rag is None else settings_of_today(self.rag.generator)

    def predict(self, batch: Sequence[LabelledQuestion], names: Sequence[str]) -> list[Prediction]:
        """Answer a batch of at most `BATCH` questions, and search for it as deep as is needed.

        Args:
            batch: the questions.
            names: their ids among all questions.
        """
        rag, depth = self.rag, self.depth
        answers: list[Answer] | None = None
        rankings: list[Ranking] | None = None
        if rag is not None:
            answers = rag.answer([question.question for question in batch], where=self.where)
        if answers is not None and rag is not None and depth is not None and depth <= rag.config.k:
            # What was read is as deep already.
            rankings = [
                evidence_ranking(answer, question, depth)
                for answer, question in zip(answers, batch, strict=True)
            ]
        elif depth is not None:
            rankings = search_rankings(self.memory, batch, depth, where=self.expression)
        return make_predictions(batch, answers, rankings, version=self.memory.version, names=names)


def measured(
    predictions: Sequence[Prediction],
    metrics: Mapping[str, Metric],
    version: str,
    *,
    warnings: Sequence[str] = (),
    settings: tuple[str, ...] = (),
    depth: int | None = None,
) -> Report:
    """Compute the figures of predictions, and log what makes them doubtful.

    Args:
        predictions: one for each question.
        metrics: by name.
        version: of the memory, for the report.
        warnings: what is known to make them doubtful already.
        settings: see `Report`.
        depth: see `Report`.
    """
    report = report_of(
        predictions, metrics, version, warnings=warnings, settings=settings, depth=depth
    )
    for warning in report.warnings:
        _LOG.warning("%s", warning)
    return report


def report_of(
    predictions: Sequence[Prediction],
    metrics: Mapping[str, Metric],
    version: str,
    *,
    warnings: Sequence[str] = (),
    settings: tuple[str, ...] = (),
    depth: int | None = None,
) -> Report:
    """Compute the figures of predictions as `measured` does, and log nothing."""
    warnings = [*warnings, *cautions(ranking_metrics(metrics), predictions)]
    values = figures(metrics, predictions)
    return Report(tuple(predictions), tuple(values), version, tuple(warnings), settings, depth)


def both_filters(first: Where, second: Where) -> Filter | None:
    """Combine filters as they are written."""
    return both(*(None if each is None else read_where(each) for each in (first, second)))


@runtime_checkable
class _DatedGenerator(Protocol):
    """A generator whose prompts depend on the day, where its config does not say which."""

    def settings_of_today(self) -> Mapping[str, str]:
        """Return the settings that repeat today's prompts on another day."""
        ...


def settings_of_today(generator: AnyGenerator) -> tuple[str, ...]:
    """Return the overrides by which a replay gets the prompts of this run."""
    if not isinstance(generator, _DatedGenerator):
        return ()
    return tuple(f"generator.{key}={value}" for key, value in generator.settings_of_today().items())
