"""When an answer is right: SQuAD's normalisation, exact match, and a passage that holds an answer.

Knows texts, and what is known of a question. The normalisation is that of Rajpurkar et al. (2016),
by which open-domain question answering is scored, the paper's table 1 included.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Final

from ragcore.questions.labelled import LabelledQuestion
from ragcore.questions.patterns import found_in, matches_answer
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
    """Lower case, without ASCII punctuation and English articles, single-spaced.

    >>> normalize("The  N'Djamena, (a city)")
    'ndjamena city'
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same once normalised."""
    return normalize(one) == normalize(other)


def exact_match(answer: str, right: Sequence[str]) -> bool:
    """Whether an answer is one of the right ones."""
    return any(same_answer(answer, one) for one in right)


def holds_answer(text: str, right: Sequence[str]) -> bool:
    """Whether a passage's text holds one of the right answers, as whole words, normalised.

    An answer of which nothing is left once normalised is in no passage.
    """
    words = f" {normalize(text)} "
    wanted = (normalize(one) for one in right)
    return any(one and f" {one} " in words for one in wanted)


def is_correct(answer: str, asked: LabelledQuestion, version: str) -> bool:
    """Whether an answer is right: by exact match, or by what the question's patterns match.

    Args:
        answer: what was said.
        asked: the question, with right answers.
        version: of the memory that was read, since answers may differ by it.
    """
    right = asked.answers_by(version)
    return matches_answer(answer, right) if asked.regex else exact_match(answer, right)


def is_relevant(passage: Passage, asked: LabelledQuestion, version: str) -> bool:
    """Whether a passage answers: it is one of those that are known to, or holds a right answer.

    Where the ids of passages that answer are known only these do; where titles are, passages of
    these. Otherwise its text must hold an answer, or match a pattern.
    """
    ids = asked.passage_ids_by(version)
    if ids:
        return passage.id in ids
    if asked.titles:
        return passage.title in asked.titles
    right = asked.answers_by(version)
    if asked.regex:
        return bool(found_in(passage.text, right))
    return holds_answer(passage.text, right)
