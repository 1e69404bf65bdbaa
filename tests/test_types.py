"""Which hits are refused, few and many: few are compared in Python, many by numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from ragcore.errors import ComponentError
from ragcore.types import MISSING_ROW, Hits

SHAPES = [(1, 4), (3, 4), (1, 500), (70, 4)]

Arrays = tuple[np.ndarray, np.ndarray]


def valid(shape: tuple[int, int]) -> Arrays:
    count, k = shape
    rows = np.arange(count * k, dtype=np.int64).reshape(shape)
    return rows, np.broadcast_to(-np.arange(k, dtype=np.float32), shape).copy()


@pytest.mark.parametrize("shape", [*SHAPES, (0, 4), (2, 0)])
def test_hits_in_order_are_accepted(shape: tuple[int, int]) -> None:
    rows, scores = valid(shape)
    assert Hits(rows, scores).rows is rows
    assert Hits(rows, np.zeros(shape, np.float32)).scores.shape == shape


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first", [0, 1, 3])
def test_missing_hits_are_accepted_at_the_end(shape: tuple[int, int], first: int) -> None:
    rows, scores = valid(shape)
    rows[-1, first:], scores[-1, first:] = MISSING_ROW, -math.inf
    assert (Hits(rows, scores).rows[-1, first:] == MISSING_ROW).all()


def put(value: float, column: int) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[1][-1, column] = value

    return change


def lose(column: int, score: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[0][-1, column], arrays[1][-1, column] = MISSING_ROW, score

    return change


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(math.nan, 0), "NaN"),
        (put(math.nan, 2), "NaN"),
        (put(math.nan, 3), "NaN"),
        (put(math.inf, 0), "finite score"),
        (put(-math.inf, -1), "finite score"),
        (put(5, 1), "not sorted"),
        (put(5, -1), "not sorted"),
        (lose(-1, -900), "finite score"),
        (lose(1, -1), "finite score"),
        (lose(1, -math.inf), "not sorted"),
    ],
)
def test_hits_that_break_the_contract_are_refused(
    shape: tuple[int, int], change: Callable[[Arrays], None], message: str
) -> None:
    arrays = valid(shape)
    change(arrays)
    with pytest.raises(ComponentError, match=message):
        Hits(*arrays)
