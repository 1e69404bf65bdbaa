"""Read questions, and keep those that something is chosen on apart from those reported on.

Knows questions; knows nothing of what is chosen. Ids alone say nothing: in many files they are
numbers of lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragcore.errors import QuestionError
from ragcore.evaluation.report import QuestionSource
from ragcore.questions import LabelledQuestion
from ragcore.questions.normalization import normalize

__all__ = ["check_apart", "question_keys", "read_some"]


def read_some(source: QuestionSource) -> list[LabelledQuestion]:
    """Read questions, of which there must be one or more.

    Raises:
        QuestionError: there is none, or they cannot be read.
    """
    questions = source.read()
    if not questions:
        raise QuestionError(f"{source.path}: no question: give one or more")
    return questions


def question_keys(questions: Sequence[LabelledQuestion]) -> list[str]:
    """Return what tells questions apart: their normalised texts, or what has none as it is."""
    return [normalize(each.question) or each.question.strip() for each in questions]


def check_apart(
    test: Sequence[LabelledQuestion], dev: Sequence[LabelledQuestion], chosen: str
) -> None:
    """Refuse test questions that are among the dev questions.

    Args:
        test: the questions that figures are reported on.
        dev: the questions that something is chosen on.
        chosen: what that is, for the message: "a threshold".

    Raises:
        QuestionError: they have a question in common; names one and how many.
    """
    known = set(question_keys(dev))
    both = [
        question for question, key in zip(test, question_keys(test), strict=True) if key in known
    ]
    if both:
        name = f" (id {both[0].id!r})" if both[0].id else ""
        raise QuestionError(
            f"{len(both)} of the {len(test)} test questions are among the {len(dev)} dev "
            f"questions, such as {both[0].question!r}{name}: {chosen} that is chosen on the "
            "questions that it is reported on looks better than it is: remove them from one of "
            "the two"
        )
