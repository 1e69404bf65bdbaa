"""Find where an answer's text names passages by their numbers, `[n]`.

Knows texts and numbers; knows nothing of how a generator is asked for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ragcore.passage import without_marks
from ragcore.types import Mark

__all__ = ["marks_in", "unmarked"]

_MARK: Final = re.compile(
    # Numbers of more digits are no passage's. [1], [1, 3], [2;4] and [1-3] are how models cite.
    r"\[\s*([0-9]{1,3}(?:\s*[-\u2013]\s*[0-9]{1,3})?(?:\s*[,;]\s*[0-9]{1,3}(?:\s*[-\u2013]\s*"
    r"[0-9]{1,3})?)*)\s*\]"
)
_RANGE: Final = re.compile(r"([0-9]+)(?:\s*[-\u2013]\s*([0-9]+))?")


def marks_in(text: str, passage_ids: Sequence[str]) -> tuple[Mark, ...]:
    """Return each stretch of a text that names passages, in order.

    A number that no passage has stays in the text, and is in the mark's `unknown`.

    Args:
        text: of an answer; a model wrote it, after untrusted passages.
        passage_ids: of the passages, in the order of their numbers, from 1.

    >>> marks_in("Nairobi [1].", ["kenya-1"])
    (Mark(start=8, end=11, passage_ids=('kenya-1',), unknown=()),)
    """
    marks: list[Mark] = []
    for found in _MARK.finditer(text):
        numbers = dict.fromkeys(
            number
            for each in _RANGE.finditer(found[1])
            for number in _numbers(int(each[1]), int(each[2] or each[1]))
        )
        known = {number for number in numbers if 1 <= number <= len(passage_ids)}
        marks.append(
            Mark(
                *found.span(),
                tuple(passage_ids[number - 1] for number in numbers if number in known),
                tuple(number for number in numbers if number not in known),
            )
        )
    return tuple(marks)


def unmarked(text: str) -> str:
    """Return a text without what names passages, whichever numbers these are.

    >>> unmarked("Nairobi [1, 3]")
    'Nairobi'
    """
    return without_marks(text, marks_in(text, ()))


def _numbers(first: int, last: int) -> range:
    """Return the numbers of a range; of one that falls, such as 3-1, the first alone."""
    return range(first, max(first, last) + 1)
