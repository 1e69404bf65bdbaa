"""A filter on columns means what it means on metadata, or is not expressed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.filters.evaluation import RowFilter
from ragcore.filters.expressions import read_where
from ragcore.filters.predicates import (
    LONGEST_TEXT,
    Compare,
    OneOf,
    Present,
    columns_of,
    metadata_of,
    predicate_of,
    written,
)

COLUMNS = {"lang": "text", "year": "int"}
LAST = (1 << 63) - 1

texts = st.text(st.sampled_from("ab%_'\"\\é\ud7ff\ue000\uffff\U0010ffff"), max_size=3)
numbers = st.sampled_from([0, 1, -1, 2016, LAST, -LAST])
operands = (
    texts
    | st.sampled_from(["\0", "a\0", "\ud800", "x" * (LONGEST_TEXT + 1)])
    | numbers
    | st.sampled_from([LAST + 1, -LAST - 1, 1 << 90, 0.5, -0.5, 2016.0, 1e30, -1e30, -0.0])
)
scalars = operands | st.booleans() | st.none()
lists = st.lists(scalars, min_size=1, max_size=3)
conditions = (
    scalars
    | st.dictionaries(st.sampled_from(["eq", "ne"]), scalars, min_size=1)
    | st.dictionaries(st.sampled_from(["lt", "lte", "gt", "gte"]), operands, min_size=1)
    | st.dictionaries(st.sampled_from(["in", "any", "all"]), lists, min_size=1)
    | st.fixed_dictionaries({"exists": st.booleans()})
    | st.fixed_dictionaries({"prefix": texts | st.sampled_from(["\0", "\ud800"])})
)
filters = st.recursive(
    st.dictionaries(st.sampled_from(list(COLUMNS)), conditions, min_size=1, max_size=2),
    lambda inner: (
        st.fixed_dictionaries({"not": inner})
        | st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)})
    ),
    max_leaves=4,
)
fitting = st.fixed_dictionaries(
    {}, optional={"lang": texts, "year": numbers | st.sampled_from([2.0, -3.0])}
)


class Listed:
    def __init__(self, metadata: Sequence[Mapping[str, Any]]) -> None:
        self._metadata = list(metadata)

    def __len__(self) -> int:
        return len(self._metadata)

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        yield self._metadata


def selected(expression: str, parameters: list[Any], columns: Sequence[Sequence[Any]]) -> list[int]:
    """Return the rows that a real database selects."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table t (row integer, lang text, year integer)")
        lines = zip(range(len(columns[0])), *columns, strict=True)
        database.executemany("insert into t values (?, ?, ?)", lines)
        found = database.execute(f"select row from t where {expression} order by row", parameters)
        return [row for (row,) in found]


@settings(max_examples=300, deadline=None)
@given(filters, st.lists(fitting, min_size=1, max_size=8))
def test_a_predicate_selects_what_the_filter_allows(
    expression: dict[str, Any], metadata: list[dict[str, Any]]
) -> None:
    where = read_where(expression)
    columns, unfit = columns_of(COLUMNS, metadata)
    assert not unfit
    predicate = predicate_of(where, COLUMNS)
    if predicate is None:
        # Only what no database takes as a parameter is left to the memory.
        assert "\\x00" in repr(expression) or "\\ud800" in repr(expression)
        return
    parameters: list[Any] = []

    def spell(leaf: Present | OneOf | Compare) -> str:
        match leaf:
            case Present():
                return f"{leaf.field} is not null"
            case OneOf():
                parameters.extend(leaf.values)
                marks = ", ".join("?" * len(leaf.values))
                return f"coalesce({leaf.field} in ({marks}), 0)"
            case Compare():
                parameters.append(leaf.value)
                return f"coalesce({leaf.field} {leaf.operator} ?, 0)"

    text = written(predicate, spell)
    assert selected(text, parameters, columns) == RowFilter(Listed(metadata)).rows(where).tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*COLUMNS, "other"]), scalars | lists), max_size=5))
def test_columns_survive_a_second_time(metadata: list[dict[str, Any]]) -> None:
    columns, unfit = columns_of(COLUMNS, metadata)
    again = metadata_of(COLUMNS, list(zip(*columns, strict=True)), unfit)
    columns_again, unfit_again = columns_of(COLUMNS, again)
    assert columns_again == columns
    # Unfit fields are so again: a value that does not fit leaves its passage without one.
    assert unfit_again == unfit


@pytest.mark.parametrize(
    "expression",
    [
        {"country": "Chad"},
        {"lang": "de", "country": "Chad"},
        {"or": [{"lang": "de"}, {"not": {"country": "Chad"}}]},
        {"$id": "p1"},
        {"$title": {"prefix": "p"}},
    ],
)
def test_filters_on_other_fields_are_not_expressed(expression: dict[str, Any]) -> None:
    columns = {**COLUMNS, "$id": "text", "$title": "text"}
    assert predicate_of(read_where(expression), columns) is None


@pytest.mark.parametrize("value", [[], ["a"], {}, None, True, "x" * (LONGEST_TEXT + 1), "a\0", 1])
def test_a_value_that_is_no_text_makes_its_field_unfit(value: object) -> None:
    columns, unfit = columns_of(COLUMNS, [{"lang": "a"}, {"lang": value}, {"year": 1}])
    assert unfit == {"lang"}
    assert columns == [["a", None, None], [None, None, 1]]


@pytest.mark.parametrize("value", [[1], None, False, "1", 1.5, 1e30, LAST + 1, np.inf])
def test_a_value_that_is_no_whole_number_makes_its_field_unfit(value: object) -> None:
    assert columns_of(COLUMNS, [{"year": value}]) == ([[None], [None]], {"year"})
