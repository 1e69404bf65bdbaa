"""SQuAD's normalisation of texts, carried from ASCII to Unicode; words of texts without spaces.

Knows characters; knows nothing of questions. On ASCII text the normalisation is that of SQuAD's
official program (Rajpurkar et al., 2016), by which open-domain question answering is scored, the
paper's table 1 included. Elsewhere it differs on purpose:

- Texts are compared by their characters, composed or not: "é" is "e" with an accent (Unicode NFC),
  and case is folded ("ß" is "ss").
- All of Unicode's punctuation is dropped, as MLQA's program does (Lewis et al., 2020), and so are
  letters that stand for an apostrophe: "N’Djamena" is "N'Djamena".
- Characters that are not shown, such as soft hyphens and direction marks, are dropped.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import Final
from unicodedata import category
from unicodedata import normalize as unicode_form

__all__ = ["DASHES", "composed", "letters_and_digits", "normalize", "plain_quotes", "words"]

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")

_APOSTROPHES: Final = "‘’‛′´ʹʻʼʽˈ＇`"
"""Signs that are written for an apostrophe, also those that Unicode counts as letters."""
DASHES: Final = "‐‑‒–—―−﹣－"
"""Signs that are written for a hyphen or a dash."""
_PLAIN: Final = str.maketrans(
    {
        **dict.fromkeys(_APOSTROPHES, "'"),
        **dict.fromkeys("“”„‟″«»＂", '"'),
        **dict.fromkeys(DASHES, "-"),
        "\N{NO-BREAK SPACE}": " ",
        "\N{NARROW NO-BREAK SPACE}": " ",
    }
)
"""One character for one, so that a match's place in the plain text is that in the written one."""

_SPACELESS: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao; Burmese; Khmer
    "\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003fffd"  # Han; kana
)
"""Scripts that put no space between words, as ranges of a regular expression."""


class _Dropped(dict[int, str | None]):
    """What becomes of each character, worked out when it first occurs: itself, or nothing."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        dropped = (
            character in string.punctuation
            or character in _APOSTROPHES
            or character in DASHES
            # Punctuation (P), signs that are not shown (Cf), and variants of one sign.
            or category(character).startswith("P")
            or category(character) == "Cf"
            or 0xFE00 <= code <= 0xFE0F
            or 0xE0100 <= code <= 0xE01EF
        )
        self[code] = None if dropped else character
        return self[code]


_DROPPED: Final = _Dropped()


class _Split(dict[int, str | None]):
    """What becomes of each character where words are letters and digits: itself, or a space."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        hidden = category(character) == "Cf"
        # Letters, marks and numbers.
        belongs = category(character)[0] in "LMN"
        self[code] = character if belongs else None if hidden else " "
        return self[code]


_SPLIT: Final = _Split()


def normalize(text: str) -> str:
    """Fold the case, drop punctuation and English articles, and single the spaces.

    >>> normalize("The  N’Djamena, (a city)")
    'ndjamena city'
    """
    text = text.lower() if text.isascii() else _folded(text)
    return " ".join(_ARTICLES.sub(" ", text.translate(_DROPPED)).split())


def words(text: str) -> list[str]:
    """Split a text into words once it is normalised.

    Of a script that puts no space between words each character is a word, with its marks, as in
    MLQA's program.

    >>> words("The capital: 東京")
    ['capital', '東', '京']
    """
    return _spaced(normalize(text)).split()


def letters_and_digits(text: str) -> list[str]:
    """Split a text at everything but letters, their marks and digits, with the case folded.

    Of a script that puts no space between words each character is a word, with its marks.

    >>> letters_and_digits("don't: Ёлка_2, 東京")
    ['don', 't', 'ёлка', '2', '東', '京']
    """
    text = text.lower() if text.isascii() else _folded(text)
    return _spaced(text.translate(_SPLIT)).split()


def composed(text: str) -> str:
    """Return a text with each letter and its accents as one character where there is one (NFC)."""
    return text if text.isascii() else unicode_form("NFC", text)


def plain_quotes(text: str) -> str:
    """Write typographic quotes, apostrophes, dashes and spaces as ASCII has them, one for one."""
    return text if text.isascii() else text.translate(_PLAIN)


def _spaced(text: str) -> str:
    """Put spaces around each character of a script that has none between words."""
    return text if text.isascii() else _single_characters().sub(r" \g<0> ", text)


def _folded(text: str) -> str:
    """Fold case so that canonically equal texts stay equal (Unicode, section 3.13, D145)."""
    return unicode_form("NFC", unicode_form("NFD", text).casefold())


@lru_cache(maxsize=1)
def _single_characters() -> re.Pattern[str]:
    """Match a character of a script without spaces, with the marks that belong to it."""
    codes = (*range(0x0E00, 0x0F00), *range(0x1000, 0x10A0), *range(0x1780, 0x1800))
    marks = "".join(chr(code) for code in codes if category(chr(code)).startswith("M"))
    # The marks of kana, where no character has both.
    marks += "\u3099\u309a"
    return re.compile(f"[{_SPACELESS}][{marks}]*")
