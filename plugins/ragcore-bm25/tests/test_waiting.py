"""Waiting passages are counted as if each had been counted by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ragcore_bm25.analyser import Analyser
from ragcore_bm25.counts import Counts
from ragcore_bm25.numbering import Numbering
from ragcore_bm25.vocabulary import Vocabulary
from ragcore_bm25.waiting import Waiting

from ragcore.types import Passage

PASSAGES = [
    Passage("0", "Chad", "a river in Chad, a river"),
    Passage("1", "", "of the"),
    Passage("2", "Lake lake", ""),
    Passage("3", "River Niger", "Niamey"),
]


def waiting(weight: int | None) -> tuple[Counts, Vocabulary]:
    vocabulary = Vocabulary()
    numbering = Numbering(Analyser(), vocabulary)
    some = Waiting(weight)
    for begin in (0, 2):
        some.add(PASSAGES[begin : begin + 2], numbering)
    counts = some.counted(len(vocabulary))
    terms = sum(counts.lengths)
    assert len(some) == terms + (0 if weight is not None else sum(counts.title_lengths))
    return counts, vocabulary


def tallies(counts: Counts, numbers: np.ndarray, vocabulary: Vocabulary) -> list[Counter[str]]:
    """Return how often each term occurs in each passage."""
    by_passage: list[Counter[str]] = [Counter() for _ in range(len(counts))]
    terms = np.repeat(np.array(list(vocabulary), object), counts.document_frequencies)
    for term, passage, often in zip(terms, counts.positions, numbers, strict=True):
        by_passage[passage][term] += int(often)
    return [+tally for tally in by_passage]


@pytest.mark.parametrize("weight", [1, 3])
def test_weighed_titles_count_as_text(weight: int) -> None:
    terms = Analyser().terms
    expected = [terms(passage.text) + terms(passage.title) * weight for passage in PASSAGES]
    counts, vocabulary = waiting(weight)
    assert tallies(counts, counts.frequencies, vocabulary) == list(map(Counter, expected))
    assert counts.lengths.tolist() == list(map(len, expected))
    assert list(vocabulary) == ["river", "chad", "lake", "niamey", "niger"]


def test_titles_that_weigh_nothing_are_not_read() -> None:
    counts, vocabulary = waiting(0)
    assert list(vocabulary) == ["river", "chad", "niamey"]
    assert counts.lengths.tolist() == [3, 0, 0, 1]


def test_titles_are_counted_apart() -> None:
    counts, vocabulary = waiting(None)
    texts = [Counter(Analyser().terms(passage.text)) for passage in PASSAGES]
    titles = [Counter(Analyser().terms(passage.title)) for passage in PASSAGES]
    assert tallies(counts, counts.frequencies, vocabulary) == texts
    assert counts.titles is not None
    assert counts.title_lengths is not None
    assert tallies(counts, counts.titles, vocabulary) == titles
    assert counts.title_lengths.tolist() == [1, 0, 2, 2]
