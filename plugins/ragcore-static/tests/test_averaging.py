"""The average of token vectors is the mean, and does not depend on the other texts."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_static as tiny
from hypothesis import given
from hypothesis import strategies as st
from ragcore_static.averaging import average

VECTORS = tiny.draw(50, 7)
ROWS = np.random.default_rng(2).integers(0, 50, 80)
WEIGHTS = np.random.default_rng(3).uniform(0, 2, 80).astype(np.float32)

# Long texts take several pieces, and several of them several blocks.
LENGTHS = st.lists(st.sampled_from([0, 1, 2, 5, 1023, 1024, 1025, 3000, 5000]), max_size=9)


def texts(lengths: list[int], size: int) -> list[list[int]]:
    rng = np.random.default_rng(sum(lengths))
    return [rng.integers(0, size, length).tolist() for length in lengths]


@given(LENGTHS, st.sampled_from([None, 0, 7]))
def test_it_is_the_mean_of_the_known_tokens(lengths: list[int], unknown: int | None) -> None:
    ids = texts(lengths, 50)
    means = average(ids, VECTORS, unknown=unknown)
    assert means.shape == (len(ids), 7)
    assert means.dtype == np.float32
    for mean, numbers in zip(means, ids, strict=True):
        known = [number for number in numbers if number != unknown]
        expected = VECTORS[known].astype(np.float64).mean(axis=0) if known else np.zeros(7)
        assert mean == pytest.approx(expected, abs=1e-5)


@given(LENGTHS)
def test_rows_and_weights_belong_to_tokens(lengths: list[int]) -> None:
    ids = texts(lengths, 80)
    each = (VECTORS[ROWS] * WEIGHTS[:, None]).astype(np.float32)
    assert np.allclose(average(ids, VECTORS, ROWS, WEIGHTS), average(ids, each), atol=1e-6)


@given(LENGTHS)
def test_a_text_has_the_same_vector_alone_to_the_last_bit(lengths: list[int]) -> None:
    ids = texts(lengths, 50)
    means = average(ids, VECTORS, unknown=3)
    for mean, numbers in zip(means, ids, strict=True):
        assert np.array_equal(average([numbers], VECTORS, unknown=3)[0], mean)
