"""The terms of an index on disk: a JSON array of strings, read and written in pieces.

Knows nothing of what terms are. To parse a large array in one call would keep all other threads of
the program waiting for the interpreter: half a second with 500,000 terms, while requests come in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final

from ragcore.disk.threads import yield_gil

__all__ = ["read_terms", "write_terms"]

_PIECE: Final = 1 << 16
"""Bytes parsed in one call, about a millisecond's work."""

_BOUNDARY: Final = b'", "'
"""Stands between two strings and inside none: a quotation mark in a string has a backslash."""

_TERMS: Final = 1 << 12
"""Terms written in one call."""


def read_terms(path: Path) -> dict[str, int]:
    """Read the number of each term, counted from 0.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON array of strings.
    """
    text = path.read_bytes().strip()
    if not (text.startswith(b"[") and text.endswith(b"]")):
        raise ValueError(f"{path} is no JSON array: rebuild this version of the memory")
    numbers: dict[str, int] = {}
    counter = count()
    for piece in _pieces(text[1:-1]):
        terms = json.loads(b"[" + piece + b"]")
        if not all(type(term) is str for term in terms):
            raise ValueError(f"{path} holds more than strings: rebuild this version of the memory")
        numbers.update(zip(terms, counter, strict=False))
        yield_gil()
    return numbers


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
