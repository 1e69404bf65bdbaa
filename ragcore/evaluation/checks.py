"""Check that questions can be measured by what is known of them, and warn where figures mislead.

Knows questions, and which labels a metric compares with; knows nothing of how it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ragcore.errors import MetricError, QuestionError
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.metrics.ranking import RankingMetric
from ragcore.evaluation.prediction import Prediction
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion
from ragcore.questions.labelled import RELEVANT

__all__ = [
    "absent_passages",
    "cautions",
    "check_answered",
    "check_grades",
    "check_labels",
    "labels_of",
    "unmatched_sources",
]

_SHOWN: Final = 3


def check_labels(
    asked: Sequence[LabelledQuestion], version: str, metrics: Mapping[str, Metric]
) -> None:
    """Refuse questions of which no metric that compares with labels could score any.

    Args:
        asked: the questions; at least one.
        version: of the memory that is read, since labels may differ by it.
        metrics: by name. One that says by `labels` what it compares with counts here; a file
            without any labels may be measured by the others, such as `log_prob`.

    Raises:
        QuestionError: no question has an answer, or what else the metrics need.
    """
    needed = {labels_of(metric) for metric in metrics.values()} - {None}
    if not needed or any(question.judged_by(version) for question in asked):
        return
    if "passages" in needed and any(question.grades_by(version) for question in asked):
        return
    versions = sorted(
        {
            name
            for question in asked
            for gold in (question.answers, question.passage_ids)
            if isinstance(gold, Mapping)
            for name in gold
        }
    )
    if versions:
        raise QuestionError(
            f"no question has an answer for memory {version!r}: answers are for "
            f"{', '.join(map(repr, versions))}: evaluate one of these versions "
            "(memory.version=NAME), or give lists, which are for every version"
        )
    if needed == {"passages"}:
        raise QuestionError(
            f"no question has a known passage or answer (of {len(asked)}), so nothing found can be "
            "judged: give passage_ids, relevance or answers, or grades by --qrels"
        )
    raise QuestionError(
        f"no question has an answer (of {len(asked)}), so no answer can be judged: give right "
        "answers under 'answer' or 'answers', or name the file's format; without them only "
        "metrics such as log_prob apply (--metric log_prob)"
    )


def check_answered(metrics: Mapping[str, Metric]) -> None:
    """Refuse metrics of answers where retrieval alone is measured.

    Raises:
        MetricError: names them.
    """
    others = [name for name, metric in metrics.items() if labels_of(metric) != "passages"]
    if others:
        raise MetricError(
            f"{', '.join(others)}: of answers, and only retrieval is measured: name metrics of "
            "passages, such as nDCG@10 or hit@5, or evaluate a pipeline that has a section "
            "'generator', without --retrieval"
        )


def check_grades(asked: Sequence[LabelledQuestion]) -> list[str]:
    """Warn of questions whose judged passages are all not relevant: their measures are 0.

    Raises:
        QuestionError: no question has a relevant passage.
    """
    graded = [question for question in asked if question.relevance]
    empty = [each for each in graded if max(each.relevance.values()) < RELEVANT]
    if not empty:
        return []
    named = ", ".join(repr(each.id or each.question) for each in empty[:_SHOWN])
    if len(empty) == len(graded):
        raise QuestionError(
            f"none of the {len(graded)} judged questions has a relevant passage (such as {named}): "
            f"expected a grade of {RELEVANT} or more: check the column of grades"
        )
    return [
        f"{len(empty)} of {len(graded)} judged questions have no relevant passage (such as "
        f"{named}): measures are 0 for them"
    ]


def absent_passages(asked: Sequence[LabelledQuestion], memory: Memory) -> list[str]:
    """Warn of questions none of whose relevant passages is in the memory, and of absent grades.

    Raises:
        QuestionError: questions have grades (`relevance`), and of no relevant passage.
    """
    with_ids = [ids for each in asked if (ids := each.passage_ids_by(memory.version))]
    if not with_ids:
        return []
    names = {name for each in asked for name in each.grades_by(memory.version)}
    rows = memory.passages.rows_of(list(names))
    absent = [ids for ids in with_ids if not any(name in rows for name in ids)]
    examples = ", ".join(repr(ids[0]) for ids in absent[:_SHOWN])
    advice = (
        "Check that the questions are for this corpus, and which key its ids come from "
        "(the corpus's option `id`)"
    )
    graded = {name for each in asked for name in each.relevance}
    if len(absent) == len(with_ids) and graded:
        raise QuestionError(
            f"none of the relevant passages (such as {examples}) is in memory {memory.version!r}: "
            f"every measure would be 0. {advice}"
        )
    warnings = []
    if absent:
        warnings.append(
            f"{len(absent)} of {len(with_ids)} questions with passage_ids have none that memory "
            f"{memory.version!r} has (such as {examples}): metrics of passages count them as not "
            f"found. {advice}"
        )
    missing = graded - rows.keys()
    if missing:
        warnings.append(
            f"{len(missing)} of {len(graded)} judged passages are not in memory "
            f"{memory.version!r} (such as {', '.join(map(repr, sorted(missing)[:_SHOWN]))}): "
            "relevant ones among them count as not found"
        )
    return warnings


def cautions(metrics: Mapping[str, RankingMetric], predictions: Sequence[Prediction]) -> list[str]:
    """Warn of measures that read less, or something else, than their names may promise."""
    notes = [f"{name}: {each.notice}" for name, each in metrics.items() if each.notice]
    by_text = sum(
        prediction.judged and prediction.ranking is not None and prediction.ranking.by_text
        for prediction in predictions
    )
    incomplete = [name for name, metric in metrics.items() if metric.counts_relevant]
    if by_text and incomplete:
        notes.append(
            f"{', '.join(incomplete)}: for {by_text} questions it is not known which passages are "
            "relevant, so that only those found count as relevant, judged by their texts; give "
            "passage_ids, relevance or --qrels, or measure hit@k"
        )
    return notes


def unmatched_sources(
    asked: Sequence[LabelledQuestion], predictions: Sequence[Prediction], version: str
) -> list[str]:
    """Warn where no retrieved passage is of a paragraph or page that answers.

    Args:
        asked: the questions.
        predictions: theirs, in the same order.
        version: of the memory that was read.
    """
    by_source = [
        prediction
        for question, prediction in zip(asked, predictions, strict=True)
        if not question.passage_ids_by(version)
        and (question.paragraphs or question.titles)
        and prediction.judged
    ]
    if not by_source or any(_has_relevant(prediction) for prediction in by_source):
        return []
    return [
        f"no passage retrieved for {len(by_source)} questions is of the paragraph or page that "
        "answers them: metrics of passages are 0 where the memory is not of the corpus that the "
        "questions were written for"
    ]


def _has_relevant(prediction: Prediction) -> bool:
    ranked = prediction.ranking is not None and any(prediction.ranking.grades.values())
    return ranked or any(passage.answers for passage in prediction.passages)


def labels_of(metric: Metric) -> str | None:
    """Return what a metric compares with; None where it does not say, as a plugin's need not."""
    labels: str | None = getattr(metric, "labels", None)
    return labels
