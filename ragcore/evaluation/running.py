"""Evaluate questions: answer them, search as deep as metrics need, and compute the figures.

Knows pipelines and memories; knows nothing of how a metric or an interval is computed, or of what
is written (report.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

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
from ragcore.evaluation.prediction import Prediction, Ranking, make_predictions
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

__all__ = ["evaluate", "measured", "report_of", "settings_of_today"]

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
    version = memory.version
    filters = (None if rag is None else rag.config.where, where)
    rag = rag if rag is not None and rag.can_answer else None
    check_labels(asked, version, metrics)
    metrics, depth, warnings = limited_search(
        metrics, depth, deepest_ranking(memory), chosen=chosen
    )
    if ranking_metrics(metrics):
        warnings += [*check_grades(asked), *absent_passages(asked, memory)]
    expression = _filter(*filters)
    if rag is None and expression is not None:
        # Answering logs them itself.
        warnings += memory.filter_notes(expression)
    answers: list[Answer] = []
    rankings: list[Ranking] = []
    for begin in range(0, len(asked), BATCH):
        batch = asked[begin : begin + BATCH]
        answered = []
        if rag is not None:
            answered = rag.answer([question.question for question in batch], where=where)
        answers += answered
        if rag is not None and depth is not None and depth <= rag.config.k:
            # What was read is as deep already.
            rankings += [
                evidence_ranking(answer, question, depth)
                for answer, question in zip(answered, batch, strict=True)
            ]
        elif depth is not None:
            rankings += search_rankings(memory, batch, depth, where=expression)
        if progress is not None:
            progress(begin + len(batch), len(asked))
    predictions = make_predictions(
        asked, answers if rag is not None else None, rankings or None, version=version
    )
    settings = () if rag is None else settings_of_today(rag.generator)
    if ranking_metrics(metrics):
        warnings += unmatched_sources(asked, predictions, version)
    return measured(
        predictions, metrics, version, warnings=warnings, settings=settings, depth=depth
    )


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


def _filter(*conditions: Where) -> Filter | None:
    """Combine filters as they are written."""
    return both(*(None if each is None else read_where(each) for each in conditions))


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
