"""Spell an uncased generator's answer as the passage that it came from does.

Knows strings only. The search ignores case, accents and white space, which an uncased tokenizer
loses; it respects word boundaries, so that "chad" is not found in "Chadian".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

__all__ = ["find_span", "surface_form"]


def surface_form(answer: str, texts: Iterable[str]) -> str | None:
    """Spell the answer as the first of `texts` that contains it; None if none does.

    >>> surface_form("n ' djamena", ["Chad", "name: N'Djamena; coordinates: 12 06 N"])
    "N'Djamena"
    """
    for text in texts:
        span = find_span(answer, text)
        if span is not None:
            return text[span[0] : span[1]]
    return None


def find_span(answer: str, text: str) -> tuple[int, int] | None:
    """Find the first occurrence of `answer` in `text`: character offsets [start, end), or None."""
    sought = "".join(letters for letters, _ in _folded(answer))
    if not sought:
        return None
    characters = _folded(text)
    folded = "".join(letters for letters, _ in characters)
    offsets = [offset for letters, offset in characters for _ in letters]
    begin = folded.find(sought)
    while begin != -1:
        start, last = offsets[begin], offsets[begin + len(sought) - 1]
        if _is_edge(text, start - 1, start) and _is_edge(text, last, last + 1):
            return start, last + 1
        begin = folded.find(sought, begin + 1)
    return None


def _folded(text: str) -> list[tuple[str, int]]:
    """Fold each character that is not ignored, with its offset in the text."""
    return [
        (letters, offset)
        for offset, character in enumerate(text)
        if (
            letters := "".join(
                part
                for part in unicodedata.normalize("NFD", character.lower())
                if not unicodedata.combining(part) and not part.isspace()
            )
        )
    ]


def _is_edge(text: str, left: int, right: int) -> bool:
    """Whether a word may begin or end between the characters at `left` and `right`."""
    if left < 0 or right >= len(text):
        return True
    return not (text[left].isalnum() and text[right].isalnum())
