"""The terms that a misspelt word of a question may stand for.

All words within one or two edits of it are written out, and analysed as any word of a question is:
those whose term is in some passage are what it may stand for. Words are edited and not terms, since
a mistake keeps a word from its stem: "presdent" is one edit from "president", but four from the
term "presid". The time depends on the word's length, and little on how many terms there are;
nothing is stored, so that any memory can be searched so. Knows no passage and no score.

An edit deletes, inserts or replaces a letter, or swaps two neighbours: the distance is Damerau's
(F. Damerau, "A technique for computer detection and correction of spelling errors", 1964). To write
the words out is P. Norvig's idea ("How to write a spelling corrector", 2007).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from ragcore.disk.threads import yield_gil
from ragcore.process.fork import new_lock
from ragcore_bm25.analyser import Analyser, is_unspaced
from ragcore_bm25.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Misspelt", "Spelling"]

_ASCII: Final = "abcdefghijklmnopqrstuvwxyz"
_SHORTEST: Final = {1: 4, 2: 8}
"""By distance: letters of the shortest word that is taken to be misspelt. Shorter ones are near
too many others."""
_LONGEST: Final = {1: 32, 2: 14}
"""By distance: letters of the longest. Each letter makes some 54 words at distance 1, and a word of
ten 140,000 at distance 2."""
_LETTERS: Final = {1: 512, 2: 32}
"""By distance: how many letters of a script are tried, the commonest in the vocabulary."""
_WORDS: Final = {1: 16, 2: 4}
"""By distance: how many words of a question are looked for, so that none takes long."""
_STOP_WORD: Final = 4
"""Letters of the shortest stop word that a word may stand for; "our" is near too many."""
_TERMS: Final = 8
"""The most terms that a word may stand for."""
_BATCH: Final = 1 << 12
"""Words or terms handled in one call, about a millisecond's work: other threads wait so long."""
_REMEMBERED: Final = 1 << 12
"""Words whose terms are remembered before all are forgotten."""


@dataclass(frozen=True, slots=True)
class Misspelt:
    """A word of a question, and the terms that it may stand for.

    Attributes:
        terms: their numbers, one at least.
        edits: the distance of their words, 1 or 2.
        letters: how many the word has.
    """

    terms: tuple[int, ...]
    edits: int
    letters: int


