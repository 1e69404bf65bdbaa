"""Turn text into terms, in the same way for passages and for questions.

Compatibility forms (Unicode's NFKC), accents and case are folded, words are cut at everything that
is neither letter nor mark nor digit, stop words are dropped, and the rest is stemmed. Scripts that
write no space between words are not cut: a whole run of them is one word. Knows nothing of BM25.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from typing import Final, Literal

import Stemmer  # type: ignore[import-not-found, unused-ignore]

__all__ = ["Analyser"]

_VERSION: Final = 2
"""Raised with every change that gives other terms for the same text; part of the fingerprint."""

# Vowel signs and the like, which belong to the letter before them and are no letters to `re`. No
# script has any in the planes after these two.
_MARKS: Final = "".join(
    chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"
)
# Numbers keep their inner separators: 1,234 is one word, not two.
_WORD: Final = {
    1: re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+"),
    # The lookahead only saves time: most characters are not compared with all marks.
    2: re.compile(rf"\d+(?:[.,]\d+)+|[^\W_]+(?:(?=[\u0300-\U0001ffff])[{_MARKS}]+[^\W_]*)*"),
}
_INITIALS: Final = re.compile(r"\b[^\W\d_](?:\.[^\W\d_])+\b\.?")
_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
# Letters with a stroke or a ligature have no decomposition in Unicode.
_STROKES: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)

# Function words and question words. A question word is rare in passages, so that its weight would
# be high, and says nothing of what is asked about. "may", "us" and "will" are names, too, and
# therefore not listed.
_ENGLISH: Final = """
a about am an and any are as at be been being but by can could d did do does doing for from had
has have having he her hers him his how i if in into is it its ll m me my no nor not of on or
our ours re s shall she should so some such t than that the their theirs them then there these
they this those to too ve very was we were what when where which while who whom whose why with
would you your yours
"""


class Analyser:
    """Turn texts into terms.

    Args:
        stemmer: the Snowball algorithm to stem with, or None.
        stopwords: the list of words to leave out, or None.
        version: 1 cuts words at marks, as memories of the first release were built.
    """

    def __init__(
        self,
        stemmer: Literal["english"] | None = "english",
        stopwords: Literal["english"] | None = "english",
        version: Literal[1, 2] = _VERSION,
    ) -> None:
        self._stemmer = stemmer
        self._word = _WORD[version]
        self._stop = frozenset(_ENGLISH.split() if stopwords == "english" else ())
        # A Snowball stemmer must not be used by two threads at once.
        self._local = threading.local()
        words = hashlib.sha256(" ".join(sorted(self._stop)).encode()).hexdigest()[:8]
        self.fingerprint: Final = (
            f"words-{version},stemmer={stemmer or 'none'},"
            f"stopwords={f'{stopwords}-{words}' if stopwords else 'none'}"
        )

    def words(self, text: str) -> list[str]:
        """Return the words of a text, folded, in order.

        >>> Analyser().words("Déby's U.S. visit, №7: 1,234 days")
        ['deby', 's', 'us', 'visit', 'no7', '1,234', 'days']
        """
        if text.isascii():
            text = text.lower()
        else:
            text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
            # Recomposed, for scripts whose letters decompose into something that is no accent.
            text = unicodedata.normalize("NFC", _ACCENTS.sub("", text).translate(_STROKES))
        if "." in text:
            text = _INITIALS.sub(lambda initials: initials[0].replace(".", ""), text)
        return self._word.findall(text)

    def term(self, word: str) -> str | None:
        """Return the term that a word stands for; None for a stop word."""
        if word in self._stop:
            return None
        if self._stemmer is None:
            return word
        stem = getattr(self._local, "stem", None)
        if stem is None:
            stem = self._local.stem = Stemmer.Stemmer(self._stemmer).stemWord
        return str(stem(word))

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text, in order, repeated as often as they occur.

        >>> Analyser().terms("Who were the presidents of Chad?")
        ['presid', 'chad']
        """
        terms = map(self.term, self.words(text))
        return [term for term in terms if term is not None]
