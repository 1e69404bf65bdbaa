"""Write lines of a run as TREC's tools read it: `topic Q0 document rank score tag`.

Knows ids and scores; knows nothing of searching.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ragcore.errors import QuestionError

__all__ = ["check_field", "run_lines"]


def run_lines(
    question_id: str, passage_ids: Sequence[str], scores: Sequence[float], tag: str
) -> Iterator[str]:
    """Yield a line for each passage of a question, in the order that they have.

    trec_eval reads the scores alone, in single precision, and orders equal ones by id. So that it
    sees the order of the ranks, a score that is not below the one before is written as the next
    lower number.

    Args:
        question_id: the topic.
        passage_ids: of k passages, best first.
        scores: [k], descending.
        tag: the run's name.

    Raises:
        QuestionError: a field has white space, which separates the fields, or is empty.
    """
    check_field("question id", question_id)
    check_field("tag", tag)
    above = np.float32(np.inf)
    for rank, (passage_id, score) in enumerate(zip(passage_ids, scores, strict=True), 1):
        check_field("passage id", passage_id)
        below = np.nextafter(above, np.float32(-np.inf), dtype=np.float32)
        above = min(np.float32(score), below)
        # Nine digits tell all numbers of single precision apart.
        yield f"{question_id} Q0 {passage_id} {rank} {above:.9g} {tag}"


def check_field(name: str, value: str) -> None:
    """Check that a value can be a field of a run.

    Raises:
        QuestionError: it has white space, or is empty.
    """
    if value.split() != [value]:
        fault = "has white space in it" if value.strip() else "is empty"
        raise QuestionError(
            f"{name} {value!r} {fault}: fields of a TREC run are separated by spaces; use other "
            "ids, or write the result as JSON"
        )