class Spelling:
    """Find the terms near a word; safe to use from several threads.

    Args:
        farthest: the largest distance, 1 or 2.
        analyser: of passages and questions.
        vocabulary: the terms; it may grow meanwhile.
        bounds: int64 [terms + 1], where each term's passages begin; a term without any is unknown.
    """

    def __init__(
        self,
        farthest: int,
        analyser: Analyser,
        vocabulary: Vocabulary,
        bounds: npt.NDArray[np.int64],
    ) -> None:
        self._farthest = farthest
        self._analyser = analyser
        self._vocabulary = vocabulary
        self._bounds = bounds
        self._remembered: dict[tuple[str, int], Misspelt | None] = {}
        self._letters: Counter[str] | None = None
        self._lock = new_lock()

    def question_terms(self, question: str) -> list[int | Misspelt]:
        """Return what each word of a question stands for, in order; see `misspelt`.

        Returns:
            The number of a term that some passage has; or, for a word without one, the nearest
            terms. Words without any are left out.
        """
        terms: list[int | Misspelt] = []
        unknown = 0
        for word in self._analyser.words(question):
            term = self._analyser.term(word)
            if term is None:
                continue
            number = self._number(term)
            if number is not None:
                terms.append(number)
                continue
            unknown += 1
            # The first four are searched to distance 2, the next twelve to 1, and others not.
            farthest = sum(unknown <= words for words in _WORDS.values())
            near = self.misspelt(word, min(farthest, self._farthest))
            if near is not None:
                terms.append(near)
        return terms

    def misspelt(self, word: str, farthest: int) -> Misspelt | None:
        """Return the terms of the words nearest to a word.

        All have the same distance: one edit, or two where one leads to none. At most eight, those
        that are in most passages. In ASCII words the letters tried are a to z, and in others those
        of the same script that the vocabulary has.

        Args:
            word: folded, as `Analyser.words` returns words; no passage has its term.
            farthest: the largest distance, 0 to 2.

        Returns:
            None if there are none; for a word with a digit, in a script without spaces, or too
            short or too long to be judged; and where a stop word of four letters or more is as
            near, since "wich" is more likely "which" than "rich".
        """
        if not farthest or not _SHORTEST[1] <= len(word) <= _LONGEST[1]:
            return None
        key = word, farthest
        # Another thread may put another dict there meanwhile.
        remembered = self._remembered
        if key not in remembered:
            if len(remembered) >= _REMEMBERED:
                remembered = self._remembered = {}
            remembered[key] = self._nearest(word, farthest)
        return remembered[key]

    def _nearest(self, word: str, farthest: int) -> Misspelt | None:
        """Return what `misspelt` does."""
        if is_unspaced(word) or any(map(str.isdigit, word)):
            return None
        for distance in range(1, farthest + 1):
            if not _SHORTEST[distance] <= len(word) <= _LONGEST[distance]:
                return None
            numbers: dict[str, int] = {}
            for words in self._words_at(word, distance):
                if any(len(each) >= _STOP_WORD for each in self._analyser.stopwords & words):
                    return None
                numbers |= self._vocabulary.numbers(self._analyser.terms_of(words))
            known = {term: number for term, number in numbers.items() if self._is_known(number)}
            if known:
                return Misspelt(self._commonest(known), distance, len(word))
        return None

    def _words_at(self, word: str, distance: int) -> Iterator[set[str]]:
        """Yield all words that so many edits lead to, in sets, with pauses for other threads."""
        letters = self._alphabet(word, _LETTERS[distance])
        words = _edited(word, letters)
        if distance == 2:
            nearer, words = words, set()
            for number, each in enumerate(nearer):
                words |= _edited(each, letters)
                if number % 8 == 7:
                    yield_gil()
        remaining = iter(words)
        while batch := set(islice(remaining, _BATCH)):
            yield batch
            if len(words) > _BATCH:
                yield_gil()

    def _alphabet(self, word: str, count: int) -> list[str]:
        """Return the letters that may have been left out of a word, or be meant by another."""
        if word.isascii():
            return list(_ASCII)
        with self._lock:
            if self._letters is None:
                self._letters = self._vocabulary_letters()
        scripts = {_script(letter) for letter in word}
        used = [letter for letter in self._letters if _script(letter) in scripts]
        frequencies = self._letters
        return sorted(used, key=lambda letter: (-frequencies[letter], letter))[:count]

    def _vocabulary_letters(self) -> Counter[str]:
        """Count the letters and marks of all terms."""
        letters: Counter[str] = Counter()
        for terms in self._vocabulary.batches(_BATCH):
            letters.update("".join(terms))
            yield_gil()
        return Counter(
            {
                letter: frequency
                for letter, frequency in letters.items()
                if unicodedata.category(letter)[0] in "LM"
            }
        )

    def _commonest(self, terms: dict[str, int]) -> tuple[int, ...]:
        """Return the numbers of the terms that are in most passages, ties by their letters."""
        ordered = sorted(terms, key=lambda term: (-self._passages(terms[term]), term))
        return tuple(terms[term] for term in ordered[:_TERMS])

    def _number(self, term: str) -> int | None:
        """Return a term's number, or None where no passage has it."""
        number = self._vocabulary.get(term)
        return number if number is not None and self._is_known(number) else None

    def _is_known(self, number: int) -> bool:
        """Return whether some passage has a term."""
        # A term that was added after the index was built is in none of its passages.
        return number < len(self._bounds) - 1 and self._passages(number) > 0

    def _passages(self, number: int) -> int:
        """Return how many passages have a term."""
        return int(self._bounds[number + 1] - self._bounds[number])


def _edited(word: str, letters: Sequence[str]) -> set[str]:
    """Return a word, and all words that one edit with these letters leads to.

    >>> sorted(_edited("ab", "c"))
    ['a', 'ab', 'abc', 'ac', 'acb', 'b', 'ba', 'cab', 'cb']
    """
    cuts = [(word[:length], word[length:]) for length in range(len(word) + 1)]
    words = {word}
    words.update(left + right[1:] for left, right in cuts[:-1])
    words.update(left + right[1] + right[0] + right[2:] for left, right in cuts[:-2])
    words.update([left + letter + right[1:] for left, right in cuts[:-1] for letter in letters])
    words.update([left + letter + right for left, right in cuts for letter in letters])
    return words


def _script(letter: str) -> str:
    """Return the first word of a letter's name in Unicode, which is its script's for most.

    >>> _script("ж")
    'CYRILLIC'
    """
    return unicodedata.name(letter, "").partition(" ")[0]
