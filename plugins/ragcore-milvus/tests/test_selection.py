"""Filters of rows: what is allowed, written in as few numbers as can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_milvus import selection as selection_module
from ragcore_milvus.selection import Selection, selections

ROWS = st.sets(st.integers(0, 60), min_size=1)


def selected(selection: Selection, rows: set[int]) -> set[int]:
    """Return those of the rows for which the expression is true; Python reads it as Milvus does."""
    expression = selection.expression or "True"
    return {row for row in rows if eval(expression, {"row": row})}


def chosen(rows: set[int], allowed: set[int] | None) -> list[Selection]:
    array = None if allowed is None else np.array(sorted(allowed, reverse=True), np.int64)
    return list(selections(min(rows), max(rows), len(rows), array))


@given(rows=ROWS, allowed=st.none() | st.sets(st.integers(0, 70)), most=st.integers(1, 9))
def test_selections_have_each_allowed_row_once(
    rows: set[int], allowed: set[int] | None, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection_module, "_MOST_LISTED", most)
        parts = [(each, selected(each, rows)) for each in chosen(rows, allowed)]
    together = [row for _, part in parts for row in part]
    assert sorted(together) == sorted(rows if allowed is None else rows & allowed)
    assert all(len(part) <= each.most for each, part in parts)


@given(rows=ROWS, allowed=st.none() | st.sets(st.integers(0, 70)))
def test_halves_are_smaller_and_have_the_same_rows(
    rows: set[int], allowed: set[int] | None
) -> None:
    for whole in chosen(rows, allowed):
        if whole.most < 2:
            continue
        lower, higher = whole.halves()
        low, high = selected(lower, rows), selected(higher, rows)
        assert low | high == selected(whole, rows)
        assert max(low, default=-1) < min(high, default=61)
        assert lower.last - lower.first < whole.last - whole.first


@pytest.mark.parametrize(
    ("allowed", "expression"),
    [
        (range(100), ""),
        (range(10, 90), "row >= 10 and row <= 89"),
        ([5, 1, 5, 200], "row in [1,5]"),
        ([row for row in range(100) if row not in (7, 9)], "row not in [7,9]"),
    ],
)
def test_the_shortest_way_to_write_it_is_taken(allowed: list[int], expression: str) -> None:
    (only,) = selections(0, 99, 100, np.array(allowed, np.int64))
    assert only.expression == expression


def test_what_is_not_allowed_is_listed_only_where_it_is_known() -> None:
    # Rows 0, 2, 4, …: those between them are not there, and need not be left out.
    (only,) = selections(0, 198, 100, np.arange(0, 190, 2))
    assert only.expression.startswith("row in [0,2,")
