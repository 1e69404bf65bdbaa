"""Passages that were added and are not counted yet, as the numbers of their terms.

Knows passages as text and title; knows no row and no score. Counting takes sorting, so it is done
for many passages together; until then their terms wait, four bytes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ragcore.types import Passage
from ragcore_bm25.counts import Counts
from ragcore_bm25.numbering import Numbering

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int32]

__all__ = ["Waiting"]


class Waiting:
    """The terms of passages that wait, in the order in which they were added.

    Args:
        title_weight: how often each term of a title counts as one of the text; None where titles
            are counted apart.
    """

    def __init__(self, title_weight: int | None) -> None:
        self._weight = title_weight
        self._texts = _Field()
        self._titles = _Field()

    def __len__(self) -> int:
        """Return the number of terms."""
        return self._texts.size + self._titles.size

    def add(self, passages: Sequence[Passage], numbering: Numbering) -> None:
        """Add passages; new terms are numbered in their order, a text's before its title's."""
        if self._weight == 0:
            self._texts.add(*numbering.numbers(passage.text for passage in passages))
            return
        fields = chain.from_iterable((passage.text, passage.title) for passage in passages)
        tokens, lengths = numbering.numbers(fields)
        if self._weight is None:
            is_title = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)  # [tokens]
            self._texts.add(tokens[~is_title], lengths[::2])
            self._titles.add(tokens[is_title], lengths[1::2])
            return
        weights = np.ones(len(lengths), np.int32)
        weights[1::2] = self._weight
        tokens = np.repeat(tokens, np.repeat(weights, lengths))
        self._texts.add(tokens, lengths[::2] + self._weight * lengths[1::2])

    def counted(self, terms: int) -> Counts:
        """Count what waits.

        Args:
            terms: how many terms the vocabulary has.
        """
        titles = None if self._weight is not None else self._titles.joined()
        return Counts.of(*self._texts.joined(), terms, titles)


class _Field:
    """Tokens and lengths of one field of the passages, in parts."""

    def __init__(self) -> None:
        self.size = 0
        self._tokens: list[Numbers] = []
        self._lengths: list[Numbers] = []

    def add(self, tokens: Numbers, lengths: Numbers) -> None:
        """Add tokens of passages, and how many each has."""
        self._tokens.append(tokens)
        self._lengths.append(lengths)
        self.size += len(tokens)

    def joined(self) -> tuple[Numbers, Numbers]:
        """Return all tokens and lengths."""
        nothing = np.zeros(0, np.int32)
        return np.concatenate((nothing, *self._tokens)), np.concatenate((nothing, *self._lengths))
