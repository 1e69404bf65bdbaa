"""Texts that the laws of encoders, scorers and generators share: odd, long, and alike but for one.

Words are common English ones, so that a small vocabulary has most of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ragcore.types import Passage

__all__ = [
    "NEARLY_ALIKE",
    "ODD",
    "SAME_ID",
    "TITLES_AND_TEXTS",
    "last_words",
    "long_text",
    "renamed",
    "short_passages",
    "words_read",
]

ODD: Final[Sequence[str]] = (
    "The first line\u2028is followed by\u2029a second one",
    "The first line\r\nis followed\x0bby\x0ca second\x85one\ttoo",
    "A zero\x00in the text",
    "ﬁ ½ Ⅷ ㎞ ﷺ Ǆ are one character each",
    "e\u0301 and é, Å and A\u030a",
    "zero\u200bwidth\u200dsigns\ufeff and soft\u00adhyphens",
    "العربية עברית \u202eabc\u202c",
    "東京都は日本の首都です",
    "👩‍👩‍👧 🇪🇹 🙂",
    "?!… — “”",
    "w" * 500,
    "  spaces   everywhere  ",
    "[CLS] <s> </s> [MASK] <|endoftext|> {text} %s",
)
"""Texts with line separators, zeros, joined characters, other scripts, and what looks special."""

NEARLY_ALIKE: Final[Sequence[tuple[str, str]]] = (
    *(
        (f"the city{sign}of Chad", f"the city{sign}of Kenya")
        for sign in ("\u2028", "\r\n", "\x0b", "\x00", "\ufeff")
    ),
    ("the cafés", "the cafs"),
)
"""Pairs of texts that differ only after a sign at which some readers stop, or in an accent."""

TITLES_AND_TEXTS: Final[Sequence[Passage]] = (
    Passage("title-1", "The capital of Kenya", ""),
    Passage("title-2", "The country of Africa", ""),
    Passage("text-1", "", "The largest city of Chad"),
    Passage("text-2", "", "The highlands of Madagascar"),
    Passage("both", "The capital of Kenya", "The largest city of Chad"),
)
"""Passages that have a title alone, a text alone, and both."""

SAME_ID: Final[Sequence[Passage]] = (
    Passage("1", "The capital", "Nairobi is the capital of Kenya."),
    Passage("1", "The capital", "Kampala is the center of Uganda."),
    Passage("1", "The country", "Kampala is the center of Uganda."),
)
"""One id with three contents: each differs from the one before in its title or its text alone,
which are as long as those before."""


def words_read(component: object, longest: int) -> int:
    """Return how many words a component reads to the last: `longest`, or fewer if it declares so.

    A component may declare `max_input_tokens`; a word has at most three tokens here, with what
    surrounds the text.
    """
    limit = getattr(component, "max_input_tokens", None)
    return longest if limit is None else max(2, min(longest, int(limit) // 3))


def renamed(passages: Sequence[Passage]) -> list[Passage]:
    """Return the same passages under distinct new ids."""
    return [
        Passage(f"new-{number}", passage.title, passage.text)
        for number, passage in enumerate(passages)
    ]


def last_words(passages: Sequence[Passage]) -> list[str]:
    """Return the last words of titles and texts, each once: short questions that decide.

    A component that compares words sees no difference between passages if the question has none
    of the words in which they differ.
    """
    parts = [part.split() for passage in passages for part in (passage.title, passage.text)]
    return list(dict.fromkeys(words[-1] for words in parts if words))


def long_text(words: int, last: str) -> str:
    """Return a text of `words` words that ends with `last`."""
    return "the " * (words - 1) + last


def short_passages(count: int) -> list[Passage]:
    """Return distinct short passages, of different lengths."""
    return [
        Passage(
            f"short-{number}", f"City {number % 7}", f"number {number} of" + " the" * (number % 5)
        )
        for number in range(count)
    ]
