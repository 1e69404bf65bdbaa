"""Postings of one question in which some words stand for several terms.

A misspelt word is one term to the question, found in the passages that have any of the terms it may
stand for. So that a rare one does not outweigh the others, all get the weight of the commonest, as
in Lucene's `TopTermsBlendedFreqScoringRewrite`; a passage's score is that of the best, and is the
lower the more of the word had to be edited, as in its `FuzzyTermsEnum`. Knows terms by number and
passages by position; which terms are near a word is found by `spelling.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ragcore.errors import StoreCorruptError
from ragcore.postings import Postings
from ragcore.process.fork import new_lock
from ragcore_bm25.spelling import Misspelt, Spelling
from ragcore_bm25.variants import Formula

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Scores

    Pairs = tuple[npt.NDArray[np.int32], Scores, np.float32]

__all__ = ["Expander"]


class Expander:
    """Make the postings of questions; safe to use from several threads.

    Args:
        spelling: finds the terms of questions.
        index: the postings of all terms.
        formula: that they were computed with.
    """

    def __init__(self, spelling: Spelling, index: Postings, formula: Formula) -> None:
        self._spelling = spelling
        self._index = index
        self._formula = formula
        self._term_weights: npt.NDArray[np.float64] | None = None
        self._lock = new_lock()

    def postings(self, question: str) -> Postings | None:
        """Return postings with one term for each word that some passage has, or one near it.

        Returns:
            Terms in the question's order, numbered from 0; None where no word is misspelt.

        Raises:
            StoreCorruptError: the arrays name a passage that does not exist.
        """
        words = self._spelling.question_terms(question)
        if not any(isinstance(word, Misspelt) for word in words):
            return None
        pairs = [
            self._joined(word) if isinstance(word, Misspelt) else self._pairs(word)
            for word in words
        ]
        bounds = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(positions) for positions, _, _ in pairs], out=bounds[1:])
        weights = np.concatenate([weights for _, weights, _ in pairs])
        return Postings(
            np.concatenate([positions for positions, _, _ in pairs]),
            bounds,
            self._index.size,
            weights,
            np.array([floor for _, _, floor in pairs], np.float32),
            # The terms of one word may have weights of both signs.
            signed=bool((weights <= 0).any()),
        )

    def _pairs(self, term: int) -> Pairs:
        """Return a term's positions, weights and floor."""
        index = self._index
        part = slice(index.bounds[term], index.bounds[term + 1])
        floor = np.float32(0) if index.floors is None else index.floors[term]
        return index.positions[part], index.weights[part], floor

    def _joined(self, word: Misspelt) -> Pairs:
        """Return the positions that any of a word's terms has, with weights, and a floor."""
        likeness = np.float32(1 - word.edits / word.letters)
        if len(word.terms) == 1:
            positions, weights, floor = self._pairs(word.terms[0])
            return positions, weights * likeness, floor * likeness
        term_weights = np.abs(self._weights()[list(word.terms)])
        least = term_weights.min()
        best = np.full(self._index.size, -np.inf, np.float32)
        floors = []
        for term, term_weight in zip(word.terms, term_weights, strict=True):
            # A term that weighs nothing, and with it the least, adds nothing anywhere.
            factor = likeness * np.float32(least / term_weight if term_weight else 1)
            positions, weights, floor = self._pairs(term)
            try:
                best[positions] = np.maximum(best[positions], weights * factor)
            except IndexError as error:
                # Of large files only samples are checked when they are loaded.
                raise StoreCorruptError(
                    f"a term is in a passage that does not exist ({error}): rebuild this version "
                    "of the memory"
                ) from error
            floors.append(floor * factor)
        positions = np.flatnonzero(best > -np.inf).astype(np.int32)
        return positions, best[positions], max(floors)

    def _weights(self) -> npt.NDArray[np.float64]:
        """Return the weight of every term, float64 [terms]; computed once, when first needed."""
        with self._lock:
            if self._term_weights is None:
                holders = np.diff(self._index.bounds)
                self._term_weights = self._formula.weights(holders, self._index.size)
            return self._term_weights
