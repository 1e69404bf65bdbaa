"""Cut pieces that words of hundreds of characters make long.

An image in letters (base64), a key or a line of minified code counts as one word,
and one unknown token to some tokenizers, however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ragcore.corpora.splitting.config import SplitBy
from ragcore.corpora.splitting.measures import Measure
from ragcore.corpora.splitting.sections import Section
from ragcore.corpora.splitting.sized import halves

__all__ = ["without_long_words"]

_LONG: Final = 400
"""Characters that no word has; addresses of pages seldom have as many."""

_WORD: Final = re.compile(r"\S+")
_WORD_CHARACTERS: Final = 40
_SENTENCE_CHARACTERS: Final = 1000
"""Characters of a piece for each word, token or sentence of its size: many more than these have."""

_LEAST: Final = 1000
"""Characters that a piece may have whatever its size."""


def without_long_words(
    text: str,
    ranges: Iterable[tuple[int, int, Section]],
    by: SplitBy,
    size: int,
    tokens: Measure | None,
) -> Iterator[tuple[int, int, Section]]:
    """Yield ranges, those cut that a long word makes long: before words, and within long ones.

    Nothing is repeated of a range that is cut, nor in it.

    Args:
        text: of the document.
        ranges: start, end and section of each piece.
        by: what the size counts.
        size: the greatest length of a piece.
        tokens: measures tokens, where they are what it counts.
    """
    characters = _SENTENCE_CHARACTERS if by == "sentences" else _WORD_CHARACTERS
    most = max(size * characters, _LEAST)
    last_end = end_of_cut = 0
    for start, end, section in ranges:
        is_long = end - start > most and _has_long_word(text[start:end])
        if not is_long and start >= end_of_cut:
            last_end = end
            yield start, end, section
            continue
        start = max(start, last_end)
        last_end = end
        if is_long:
            end_of_cut = end
        for part in _parts(text, start, end, most):
            # A part of a word may have more tokens than the whole, if that was an unknown one.
            parts = [part] if tokens is None else halves(text, *part, tokens, size)
            for first, behind in parts:
                yield first, behind, section


def _has_long_word(piece: str) -> bool:
    return max(map(len, piece.split()), default=0) >= _LONG


def _parts(text: str, start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield parts of a range of at most so many characters; joined, they are all its words."""
    for word in _WORD.finditer(text, start, end):
        first, behind = word.span()
        if behind - start > most and start < first:
            yield start, first
            start = first
        while behind - start > most:
            yield start, start + most
            start += most
    yield start, end
