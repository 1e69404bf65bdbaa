"""Turn text into terms, in the same way for passages and for questions.

Compatibility forms (Unicode's NFKC), case and accents are folded, words are cut at everything that
is neither letter nor mark nor digit, stop words are dropped, and the rest is stemmed. Since
stemmers know endings with their accents, a word's stem is the shortest that any accents on its
ending give: so a word has one term with accents and without, and shares it with its other forms. A
run of a script that writes no space between words becomes its overlapping pairs of characters, as
Lucene's CJK analyser makes them. Knows nothing of BM25.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import unicodedata
from collections.abc import Set
from typing import Any, Final, Literal

import Stemmer  # type: ignore[import-not-found, unused-ignore]

from ragcore.errors import ComponentError, ConfigError
from ragcore.registry.installation import install_hint
from ragcore_bm25.accents import has_accents, spellings, unaccented

__all__ = ["Analyser", "is_unspaced"]

_VERSION: Final = 3
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
_WORD[3] = _WORD[2]
# Invisible: soft hyphen, ZWNJ, ZWJ, word joiner and byte order mark are inside words, not between.
_INVISIBLE: Final = dict.fromkeys(map(ord, "\u00ad\u200c\u200d\u2060\ufeff"))
# Thai, Lao, Myanmar, Khmer, then kana, bopomofo and Chinese characters. Korean writes spaces.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN: Final = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_UNSPACED_RUN: Final = re.compile(f"[{_UNSPACED}]")
_LETTER: Final = re.compile(f".[{_MARKS}]*", re.DOTALL)
_INITIALS: Final = re.compile(r"\b[^\W\d_](?:\.[^\W\d_])+\b\.?")

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
        version: 1 cuts words at marks, as memories of the first release were built; 2 cuts at
            invisible characters, does not cut scripts without spaces, and stems words as they are
            without their accents.

    Raises:
        ConfigError: there is no such stemmer or list.
        ComponentError: a list of another language than English needs the package stop-words.
    """

    def __init__(
        self,
        stemmer: str | None = "english",
        stopwords: str | None = "english",
        version: Literal[1, 2, 3] = _VERSION,
    ) -> None:
        if stemmer is not None and stemmer not in Stemmer.algorithms():
            raise ConfigError(
                f"retriever 'bm25': PyStemmer has no stemmer {stemmer!r}: choose one of "
                f"{', '.join(Stemmer.algorithms())}, or null"
            )
        self._stemmer = stemmer
        self._version = version
        self._word = _WORD[version]
        self.stopwords: frozenset[str] = frozenset()
        if stopwords == "english":
            self.stopwords = frozenset(_ENGLISH.split())
        elif stopwords is not None:
            self.stopwords = frozenset(
                word for phrase in _stop_words(stopwords) for word in self.words(phrase)
            )
        self._with_accents = stemmer is not None and has_accents(stemmer)
        # A Snowball stemmer must not be used by two threads at once.
        self._local = threading.local()
        words = hashlib.sha256(" ".join(sorted(self.stopwords)).encode()).hexdigest()[:8]
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
            if self._version >= 3:
                text = text.translate(_INVISIBLE)
            text = unaccented(unicodedata.normalize("NFKC", text).casefold())
        if "." in text:
            text = _INITIALS.sub(lambda initials: initials[0].replace(".", ""), text)
        words: list[str] = self._word.findall(text)
        if self._version < 3 or text.isascii() or not _UNSPACED_RUN.search(text):
            return words
        return [part for word in words for part in _parts(word)]

    def term(self, word: str) -> str | None:
        """Return the term that a word stands for; None for a stop word."""
        if word in self.stopwords:
            return None
        if self._stemmer is None:
            return word
        if self._version >= 3 and is_unspaced(word):
            return word
        stemmer = self._snowball()
        if self._version < 3:
            return str(stemmer.stemWord(word))
        if not self._with_accents:
            return _plain(stemmer.stemWord(word))
        stems = set(stemmer.stemWords(list(spellings(word, self._stemmer))))
        return min(map(_plain, stems), key=lambda term: (len(term), term))

    def terms_of(self, words: Set[str]) -> set[str]:
        """Return the terms of words; faster than `term` where the language writes no accents."""
        words = words - self.stopwords
        if self._stemmer is None or self._with_accents or not all(map(str.isascii, words)):
            return {term for term in map(self.term, words) if term is not None}
        return set(self._snowball().stemWords(list(words)))

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text, in order, repeated as often as they occur.

        >>> Analyser().terms("Who were the presidents of Chad?")
        ['presid', 'chad']
        """
        terms = map(self.term, self.words(text))
        return [term for term in terms if term is not None]

    def _snowball(self) -> Any:
        """Return this thread's stemmer."""
        stemmer = getattr(self._local, "stemmer", None)
        if stemmer is None:
            # Without its own cache, which takes longer to keep than to stem a word.
            stemmer = self._local.stemmer = Stemmer.Stemmer(self._stemmer, 0)
        return stemmer


def is_unspaced(word: str) -> bool:
    """Return whether a word is of a script that writes no space between words."""
    return _UNSPACED_RUN.match(word) is not None


def _plain(term: str) -> str:
    """Return a stem without accents."""
    return term if term.isascii() else unaccented(term)


def _parts(word: str) -> list[str]:
    """Cut a word into runs of scripts; one without spaces into pairs of letters with marks."""
    parts: list[str] = []
    for run in _RUN.findall(word):
        letters = _LETTER.findall(run) if _UNSPACED_RUN.match(run) else [run]
        if len(letters) < 2:
            parts.append(run)
        else:
            parts += [first + second for first, second in itertools.pairwise(letters)]
    return parts


def _stop_words(language: str) -> list[str]:
    """Return the list of a language from the package stop-words."""
    try:
        import stop_words  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        raise ComponentError(
            f"retriever 'bm25': stopwords {language!r} needs the package stop-words, which is not "
            f"installed: {install_hint('ragcore-bm25', 'languages')}, or set stopwords to null"
        ) from error
    try:
        return list(stop_words.get_stop_words(language))
    except stop_words.StopWordError as error:
        raise ConfigError(
            f"retriever 'bm25': the package stop-words has no list {language!r}: choose one of "
            f"{', '.join(sorted(stop_words.LANGUAGE_MAPPING.values()))}, or null"
        ) from error
