"""Sums over postings are products of matrices, whatever was joined and dropped before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore import postings as module
from ragcore.postings import Postings

TERMS = 6


def of(matrix: np.ndarray) -> Postings:
    """Postings of a dense matrix [n, terms]."""
    owners, terms = matrix.nonzero()
    lengths = np.bincount(owners, minlength=len(matrix))
    return Postings.of(terms.astype(np.int32), matrix[owners, terms], lengths, matrix.shape[1])


# Eighths, whose sums are exact in any order.
numbers = st.integers(-16, 16).map(lambda number: number / 8)
cells = st.one_of(st.just(0.0), numbers)
rows = st.lists(cells, min_size=TERMS, max_size=TERMS)
matrices = st.lists(rows, max_size=8).map(
    lambda lines: np.array(lines, np.float32).reshape(-1, TERMS)
)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(matrices, min_size=1, max_size=3), question=rows, data=st.data())
def test_scores_are_the_products_of_dense_matrices(
    parts: list[np.ndarray], question: list[float], data: Any
) -> None:
    whole = np.concatenate(parts)
    keep = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole))), bool
    )
    kept = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole))), bool
    )
    k = data.draw(st.integers(1, 12))
    vector = np.array(question, np.float32)
    terms = vector.nonzero()[0]
    # Joined in small blocks, and passages dropped afterwards.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 3)
        postings = Postings.joined([of(part) for part in parts]).kept(keep)
    matrix, kept = whole[keep], kept[keep]
    scores = matrix @ vector
    hits = ((matrix != 0) & (vector != 0)).any(axis=1) & kept
    places, sums = postings.search(terms.tolist(), k, kept, vector[terms])
    expected = np.flatnonzero(hits)
    if len(expected) > k:
        expected = expected[scores[expected] >= np.sort(scores[expected])[-k]]
    order = np.argsort(places)
    assert np.array_equal(places[order], expected)
    assert np.array_equal(sums[order], scores[expected])


def test_parts_of_unlike_signs_are_signed() -> None:
    first, second = of(np.array([[1.0]], np.float32)), of(np.array([[-1.0]], np.float32))
    assert not first.signed
    both = Postings.joined([first, second])
    assert both.signed
    places, sums = both.search([0], 2, None, np.array([2.0], np.float32))
    assert dict(zip(places.tolist(), sums.tolist(), strict=True)) == {0: 2.0, 1: -2.0}
    assert not both.kept(np.array([True, False])).signed


@pytest.mark.parametrize("floor", [None, 3.0, 1e7])
@pytest.mark.parametrize("signed", [False, True])
def test_looking_only_at_holders_finds_what_looking_at_all_finds(
    floor: float | None, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(3)
    # Few values, so that many passages tie.
    matrix = drawn.integers(-8 if signed else 1, 9, (3000, TERMS)).astype(np.float32) / 8
    matrix[drawn.random(matrix.shape) < 0.7] = 0
    floors = None if floor is None else np.full(TERMS, floor, np.float32)
    postings = replace(of(matrix), floors=floors)
    assert postings.signed == signed
    for terms in ([0], [5, 2], [1, 1, 4], list(range(TERMS))):
        for k in (1, 7, 40, 2999):
            for kept in (None, drawn.random(3000) < 0.3, np.zeros(3000, bool)):
                hits = []
                for sparse in (0, 1 << 40):
                    monkeypatch.setattr(module, "_SPARSE", sparse)
                    places, sums = postings.search(terms, k, kept)
                    order = np.argsort(places)
                    hits.append((places[order], sums[order]))
                (places, sums), (expected, scores) = hits
                assert np.array_equal(places, expected)
                assert np.array_equal(sums, scores)


def test_no_terms_have_no_hits() -> None:
    places, sums = of(np.ones((9, TERMS), np.float32)).search([], 3, None)
    assert (len(places), len(sums)) == (0, 0)
