"""Laws of indexes that evaluate filters on columns of metadata (capability `where`).

They hold for any fields: a spec without columns is not tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ragcore.filters.evaluation import RowFilter
from ragcore.filters.expressions import Filter, read_where
from ragcore.testing.hits import agree
from ragcore.testing.search_suite import SearchSuite
from ragcore.types import MISSING_ROW

__all__ = ["FilterLaws"]

_VALUES: Final[Mapping[str, tuple[Any, ...]]] = {
    "text": ("", "a", "b", "B", "bc", "c'\"\\%_", "Ünï", "\U0001f600", "\uffff"),
    "int": (0, 1, -1, 2016, 2017.0, -(1 << 62), (1 << 63) - 1),
}
_OPERANDS: Final = (*_VALUES["text"], *_VALUES["int"], 2016.5, -0.5, 1e30, -(1 << 70), True, None)


class _Listed:
    """Metadata that a filter reads."""

    def __init__(self, metadata: Sequence[Mapping[str, Any]]) -> None:
        self._metadata = list(metadata)

    def __len__(self) -> int:
        return len(self._metadata)

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield all of them."""
        yield self._metadata

    def column(self, name: str) -> Any:
        """Refuse: no filter of the laws is on ids or titles."""
        raise NotImplementedError(name)


class FilterLaws(SearchSuite):
    """Test that a filter means in the index what it means in a memory."""

    def test_filters_mean_the_same_in_the_index(self, component: Any, tmp_path: Path) -> None:
        """A search by a filter that the index expresses finds what a search of its rows finds.

        Also after it was saved. Passages lack some of the fields. Capability `where`.

        Fix: a missing field meets no condition but `exists: false`, and `not` inverts that; texts
        compare by code point; values of another type are not equal, and neither less nor greater.
        """
        index = self._with_columns(component)
        metadata = self._metadata(index.columns, self.count)
        world = self.world()
        index.add_with_metadata(world.rows, world.items, metadata)
        whole = RowFilter(_Listed(metadata))
        (tmp_path / "saved").mkdir()
        index.save(tmp_path / "saved")
        for each in (index, self.load(component, tmp_path / "saved")):
            expressed = 0
            for where in self._filters(index.columns):
                if not each.expresses(where):
                    continue
                expressed += 1
                allowed = world.rows[whole.rows(where)]
                hits = each.search_where(self.questions(), self.k, where)
                outside = np.setdiff1d(hits.rows[hits.rows != MISSING_ROW], allowed)
                assert not len(outside), f"{where} allows no row {outside[0]}, which is found"
                expected = self.search(each, allowed=allowed)
                if "exact" in each.capabilities:
                    agree(hits, expected, f"by {where}, and by its rows")
                else:
                    counts = [(found.rows != MISSING_ROW).sum() for found in (hits, expected)]
                    assert counts[0] == counts[1], f"{where} has {counts[0]} hits, not {counts[1]}"
            assert expressed, "no filter of the laws is expressed"

    def test_values_that_fit_no_column_are_not_expressed(self, component: Any) -> None:
        """Once a field has a value of another type, no filter on it is evaluated by the index.

        What `metadata` returns brings that along to another index. Capability `where`.

        Fix: note fields of which a value was not stored, or store what tells them apart.
        """
        world = self.world()
        for field, kind in self._with_columns(component).columns.items():
            where = read_where({"not": {field: {"eq": _VALUES[kind][1]}}})
            unfit: tuple[Any, ...] = (["a"], None, {}, True, 2016 if kind == "text" else "2016")
            for value in unfit:
                index = self._with_columns(component)
                # Whether or not the field was fit before.
                half = self.count // 2
                index.add_with_metadata(*world.take(slice(0, half)).pair, [{}] * half)
                assert index.expresses(where), f"{where} is not expressed"
                metadata = [{field: value}, *[{}] * (self.count - half - 1)]
                index.add_with_metadata(*world.take(slice(half, None)).pair, metadata)
                other = self._with_columns(component)
                other.add_with_metadata(*world.pair, index.metadata(world.rows))
                for each in (index, other):
                    assert not each.expresses(where), f"{where} is expressed, with {value!r} there"

    def test_metadata_build_an_equal_index(self, component: Any) -> None:
        """An index built from `vectors` and `metadata` of another finds the same by filters.

        Fix: return the values of the rows asked for, in their order, and no field that a row lacks.
        Capability `where`.
        """
        index = self._with_columns(component)
        metadata = self._metadata(index.columns, self.count)
        world = self.world()
        index.add_with_metadata(*world.pair, metadata)
        order = np.random.default_rng(3).permutation(self.count)
        returned = index.metadata(world.rows[order])
        for where in self._filters(index.columns):
            expected, found = (
                RowFilter(_Listed(each)).rows(where)
                for each in ([metadata[position] for position in order], returned)
            )
            assert np.array_equal(found, expected), (
                f"metadata() returned others: by {where} they differ"
            )

    def _with_columns(self, component: Any) -> Any:
        """Return an empty index, if it has columns."""
        index = self.empty(component)
        self.needs(index, "where")
        return index

    def _metadata(self, columns: Mapping[str, str], count: int) -> list[dict[str, Any]]:
        """Draw values of the fields, some of which are missing, and of another field."""
        rng = np.random.default_rng(11)
        metadata: list[dict[str, Any]] = [{"other field": number} for number in range(count)]
        for field, kind in columns.items():
            values = _VALUES[kind]
            for number, each in enumerate(metadata):
                if (drawn := rng.integers(len(values) + 2)) < len(values) and number:
                    each[field] = values[drawn]
        return metadata

    def _filters(self, columns: Mapping[str, str]) -> Iterator[Filter]:
        """Yield filters of all operators on the fields, and some that combine them."""
        both: list[dict[str, Any]] = []
        for field, kind in columns.items():
            values = list(_VALUES[kind])
            conditions: list[dict[str, Any]] = [
                {"eq": values[1]},
                {"ne": values[2]},
                {"lt": values[3]},
                {"lte": values[3]},
                {"gt": values[2]},
                {"gte": values[2]},
                {"in": [values[1], values[4], None, True, "2016", 2016, 2016.0]},
                {"any": values[2:5]},
                {"all": [values[5]]},
                {"all": values[2:4]},
                {"exists": True},
                {"exists": False},
                {"prefix": "b"},
                {"prefix": ""},
                {"prefix": "\uffff"},
                {"eq": "\0"},
                *({"eq": each} for each in _OPERANDS),
                *({"lt": each} for each in _OPERANDS if each is not None and each is not True),
                *({"gte": each} for each in _OPERANDS if each is not None and each is not True),
            ]
            for condition in conditions:
                both.append({field: condition})
                yield read_where({field: condition})
            yield read_where({"not": {field: {"eq": values[1]}}})
            yield read_where({"not": {"not": {field: {"exists": False}}}})
        yield read_where({"or": both[::7]})
        yield read_where({"and": [both[1], {"not": {"or": [both[-3], both[0]]}}]})
