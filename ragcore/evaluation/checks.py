"""Check that questions can be measured by what is known of them, and warn where figures mislead.

Knows questions, and which labels a metric compares with; knows nothing of how it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ragcore.errors import QuestionError
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.prediction import Prediction
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion

__all__ = ["absent_passages", "check_labels", "labels_of", "unmatched_sources"]

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
    if "passages" in needed and any(question.passage_ids_by(version) for question in asked):
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
    raise QuestionError(
        f"no question has an answer (of {len(asked)}), so no answer can be judged: give right "
        "answers under 'answer' or 'answers', or name the file's format; without them only "
        "metrics such as log_prob apply (--metric log_prob)"
    )


def absent_passages(asked: Sequence[LabelledQuestion], memory: Memory) -> list[str]:
    """Warn of questions none of whose `passage_ids` is in the memory: they count as not found."""
    with_ids = [ids for each in asked if (ids := each.passage_ids_by(memory.version))]
    if not with_ids:
        return []
    rows = memory.passages.rows_of(list({name for ids in with_ids for name in ids}))
    absent = [ids for ids in with_ids if not any(name in rows for name in ids)]
    if not absent:
        return []
    examples = ", ".join(repr(ids[0]) for ids in absent[:_SHOWN])
    return [
        f"{len(absent)} of {len(with_ids)} questions with passage_ids have none that memory "
        f"{memory.version!r} has (such as {examples}): metrics of passages count them as not "
        "found. Check that the questions are for this corpus, and which key its ids come from "
        "(the corpus's option `id`)"
    ]


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
    if not by_source or any(each.answers for one in by_source for each in one.passages):
        return []
    return [
        f"no passage retrieved for {len(by_source)} questions is of the paragraph or page that "
        "answers them: metrics of passages are 0 where the memory is not of the corpus that the "
        "questions were written for"
    ]


def labels_of(metric: Metric) -> str | None:
    """Return what a metric compares with; None where it does not say, as a plugin's need not."""
    labels: str | None = getattr(metric, "labels", None)
    return labels
