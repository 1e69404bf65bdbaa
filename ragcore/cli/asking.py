"""Read questions, those of `ragcore ask -` from standard input, and keep notes from showing twice.

Knows lines, and which of them failed; knows nothing of what is done with a question.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ragcore.cli.arguments import is_override
from ragcore.errors import ConfigError, QuestionError, StreamError
from ragcore.questions.texts import LONGEST_QUESTION, fault_of
from ragcore.views.output import print_error

__all__ = ["Questions", "check_one_question", "filter_notes_unlogged"]

_MOST_BYTES: Final = 4 * LONGEST_QUESTION + 2
"""Of a line, as no character of UTF-8 has more than four: the rest of a longer one is skipped."""


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


class Questions:
    """The question of a command, or for "-" the lines of standard input.

    Empty lines are skipped. A line that is no question, or whose question cannot be answered, is
    printed as an error that names the line, and the next one is read.

    Attributes:
        read: how many questions were read so far, those that failed included.
        failed: how many lines of them failed.
    """

    def __init__(self, argument: str) -> None:
        """Read nothing yet.

        Args:
            argument: the question, or "-".
        """
        self._argument = argument
        self._line: int | None = None
        self.read = 0
        self.failed = 0

    def __iter__(self) -> Iterator[str]:
        """Yield each question as soon as its line is there.

        Raises:
            StreamError: standard input is closed, or cannot be read.
        """
        if self._argument != "-":
            self.read = 1
            yield self._argument
            return
        for line in _lines():
            text = line.text.strip()
            fault = line.fault or (text and fault_of(text) and f"the question {fault_of(text)}")
            if not text and not fault:
                continue
            self._line = line.number
            self.read += 1
            if fault:
                self._fail(fault)
            else:
                yield text

    @contextmanager
    def errors_printed(self) -> Iterator[None]:
        """Print why the question that was read last cannot be answered, and go on.

        Raises:
            QuestionError: the question is the command's argument, after which there is no other.
        """
        try:
            yield
        except QuestionError as error:
            if self._line is None:
                raise
            self._fail(str(error))

    def _fail(self, fault: str) -> None:
        self.failed += 1
        print_error(f"standard input, line {self._line}: {fault}")


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


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of standard input.

    Attributes:
        number: of the line, from 1.
        text: decoded; empty where there is a fault.
        fault: why it cannot be read; empty where it can.
    """

    number: int
    text: str
    fault: str = ""


def _lines() -> Iterator[_Line]:
    """Yield the lines of standard input, decoded one by one.

    The stream itself decodes blocks of lines: where it fails, no line before is read, and none is
    named.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise StreamError("standard input is closed: give it questions, one a line")
    file = getattr(sys.stdin, "buffer", None)
    if file is None:
        for number, text in enumerate(sys.stdin, 1):
            yield _Line(number, text)
        return
    encoding = sys.stdin.encoding or "utf-8"
    number = 0
    while line := _read_line(file.readline):
        number += 1
        if _is_cut(line):
            yield _Line(
                number,
                "",
                f"more than {LONGEST_QUESTION:,} characters: give one question a line",
            )
            # Skipped behind the error, which need not wait for an end that may never come.
            while _is_cut(line):
                line = _read_line(file.readline)
            continue
        try:
            yield _Line(number, line.decode(encoding))
        except UnicodeDecodeError as error:
            yield _Line(
                number,
                "",
                f"not {encoding} (byte 0x{line[error.start]:02X} at {error.start + 1}): convert "
                "it, for example with iconv",
            )


def _is_cut(line: bytes) -> bool:
    """Return whether a line goes on behind the bytes that were read of it."""
    return len(line) == _MOST_BYTES and not line.endswith(b"\n")


def _read_line(readline: Callable[[int], bytes]) -> bytes:
    try:
        return readline(_MOST_BYTES)
    except OSError as error:
        raise StreamError(
            f"standard input cannot be read ({error.strerror}): give it questions, one a line"
        ) from None
