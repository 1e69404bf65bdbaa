"""Read the questions of `ragcore ask -` from standard input, and keep notes from showing twice."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from ragcore.cli.arguments import is_override
from ragcore.errors import ConfigError, QuestionError, StreamError
from ragcore.questions.texts import LONGEST_QUESTION

__all__ = ["check_one_question", "filter_notes_unlogged", "questions_of"]

_MOST_BYTES: Final = 4 * LONGEST_QUESTION + 2
"""Of a line, as no character of UTF-8 has more than four: a longer one is not read to its end."""


def check_one_question(overrides: Sequence[str]) -> None:
    """Refuse a further question where changes to the file are expected.

    Args:
        overrides: the arguments behind the question.

    Raises:
        ConfigError: one of them is words of a question.
    """
    for argument in overrides:
        if "=" not in argument or (len(argument.split()) > 1 and not is_override(argument)):
            raise ConfigError(
                f"{argument!r} follows the question, where changes such as rag.k=10 are expected: "
                "write several questions to standard input, one a line, and - in place of the "
                "question; quote a question of several words"
            )


def questions_of(argument: str) -> Iterator[str]:
    """Yield the question that the argument is, or for "-" the lines of standard input.

    Empty lines are skipped.

    Raises:
        StreamError: standard input is closed, or cannot be read.
        QuestionError: a line is too long, or not text; names the line.
    """
    if argument != "-":
        yield argument
        return
    for line in _lines():
        if line.strip():
            yield line.strip()


@contextmanager
def filter_notes_unlogged() -> Iterator[None]:
    """Log no notes on filters inside the block, because the command itself prints them."""
    from ragcore.memory.results import FILTER_LOGGER

    logger = logging.getLogger(FILTER_LOGGER)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _lines() -> Iterator[str]:
    """Yield the lines of standard input, decoded one by one.

    The stream itself decodes blocks of lines: where it fails, no line before is read, and none is
    named.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise StreamError("standard input is closed: give it questions, one a line")
    file = getattr(sys.stdin, "buffer", None)
    if file is None:
        yield from sys.stdin
        return
    encoding = sys.stdin.encoding or "utf-8"
    number = 1
    while line := _read_line(file.readline):
        if len(line) == _MOST_BYTES and not line.endswith(b"\n"):
            raise QuestionError(
                f"standard input, line {number}: more than {LONGEST_QUESTION:,} characters: give "
                "one question a line"
            )
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            raise QuestionError(
                f"standard input, line {number}: not {encoding} (byte 0x{line[error.start]:02X} "
                f"at {error.start + 1}): convert it, for example with iconv"
            ) from None
        number += 1


def _read_line(readline: Callable[[int], bytes]) -> bytes:
    try:
        return readline(_MOST_BYTES)
    except OSError as error:
        raise StreamError(
            f"standard input cannot be read ({error.strerror}): give it questions, one a line"
        ) from None
