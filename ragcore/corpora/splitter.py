"""Split texts into pieces of a given number of words, as the paper splits Wikipedia (section 3).

Knows nothing of titles or ids: the caller adds them to each piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["split_lines", "split_words"]


def split_words(text: str, words: int = 100) -> list[str]:
    """Split a text into disjoint pieces of `words` words each; the last one may be shorter.

    Words are separated by white space; in a piece they are joined by one space.

    >>> split_words("one two  three four\\nfive", words=2)
    ['one two', 'three four', 'five']

    Args:
        text: any text; without words it has no pieces.
        words: at least 1.

    Raises:
        ValueError: `words` is less than 1.
    """
    return list(split_lines([text], words))


def split_lines(lines: Iterable[str], words: int = 100) -> Iterator[str]:
    """Split a text that comes line by line, like `split_words`; keeps one piece and one line."""
    if words < 1:
        raise ValueError(f"a piece cannot have {words} words: expected 1 or more")
    pending: list[str] = []
    for line in lines:
        pending += line.split()
        start = 0
        while len(pending) - start >= words:
            yield " ".join(pending[start : start + words])
            start += words
        del pending[:start]
    if pending:
        yield " ".join(pending)
