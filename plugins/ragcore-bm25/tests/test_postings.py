"""The best of many scores, and counts in many parts, against the plainest way to get them."""

from __future__ import annotations

import doctest
import itertools
from typing import get_args

import numpy as np
import pytest
from ragcore_bm25 import variants
from ragcore_bm25.config import Variant
from ragcore_bm25.counts import Counts
from ragcore_bm25.postings import build_postings
from ragcore_bm25.variants import Formula

from ragcore import postings
from ragcore.postings import best


@pytest.mark.parametrize("floor", [0.0, 3.0, 1e8])
@pytest.mark.parametrize("nothing", [0.0, -np.inf])
@pytest.mark.parametrize("size", [1, 127, 128, 700, 5000])
@pytest.mark.parametrize("share", [0.002, 0.5, 1.0])
def test_the_best_are_those_of_a_full_sort(
    size: int, share: float, nothing: float, floor: float
) -> None:
    drawn = np.random.default_rng(size)
    # Rounded, so that many tie.
    scores = (drawn.integers(1, 40, size) / 8).astype(np.float32)
    if nothing < 0:
        scores -= 2
    scores[drawn.random(size) >= share] = nothing
    for k in (1, 3, 10, 80):
        places, found = best(scores, k, np.float32(nothing), np.float32(floor))
        hits = np.flatnonzero(scores > nothing)
        expected = scores[hits] + np.float32(floor)
        if len(hits) > k:
            least = np.sort(expected)[-k]
            hits, expected = hits[expected >= least], expected[expected >= least]
        assert np.array_equal(places, hits)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("variant", ["lucene", "okapi", "bm25l"])
def test_neither_blocks_nor_parts_change_a_score(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(0)
    lengths = drawn.integers(0, 30, 200).astype(np.int32)
    tokens = np.minimum(drawn.zipf(1.5, lengths.sum()), 90).astype(np.int32)
    formula = Formula(variant, 1.2, 0.75, 0.5, 0.25)
    whole = build_postings(Counts.of(tokens, lengths, 100), formula)
    cuts = [0, 1, 50, 50, 200]
    ends = np.concatenate(([0], np.cumsum(lengths)))
    parts = [
        Counts.of(tokens[ends[a] : ends[b]], lengths[a:b], 91 + (a > 0))
        for a, b in itertools.pairwise(cuts)
    ]
    monkeypatch.setattr(postings, "_BLOCK", 7)
    joined = build_postings(Counts.joined(parts, 100), formula)
    assert np.array_equal(joined.weights, whole.weights)
    assert np.array_equal(joined.floors, whole.floors)
    assert np.array_equal(joined.positions, whole.positions)
    assert np.array_equal(joined.bounds, whole.bounds)


@pytest.mark.parametrize("variant", get_args(Variant))
def test_a_term_s_weight_depends_on_no_numbering_and_on_no_term_without_passages(
    variant: Variant,
) -> None:
    formula = Formula(variant, 1.2, 0.75, 0.5, 0.25)
    drawn = np.random.default_rng(0)
    holders = np.maximum(drawn.integers(-200, 1000, 500), 0)
    weights = formula.weights(holders, 1000)
    for _ in range(20):
        order = drawn.permutation(500)
        order = order[(holders[order] > 0) | (drawn.random(500) < 0.5)]
        assert np.array_equal(formula.weights(holders[order], 1000), weights[order])
    assert not weights[holders == 0].any()


def test_the_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(variants) == doctest.TestResults(failed=0, attempted=1)
