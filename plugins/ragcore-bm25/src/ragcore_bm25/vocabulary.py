"""The numbers of an index's terms, and their file: a JSON array, read and written in pieces.

Knows nothing of what terms are. To parse a large array in one call, or to let one dict grow to its
size, would keep all other threads of the program waiting for the interpreter: half a second with
500,000 terms, while requests come in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain, count
from pathlib import Path
from typing import Final

from ragcore.disk.threads import yield_gil

__all__ = ["Vocabulary", "read_terms", "write_terms"]

_PIECE: Final = 1 << 15
"""Bytes parsed in one call, about a millisecond's work."""

_BOUNDARY: Final = b'", "'
"""Stands between two strings. Inside one, quotation marks have a backslash; so the only string with
which it can be confused is ", " itself, and a cut there leaves a string without an end."""

_TERMS: Final = 1 << 12
"""Terms written in one call."""

_PART: Final = 80_000
"""Terms after which a part is full: a dict that grows beyond copies itself for milliseconds."""


class Vocabulary:
    """The number of each term, counted from 0, in the order in which terms came.

    Terms that are read from a file lie in parts that never change; terms that come later in one
    dict, so that looking a term up costs one step more for each 80,000 read.
    """

    def __init__(self, terms: Iterable[str] = (), parts: Sequence[dict[str, int]] = ()) -> None:
        """Give distinct terms the numbers that follow those of the parts."""
        self._parts = tuple(parts)
        self._begin = sum(map(len, self._parts))
        self._later = {term: number for number, term in enumerate(terms, self._begin)}

    def __len__(self) -> int:
        return self._begin + len(self._later)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the terms in the order of their numbers."""
        return chain(*self._parts, self._later)

    def batches(self, size: int) -> Iterator[list[str]]:
        """Yield all terms in lists of at most this size, while other threads may add terms."""
        for part in (*self._parts, self._later):
            terms = list(part)
            for begin in range(0, len(terms), size):
                yield terms[begin : begin + size]

    def get(self, term: str) -> int | None:
        """Return a term's number, or None where it has none."""
        number = self._later.get(term)
        if number is None:
            for part in self._parts:
                number = part.get(term)
                if number is not None:
                    break
        return number

    def numbers(self, terms: Set[str]) -> dict[str, int]:
        """Return the numbers of those terms that have one; faster than `get` for many."""
        numbers: dict[str, int] = {}
        for part in (*self._parts, self._later):
            numbers.update((term, part[term]) for term in terms & part.keys())
        return numbers

    def add(self, term: str) -> int:
        """Return a term's number; a new term gets the next one."""
        number = self.get(term)
        if number is None:
            number = self._later[term] = len(self)
        return number


def read_terms(path: Path) -> Vocabulary:
    """Read the number of each term, counted from 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON array of strings.
    """
    text = path.read_bytes().strip()
    if not (text.startswith(b"[") and text.endswith(b"]")):
        raise ValueError("expected a JSON array")
    try:
        return _numbered(_pieces(text[1:-1]))
    except json.JSONDecodeError:
        # A piece was cut inside a string, or the file is damaged.
        return _numbered([text[1:-1]])


def write_terms(path: Path, terms: Sequence[str]) -> None:
    """Write terms in the order of their numbers."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for begin in range(0, len(terms), _TERMS):
            piece = json.dumps(terms[begin : begin + _TERMS], ensure_ascii=False)
            file.write((", " if begin else "") + piece[1:-1])
            yield_gil()
        file.write("]")


def _pieces(text: bytes) -> Iterator[bytes]:
    """Cut the inside of an array between strings, in pieces of about _PIECE bytes."""
    begin = 0
    while begin < len(text):
        boundary = text.rfind(_BOUNDARY, begin, begin + _PIECE)
        if boundary < 0:
            boundary = text.find(_BOUNDARY, begin)
        if boundary < 0:
            yield text[begin:]
            return
        yield text[begin : boundary + 1]
        begin = boundary + len(_BOUNDARY) - 1


def _numbered(pieces: Iterable[bytes]) -> Vocabulary:
    """Make a vocabulary of the pieces of a JSON array, without its brackets."""
    parts: list[dict[str, int]] = [{}]
    counter = count()
    for piece in pieces:
        terms = json.loads(b"[" + piece + b"]")
        if not all(type(term) is str for term in terms):
            raise ValueError("expected an array of strings alone")
        if len(parts[-1]) + len(terms) > _PART:
            parts.append({})
        parts[-1].update(zip(terms, counter, strict=False))
        yield_gil()
    return Vocabulary(parts=parts)
