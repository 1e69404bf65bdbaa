"""Check that questions and answers are texts, before anything reads them.

Knows texts; knows nothing of retrievers, generators, or how many tokens these read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from ragcore.errors import QuestionError

__all__ = [
    "LONGEST_QUESTION",
    "batch_of",
    "check_answers",
    "check_questions",
    "fault_of",
    "undecodable",
]

LONGEST_QUESTION: Final = 100_000
"""In characters. Tokenizers take seconds for a million, and no generator of today reads so many."""


def batch_of(texts: object, name: str = "question") -> list[str]:
    """Return one text, or several in order, as a list; its items are not checked.

    Args:
        texts: what a caller gave.
        name: what each of them is, for errors.

    Raises:
        QuestionError: it is neither a text nor an ordered collection.
    """
    if isinstance(texts, str):
        return [texts]
    unfit = isinstance(texts, bytes | bytearray | Mapping | Set)
    if unfit or not isinstance(texts, Iterable):
        raise QuestionError(
            f"the {name} is {_type_of(texts)}, expected text (str) or a list of texts"
        )
    return list(texts)


def check_questions(questions: Sequence[str]) -> None:
    """Check each question of a batch; Python callers may give anything.

    Raises:
        QuestionError: a question is no text, is too long or empty, or has characters that no
            encoding can write; names its number.
    """
    for number, question in enumerate(questions, 1):
        fault = fault_of(question)
        if fault is None and not question.strip():
            fault = "is empty: write its text, or leave it out"
        if fault is not None:
            raise QuestionError(f"question {number} of {len(questions)} {fault}")


def check_answers(answers: Sequence[str]) -> None:
    """Check each answer of a batch, as `check_questions` does; an answer may be empty.

    Raises:
        QuestionError: names the answer's number.
    """
    for number, answer in enumerate(answers, 1):
        fault = fault_of(answer)
        if fault is not None:
            raise QuestionError(f"answer {number} of {len(answers)} {fault}")


def fault_of(text: object) -> str | None:
    """Return what is wrong with a text, as the end of a sentence; None where it is sound.

    The length is compared before anything reads each character.
    """
    if isinstance(text, bytes | bytearray):
        return 'is bytes, expected text (str): decode it, as with question.decode("utf-8")'
    if not isinstance(text, str):
        return f"is {_type_of(text)}, expected text (str)"
    if len(text) > LONGEST_QUESTION:
        return f"has {len(text):,} characters, expected at most {LONGEST_QUESTION:,}: shorten it"
    return undecodable(text)


def undecodable(text: str) -> str | None:
    """Return where a text has half a surrogate pair, as the end of a sentence; None where nowhere.

    Such a character comes from a file or an argument that was not UTF-8, or from an escape in JSON.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        byte = f" (byte 0x{code - 0xDC00:02X})" if 0xDC80 <= code <= 0xDCFF else ""
        return (
            f"is not text: character {error.start + 1} is half a surrogate pair, U+{code:04X}"
            f"{byte}: it was in another encoding than UTF-8; decode it with the right one"
        )
    return None


def _type_of(value: object) -> str:
    return "None" if value is None else type(value).__name__
