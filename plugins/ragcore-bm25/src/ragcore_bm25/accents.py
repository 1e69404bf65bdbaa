"""Remove accents from a text, and list the spellings that a word may have had with them.

A Snowball stemmer knows the endings of its language with their accents only (-ção, but not -cao).
A word whose accents are removed is therefore stemmed in all the spellings that its ending may have
had. Knows no stemmer.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

__all__ = ["has_accents", "spellings", "unaccented"]

_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
# Letters with a stroke or a ligature have no decomposition in Unicode.
_STROKES: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)

_ENDING: Final = 5
"""How many of a word's last letters may have had accents; endings are seldom longer."""


def unaccented(text: str) -> str:
    """Return a text without accents and strokes, composed (NFC)."""
    text = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFC", text.translate(_STROKES))


def _by_plain(letters: str) -> dict[str, str]:
    """Return accented letters by the letter that each becomes."""
    table: dict[str, str] = {}
    for letter in letters:
        plain = unaccented(letter)
        table[plain] = table.get(plain, "") + letter
    return table


# The accented letters in each language's own words. English has none. Greek's stemmer removes them
# itself, and the scripts of the other stemmers write none.
_LETTERS: Final = {
    language: _by_plain(letters)
    for language, letters in {
        "basque": "ñ",
        "catalan": "àéèíïóòúüç",
        "czech": "áčďéěíňóřšťúůýž",
        "danish": "åø",
        "dutch": "áéëèíïóöúü",
        "dutch_porter": "áéëèíïóöúü",
        "esperanto": "ĉĝĥĵŝŭ",
        "estonian": "äõöüšž",
        "finnish": "äö",
        "french": "àâçéèêëîïôùûü",
        "german": "äöü",
        "hungarian": "áéíóöőúüű",
        "irish": "áéíóú",
        "italian": "àèéìòù",
        "lithuanian": "ąčęėįšųūž",
        "norwegian": "åø",
        "polish": "ąćęłńóśżź",
        "portuguese": "áâãàéêíóôõúç",
        "romanian": "ăâîșț",
        "russian": "йё",
        "serbian": "čćđšž",
        "spanish": "áéíóúüñ",
        "swedish": "åäö",
        "turkish": "çğıöşü",
    }.items()
}


def has_accents(stemmer: str) -> bool:
    """Return whether the language of a Snowball algorithm writes letters with accents."""
    return stemmer in _LETTERS


def spellings(word: str, stemmer: str) -> Iterator[str]:
    """Yield a word without accents, then with one or two of its last letters accented.

    Args:
        word: without accents.
        stemmer: the name of a Snowball algorithm, whose language's letters are tried.
    """
    yield word
    letters = _LETTERS.get(stemmer)
    if letters is None:
        return
    first = max(1, len(word) - _ENDING)
    changes = [
        (place, letter)
        for place, plain in enumerate(word[first:], first)
        for letter in letters.get(plain, "")
    ]
    for place, letter in changes:
        yield word[:place] + letter + word[place + 1 :]
    # Two letters may be accented at once, as in -ções; more are not.
    for (place, letter), (later, other) in itertools.combinations(changes, 2):
        if place < later:
            yield word[:place] + letter + word[place + 1 : later] + other + word[later + 1 :]
