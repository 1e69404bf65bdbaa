"""Read the records of a table by Python's csv module, and go on behind one that is wrong.

Knows lines and fields; knows nothing of columns or passages.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from typing import Final, Literal

from ragcore.corpora.dpr_tsv import allow_long_fields
from ragcore.errors import CorpusError

__all__ = ["Line", "Record", "RecordTooLongError", "records"]

Line = tuple[int, str, CorpusError | None]
"""A line of a file: its number, its text, and what is wrong with its bytes."""

Record = tuple[int, list[str] | Exception]
"""The number of a record's first line, and its fields, or the error that stands for them."""

_MOST_LINES: Final = 100_000
_MOST_LETTERS: Final = 16 << 20
"""Lines and characters of a wrong record up to which its lines are read again."""
_MOST_AGAIN: Final = 1 << 30
"""Characters of a file that are read again, as lines can be made that are read again and again."""
_LETTERS_PER_LINE: Final = 64
"""Characters that take as long as beginning a line."""


class RecordTooLongError(CorpusError):
    """A record is wrong, and too long to be left out; begins with the number of its first line."""


def records(lines: Iterator[Line], delimiter: str, *, quoted: bool) -> Iterator[Record]:
    """Yield the records of a table that are not empty, or errors in their place.

    A quote that is not closed takes the lines that follow for a part of its field, up to the next
    quote. So the second line of a wrong record is read again, as the first of the next one.

    Args:
        lines: of a file.
        delimiter: between two fields.
        quoted: whether quotes are around fields; otherwise they are letters like any other.

    Raises:
        RecordTooLongError: a record is wrong, and it, or those before it, are too long to be read
            again.
    """
    allow_long_fields()
    source = _Source(lines)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    is_wrong = True
    while True:
        if is_wrong:
            reader = csv.reader(source, delimiter=delimiter, quoting=quoting, strict=True)
        source.begin()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield source.first, error
            source.go_back(error)
            is_wrong = True
            continue
        is_wrong = False
        if source.fault is not None:
            yield source.first, source.fault
        elif values:
            yield source.first, values


class _Source:
    """Gives lines to a reader, and keeps those of a record to give them again.

    Attributes:
        first: the number of the record's first line.
        fault: what is wrong with the bytes of its lines.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._record: list[Line] = []
        self._again: deque[Line] = deque()
        self._letters = 0
        self._letters_again = 0
        self._is_complete = True
        self.first = 0
        self.fault: CorpusError | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        if not self._record:
            self.first = line[0]
        self.fault = self.fault or line[2]
        if self._is_complete:
            self._record.append(line)
            self._letters += len(line[1])
            if len(self._record) > _MOST_LINES or self._letters > _MOST_LETTERS:
                # The first line says that the record has begun.
                self._is_complete = False
                del self._record[1:]
        return line[1]

    def begin(self) -> None:
        """Begin a record."""
        self._record.clear()
        self._letters = 0
        self._is_complete = True
        self.fault = None

    def go_back(self, error: csv.Error) -> None:
        """Give the lines behind the first one of the record again.

        Args:
            error: of the record.

        Raises:
            RecordTooLongError: they are too many, or too many were read again before.
        """
        if not self._is_complete:
            raise RecordTooLongError(
                f"{self.first}: {error}: the field goes on over more lines than a row has, so "
                "that the row cannot be left out: close its quote, or set quoting: none"
            )
        self._letters_again += self._letters + _LETTERS_PER_LINE * len(self._record)
        if self._letters_again > _MOST_AGAIN:
            raise RecordTooLongError(
                f"{self.first}: {error}: too many rows with wrong quotes to leave them out: repair "
                "the quotes, or set quoting: none"
            )
        self._again.extendleft(reversed(self._record[1:]))
