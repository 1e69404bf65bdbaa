"""Words of a text, also in scripts that have no blanks between them.

A word is what stands between blanks. In a script without blanks two CJK characters, or five of
another such as Thai, count as one, with the punctuation or the marks behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

__all__ = ["blocks_of_words", "count_words", "cut_words", "is_spaced", "word_spans"]

_WORD: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]{1,2}"
    r"[\u3001-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff20]*"
    r"|[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]{1,5}"
    r"[\u0e30-\u0e3a\u0e47-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ece\u0f71-\u0f84\u102b-\u103e\u17b4-\u17d3]*"
    r"|[^\s\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|\S"
)
_SPACED_WORD: Final = re.compile(r"\S+")
_UNSPACED: Final = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)


def count_words(text: str) -> int:
    """Count words; two CJK characters, or five of another script without blanks, count as one.

    >>> count_words("one two"), count_words("日本語")
    (2, 2)
    """
    if is_spaced(text):
        return len(text.split())
    return sum(1 for _ in _WORD.finditer(text))


def is_spaced(text: str) -> bool:
    """Return whether the words of a text, and of any part of it, are what stands between blanks.

    >>> is_spaced("one two"), is_spaced("日本語")
    (True, False)
    """
    return text.isascii() or not _UNSPACED.search(text)


def word_spans(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield where each word between two characters of a text starts and ends.

    Args:
        text: of which words are wanted.
        start: the first character to look at; a word that it lies in is cut there.
        end: behind the last; None is the text's end.
    """
    end = len(text) if end is None else end
    for match in _pattern(text, start, end).finditer(text, start, end):
        yield match.span()


def blocks_of_words(text: str, size: int) -> Iterator[str]:
    """Cut a text after every `size` words."""
    if not _UNSPACED.search(text):
        tokens = text.split()
        for start in range(0, len(tokens), size):
            yield " ".join(tokens[start : start + size])
        return
    for piece in cut_words(text, size):
        if block := piece.strip():
            yield block


def cut_words(text: str, size: int) -> Iterator[str]:
    """Cut a text after every `size` words and the blanks after them; joined, they are the text."""
    start = 0
    for match in islice(_pattern(text, 0, len(text)).finditer(text), size, None, size):
        yield text[start : match.start()]
        start = match.start()
    yield text[start:]


def _pattern(text: str, start: int, end: int) -> re.Pattern[str]:
    """Return the faster pattern where it finds the same words."""
    return _WORD if _UNSPACED.search(text, start, end) else _SPACED_WORD
