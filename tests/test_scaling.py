"""Scales of vectors, and when they can be left out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragcore.scaling import in_range, need_no_scale, scales

NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 2.0**-6, 2.0**-7, 1.0, 1e18, -1e18, 7e17])


@given(arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(1, 5)), elements=NUMBERS))
def test_vectors_that_need_no_scale_are_in_range_and_have_none(vectors: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unscaled = need_no_scale(vectors)
    if unscaled:
        assert in_range(vectors)
        assert (scales(vectors) == 1).all()


@pytest.mark.parametrize("count", [1, 2, 64])
@pytest.mark.parametrize("length", [0.05, 1, 1e4, 1e17])
def test_ordinary_vectors_need_no_scale(count: int, length: float) -> None:
    vectors = np.random.default_rng(0).standard_normal((count, 384))
    vectors *= length / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert need_no_scale(vectors.astype(np.float32))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("number", [0, 1e-3, 1e18, np.nan, np.inf])
def test_one_vector_of_several_decides(count: int, number: float) -> None:
    vectors = np.ones((count, 8), np.float32)
    vectors[-1] = number
    assert not need_no_scale(vectors)
