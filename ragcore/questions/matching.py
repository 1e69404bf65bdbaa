"""When an answer is right: exact match, patterns, abstention, and passages that answer.

Knows texts, and what is known of a question; knows nothing of memories. Texts are compared once
normalised (normalization.py), by SQuAD's rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ragcore.questions.labelled import RELEVANT, LabelledQuestion
from ragcore.questions.normalization import composed, normalize, words
from ragcore.questions.patterns import matches_answer, matches_in
from ragcore.types import Passage

__all__ = [
    "answer_key",
    "exact_match",
    "holds_answer",
    "is_correct",
    "is_relevant",
    "normalize",
    "same_answer",
]


def same_answer(one: str, other: str) -> bool:
    """Tell whether two answers are the same once normalised."""
    return normalize(one) == normalize(other)


def answer_key(answer: str) -> str:
    """Return what answers that are the same share: the normalised text.

    Articles and punctuation alone normalise to nothing, but the option "A" is no empty answer, nor
    is "+" the same as "-": such a text stands for itself, in any case.
    """
    return normalize(answer) or " ".join(composed(answer).casefold().split())


def exact_match(answer: str, right: Sequence[str]) -> bool:
    """Tell whether an answer equals one of the right answers once normalised."""
    return any(same_answer(answer, other) for other in right)


def holds_answer(text: str, right: Sequence[str]) -> bool:
    """Tell whether a passage's text holds one of the right answers: whole words, normalised.

    In a script without spaces each character counts as a word. An answer that normalises to
    nothing is in no passage.
    """
    spaced = _spaced(text)
    return any(answer != " " and answer in spaced for answer in map(_spaced, right))


def is_correct(
    answer: str, question: LabelledQuestion, version: str, *, abstained: bool = False
) -> bool:
    """Tell whether an answer is right: by exact match, or by the question's patterns.

    Where the question is known to have no answer, an empty one is right, and so is to abstain.

    Args:
        answer: the pipeline's.
        question: has right answers, or is known to have none.
        version: of the memory that was read, since right answers may differ by it.
        abstained: whether the answer is the abstaining one of `rag.abstain`.
    """
    right = question.answers_by(version)
    if not right and question.unanswerable_by(version):
        return abstained or not normalize(answer)
    return matches_answer(answer, right) if question.regex else exact_match(answer, right)


def is_relevant(passage: Passage, question: LabelledQuestion, version: str) -> bool:
    """Tell whether a passage answers a question.

    Where passages are judged (`relevance`), those of grade 1 or more do; else, where the ids of
    passages that answer are known, only these do; else, where paragraphs are
    known, only a passage that has all of one, or is a part of one and holds a right answer; else,
    where titles of pages are known, only passages of these pages. Otherwise the passage's text must
    hold a right answer, or match a pattern.

    Args:
        passage: of the memory.
        question: with what is known to be right.
        version: of the memory that was read, since what is right may differ by it.
    """
    if question.relevance:
        return question.relevance.get(passage.id, 0) >= RELEVANT
    ids = question.passage_ids_by(version)
    if ids:
        return passage.id in ids
    right = question.answers_by(version)
    if question.paragraphs:
        return any(_is_of(passage.text, paragraph, right) for paragraph in question.paragraphs)
    if question.titles:
        return _title(passage.title) in map(_title, question.titles)
    if question.regex:
        return bool(matches_in(passage.text, right))
    return holds_answer(passage.text, right)


def _is_of(text: str, paragraph: str, right: Sequence[str]) -> bool:
    """Tell whether a text has all of a paragraph, or is a part of it that holds an answer."""
    spaced, whole = _spaced(text), _spaced(paragraph)
    if whole != " " and whole in spaced:
        return True
    # The pieces that a paragraph was split into do not all answer.
    return spaced in whole and holds_answer(text, right)


@lru_cache(maxsize=4096)
def _spaced(text: str) -> str:
    """Return a text's words with a space before and behind each; " " where it has none."""
    return " ".join(["", *words(text), ""]).replace("  ", " ")


def _title(title: str) -> str:
    """Return a page's title as it is compared: FEVER's are decomposed, SQuAD's have underscores."""
    return composed(title).replace("_", " ")
