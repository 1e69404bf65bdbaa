"""Cutting texts into passages of so many words, as the paper cuts Wikipedia (section 3).

Knows nothing of titles or ids: whoever calls keeps them beside each piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["split_lines", "split_words"]


def split_words(text: str, words: int = 100) -> list[str]:
    """Disjoint pieces of `words` words each, the last of what remains.

    A word is what stands between white space; in a piece, words are joined by one space.

    >>> split_words("one two  three four\\nfive", words=2)
    ['one two', 'three four', 'five']

    Args:
        text: any text; one without words has no pieces.
        words: at least 1.

    Raises:
        ValueError: `words` is less than 1.
    """
    return list(split_lines([text], words))


def split_lines(lines: Iterable[str], words: int = 100) -> Iterator[str]:
    """As `split_words`, of a text that comes line by line; holds one piece and one line."""
    if words < 1:
        raise ValueError(f"a piece cannot have {words} words: expected 1 or more")
    held: list[str] = []
    for line in lines:
        held += line.split()
        start = 0
        while len(held) - start >= words:
            yield " ".join(held[start : start + words])
            start += words
        del held[:start]
    if held:
        yield " ".join(held)
