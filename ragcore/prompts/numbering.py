"""Several passages as one text, each behind its number, and how a prompt asks to cite them.

Knows texts alone; knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragcore.types import Passage

__all__ = ["asking_to_cite", "numbered", "text_starts"]

_BETWEEN = "\n\n"


def numbered(passages: Sequence[Passage]) -> str:
    """Return the text of several passages, each behind its number, from 1.

    >>> numbered([Passage("a", "Kenya", "Its capital is Nairobi."), Passage("b", "", "Lima.")])
    '[1] Kenya. Its capital is Nairobi.\\n\\n[2] Lima.'
    """
    return _BETWEEN.join(
        _label(number, passage) + passage.text for number, passage in enumerate(passages, 1)
    )


def text_starts(passages: Sequence[Passage]) -> tuple[int, ...]:
    """Return the character offset in `numbered` at which each passage's own text begins."""
    starts, end = [], 0
    for number, passage in enumerate(passages, 1):
        starts.append(end + len(_label(number, passage)))
        end = starts[-1] + len(passage.text) + len(_BETWEEN)
    return tuple(starts)


def asking_to_cite(template: str) -> str:
    """Return a template of several passages that asks to name them by their numbers."""
    return f"Write after each statement the number of its passage, as [1].\n\n{template}"


def _label(number: int, passage: Passage) -> str:
    return f"[{number}] {passage.title}. " if passage.title else f"[{number}] "
