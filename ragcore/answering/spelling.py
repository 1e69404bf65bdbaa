"""Surface forms: an answer of an uncased generator in the spelling of the passage it came from.

Knows strings only. Case, accents and white space are ignored when looking, since that is what an
uncased tokenizer loses; word boundaries are kept, so that "chad" is not found in "Chadian".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

__all__ = ["find_span", "surface_form"]


def surface_form(answer: str, texts: Iterable[str]) -> str | None:
    """The answer as the first of `texts` that holds it spells it, or None.

    >>> surface_form("n ' djamena", ["Chad", "name: N'Djamena; coordinates: 12 06 N"])
    "N'Djamena"
    """
    for text in texts:
        span = find_span(answer, text)
        if span is not None:
            return text[span[0] : span[1]]
    return None


def find_span(answer: str, text: str) -> tuple[int, int] | None:
    """Character offsets [start, end) of the first occurrence of `answer` in `text`, or None."""
    sought = "".join(letters for letters, _ in _folded(answer))
    if not sought:
        return None
    letters_at = _folded(text)
    folded = "".join(letters for letters, _ in letters_at)
    places = [place for letters, place in letters_at for _ in letters]
    begin = folded.find(sought)
    while begin != -1:
        start, last = places[begin], places[begin + len(sought) - 1]
        if _is_edge(text, start - 1, start) and _is_edge(text, last, last + 1):
            return start, last + 1
        begin = folded.find(sought, begin + 1)
    return None


def _folded(text: str) -> list[tuple[str, int]]:
    """Each character that counts, folded, with the place that it came from."""
    return [
        (letters, place)
        for place, character in enumerate(text)
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
