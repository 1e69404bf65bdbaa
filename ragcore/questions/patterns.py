"""Answers that are regular expressions, as CuratedTREC's: what they match, and texts of them.

A pattern is held against text as the data set's own scorers do: without regard to case, from any
place in a passage, and from the beginning of an answer.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any, Final

__all__ = ["expansions", "found_in", "matches_answer"]

MOST: Final = 64
"""Texts that are made of one pattern at most."""


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


def matches_answer(answer: str, patterns: Sequence[str]) -> bool:
    """Whether an answer begins with what one of the patterns matches."""
    return any(_compiled(pattern).match(answer.strip()) is not None for pattern in patterns)


def found_in(text: str, patterns: Sequence[str]) -> list[str]:
    """What the patterns match in a text, in order, empty matches aside."""
    found = [match.group().strip() for p in patterns for match in _compiled(p).finditer(text)]
    return [one for one in found if one]


def expansions(pattern: str) -> list[str]:
    """Texts that a pattern matches, at most `MOST`, for want of a passage that holds one.

    As the paper does it (appendix D): all ways through the pattern's branches, what is optional
    there and not there, and a space for what is not determined, such as `.` or a class. Spaces are
    single, and none stands at an end.
    """
    texts = itertools.islice(_sequence(_parser.parse(pattern)), 16 * MOST)
    kept = dict.fromkeys(" ".join(one.split()) for one in texts)
    return [one for one in kept if one][:MOST]


def _sequence(parts: Any) -> Iterator[str]:
    """Every text of a sequence of parts, lazily: there may be very many."""
    if not parts:
        yield ""
        return
    for first in _part(parts[0]):
        for rest in _sequence(parts[1:]):
            yield first + rest


def _part(part: tuple[Any, Any]) -> Iterator[str]:
    kind, said = part
    if kind is _constants.LITERAL:
        yield chr(said)
    elif kind is _constants.BRANCH:
        for way in said[1]:
            yield from _sequence(way)
    elif kind is _constants.SUBPATTERN:
        yield from _sequence(said[3])
    elif kind in {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}:
        least, most, inner = said
        # Not there at all comes last: a longer answer says more.
        for times in dict.fromkeys((max(1, least) if most else 0, least)):
            yield from _sequence(list(inner) * min(times, MOST))
    elif kind is _constants.IN and all(each is _constants.LITERAL for each, _ in said):
        # Python's parser makes one class of branches that are a letter each.
        yield from (chr(letter) for _, letter in said)
    elif kind is _constants.AT or kind in {_constants.ASSERT, _constants.ASSERT_NOT}:
        yield ""
    else:
        yield " "
