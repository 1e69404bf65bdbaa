"""The rows that a filter allows, from columns that are made of the passages' metadata once.

Knows passages and filters, and nothing of retrievers. A passage's metadata lies on disk as JSON;
reading a million of them takes seconds. So each field that a filter names becomes a column when it
is first named: the field's distinct values, and a number for each row that says which of them it
has. A comparison is then made once for each distinct value, and the rows of the last few filters
are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ragcore.filters.expressions import AllOf, AnyOf, FieldCondition, Filter, Not

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

    Mask = npt.NDArray[np.bool_]

__all__ = ["RowFilter"]

CACHED_FILTERS: Final = 8
"""Filters whose rows are kept; each costs eight bytes a row that it allows."""

LACKS: Final = 0
"""The number of a row whose passage lacks the field."""


class MetadataSource(Protocol):
    """Passages, as far as a filter reads them."""

    def __len__(self) -> int:
        """Return the number of passages."""
        ...

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the metadata of all passages by row, in batches."""
        ...


class RowFilter:
    """Filters over the passages of one version; safe to use from several threads."""

    def __init__(self, passages: MetadataSource) -> None:
        self._passages = passages
        self._columns: dict[str, _Column] = {}
        self._kept: OrderedDict[str, Rows] = OrderedDict()
        self._lock = threading.Lock()

    def rows(self, where: Filter) -> Rows:
        """The rows that a filter allows, ascending, int64 [n]; read-only.

        Raises:
            StoreError: the passages are closed.
        """
        # By what it says: as values True and 1 are equal, as filters they are not.
        said = repr(where)
        with self._lock:
            if said not in self._kept:
                self._add_columns(_fields(where) - self._columns.keys())
                rows = np.flatnonzero(self._mask(where)).astype(np.int64, copy=False)
                rows.flags.writeable = False
                self._kept[said] = rows
                if len(self._kept) > CACHED_FILTERS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(said)
            return self._kept[said]

    def _mask(self, where: Filter) -> Mask:
        match where:
            case FieldCondition():
                return self._columns[where.field].mask(where)
            case Not():
                return ~self._mask(where.part)
            case AllOf() | AnyOf():
                both = np.logical_and if isinstance(where, AllOf) else np.logical_or
                mask: Mask = both.reduce([self._mask(part) for part in where.parts])
                return mask

    def _add_columns(self, fields: set[str]) -> None:
        """Read all metadata once, for the fields that are not there yet."""
        if not fields:
            return
        columns = {field: _ColumnMaker(len(self._passages)) for field in fields}
        row = 0
        for batch in self._passages.metadata():
            for metadata in batch:
                if metadata:
                    for field, column in columns.items():
                        if field in metadata:
                            column.put(row, metadata[field])
                row += 1
        self._columns |= {field: column.made() for field, column in columns.items()}


def _fields(where: Filter) -> set[str]:
    """The fields that a filter names."""
    match where:
        case FieldCondition():
            return {where.field}
        case Not():
            return _fields(where.part)
        case AllOf() | AnyOf():
            return set[str]().union(*map(_fields, where.parts))


@dataclass(frozen=True, slots=True)
class _Column:
    """One field: its distinct values, and for each row the place of its own among them."""

    values: list[object]
    numbers: npt.NDArray[np.int32]

    def mask(self, comparison: FieldCondition) -> Mask:
        holds = np.fromiter(map(comparison.holds, self.values), np.bool_, len(self.values))
        holds[LACKS] = False
        taken: Mask = holds[self.numbers]
        return taken


class _ColumnMaker:
    """A column under way."""

    def __init__(self, rows: int) -> None:
        self._numbers = np.zeros(rows, np.int32)
        # The first stands for no value at all; no key leads to it.
        self._places: dict[tuple[type, object], int] = {}
        self._values: list[object] = [None]

    def put(self, row: int, value: Any) -> None:
        # Lists and mappings meet the same comparisons, whatever is in them.
        value = () if isinstance(value, list | dict) else value
        key = (type(value), value)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self._values)
            self._values.append(value)
        self._numbers[row] = place

    def made(self) -> _Column:
        return _Column(self._values, self._numbers)
