"""Answers that are regular expressions, as CuratedTREC's: their matches, and texts they stand for.

Knows regular expressions and texts; knows nothing of questions. A pattern is matched as the data
set's own scorers do: ignoring case, anywhere in a passage, but from the beginning of an answer.
Accents may be composed or not, and typographic quotes are as good as plain ones.

Patterns mean what they mean to Python's `re`, but are matched by the package regex (`engine.py`),
which can end a search that goes back for ever, such as that of `(a+)+$`; `re` cannot. RE2 never
goes back, but lacks references and looking around, which data sets use.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any, Final

import regex  # type: ignore[import-untyped, unused-ignore]

from ragcore.errors import QuestionError
from ragcore.questions.engine import compiled
from ragcore.questions.normalization import DASHES, composed, plain_quotes

__all__ = ["check_pattern", "expansions", "matches_answer", "matches_in"]

MOST: Final = 64
"""At most so many texts are derived from one pattern."""

_SECONDS: Final = 5.0
"""Of a processor's time; a pattern needs less than a thousandth of it for a passage."""

_DASH: Final = re.compile(rf"\\?[{DASHES}]")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    # Before the other quotes: a plain dash in a class, such as [–,], would make a range.
    escaped = _DASH.sub(r"\\-", composed(pattern))
    return compiled(plain_quotes(escaped), re.IGNORECASE | re.MULTILINE)


def check_pattern(pattern: str) -> None:
    """Check that a pattern can be matched.

    Raises:
        ValueError: it is no regular expression.
    """
    try:
        _compiled(pattern)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern[:200]!r} is no regular expression ({error})") from None


def matches_answer(answer: str, patterns: Sequence[str]) -> bool:
    """Tell whether an answer begins with a match of one of the patterns.

    Raises:
        QuestionError: the search for a pattern does not end.
    """
    text = plain_quotes(composed(answer.strip()))
    for pattern in patterns:
        with _ending(pattern, text):
            if _compiled(pattern).match(text, timeout=_SECONDS) is not None:
                return True
    return False


def matches_in(text: str, patterns: Sequence[str]) -> list[str]:
    """List what each pattern in turn matches in a text, without empty matches.

    Raises:
        QuestionError: the search for a pattern does not end.
    """
    written = composed(text)
    plain = plain_quotes(written)
    matches: list[str] = []
    for pattern in patterns:
        with _ending(pattern, plain):
            # As it is written, which is what training takes.
            matches += [
                written[match.start() : match.end()].strip()
                for match in _compiled(pattern).finditer(plain, timeout=_SECONDS)
            ]
    return [match for match in matches if match]


@contextmanager
def _ending(pattern: str, text: str) -> Iterator[None]:
    """Report a search that does not end."""
    try:
        yield
    except TimeoutError:
        raise QuestionError(
            f"the pattern {pattern[:200]!r}, given as an answer, was searched for in a text of "
            f"{len(text)} characters for {_SECONDS:g} seconds without an end: simplify it, "
            "such as (a+)+ to a+"
        ) from None


def expansions(pattern: str) -> list[str]:
    """List texts that a pattern matches, at most `MOST`, for when no passage holds a match.

    As in the paper (appendix D): every path through the pattern's branches, with and without what
    is optional, and a space for what is not determined, such as `.` or a class. Spaces are single,
    and no text begins or ends with one.
    """
    texts = itertools.islice(_sequence(_parser.parse(pattern)), 16 * MOST)
    unique = dict.fromkeys(" ".join(text.split()) for text in texts)
    return [text for text in unique if text][:MOST]


def _sequence(elements: Any) -> Iterator[str]:
    """Yield every text of a sequence of pattern elements, lazily: there may be very many."""
    if not elements:
        yield ""
        return
    for first in _element(elements[0]):
        for rest in _sequence(elements[1:]):
            yield first + rest


def _element(element: tuple[Any, Any]) -> Iterator[str]:
    """Yield every text of one element as Python's parser gives it: its opcode and its argument."""
    opcode, argument = element
    if opcode is _constants.LITERAL:
        yield chr(argument)
    elif opcode is _constants.BRANCH:
        for branch in argument[1]:
            yield from _sequence(branch)
    elif opcode is _constants.SUBPATTERN:
        yield from _sequence(argument[3])
    elif opcode in {_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT}:
        least, most, inner = argument
        # Without the element comes last: a longer answer says more.
        for times in dict.fromkeys((max(1, least) if most else 0, least)):
            yield from _sequence(list(inner) * min(times, MOST))
    elif opcode is _constants.IN and all(each is _constants.LITERAL for each, _ in argument):
        # Python's parser turns branches of one letter each into a class.
        yield from (chr(letter) for _, letter in argument)
    elif opcode is _constants.AT or opcode in {_constants.ASSERT, _constants.ASSERT_NOT}:
        yield ""
    else:
        yield " "
