"""When an answer is right: SQuAD's normalisation, exact match, and passages that hold an answer.

Knows texts, and what is known of a question; knows nothing of memories. The normalisation is that
of Rajpurkar et al. (2016), by which open-domain question answering is scored, the paper's table 1
included.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Final

from ragcore.questions.labelled import LabelledQuestion
from ragcore.questions.patterns import matches_answer, matches_in
from ragcore.types import Passage

__all__ = [
    "exact_match",
    "holds_answer",
    "is_relevant",
    "is_correct",
    "normalize",
    "same_answer",
]

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower the case, drop ASCII punctuation and English articles, and single the spaces.

    >>> normalize("The  N'Djamena, (a city)")
    'ndjamena city'
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def same_answer(one: str, other: str) -> bool:
    """Tell whether two answers are the same once normalised."""
    return normalize(one) == normalize(other)


def exact_match(answer: str, right: Sequence[str]) -> bool:
    """Tell whether an answer equals one of the right answers once normalised."""
    return any(same_answer(answer, other) for other in right)


def holds_answer(text: str, right: Sequence[str]) -> bool:
    """Tell whether a passage's text holds one of the right answers: whole words, normalised.

    An answer that normalises to nothing is in no passage.
    """
    words = f" {normalize(text)} "
    answers = (normalize(answer) for answer in right)
    return any(answer and f" {answer} " in words for answer in answers)


def is_correct(answer: str, question: LabelledQuestion, version: str) -> bool:
    """Tell whether an answer is right: by exact match, or by the question's patterns.

    Args:
        answer: the pipeline's.
        question: has right answers.
        version: of the memory that was read, since right answers may differ by it.
    """
    right = question.answers_by(version)
    return matches_answer(answer, right) if question.regex else exact_match(answer, right)


def is_relevant(passage: Passage, question: LabelledQuestion, version: str) -> bool:
    """Tell whether a passage answers a question.

    Where the ids of passages that answer are known, only these do; else, where titles of pages are
    known, only passages of these pages do. Otherwise the passage's text must hold a right answer,
    or match a pattern.

    Args:
        passage: of the memory.
        question: with what is known to be right.
        version: of the memory that was read, since what is right may differ by it.
    """
    ids = question.passage_ids_by(version)
    if ids:
        return passage.id in ids
    if question.titles:
        return passage.title in question.titles
    right = question.answers_by(version)
    if question.regex:
        return bool(matches_in(passage.text, right))
    return holds_answer(passage.text, right)
