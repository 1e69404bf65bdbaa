"""Evaluate filters: the rows that a filter allows, from columns of the passages' metadata.

Knows filters and metadata; knows nothing of retrievers. A passage's metadata is on disk as JSON,
and reading a million of them takes seconds. So each field becomes a column when a filter first
names it: the field's distinct values, and for each row the number of its value. A comparison is
then evaluated once per distinct value, and the rows of the last few filters are cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ragcore.filters.expressions import AllOf, AnyOf, FieldCondition, Filter, Not
from ragcore.process.fork import new_lock

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

    Mask = npt.NDArray[np.bool_]

__all__ = ["RowFilter"]

CACHED_FILTERS: Final = 8
"""Number of filters whose rows are cached; each takes eight bytes per row that it allows."""

ABSENT: Final = 0
"""Number of the value of rows whose passage lacks the field."""


class MetadataSource(Protocol):
    """The part of `Passages` that a filter reads."""

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
        self._cache: OrderedDict[str, Rows] = OrderedDict()
        self._lock = new_lock()

    def rows(self, where: Filter) -> Rows:
        """Return the rows that a filter allows, ascending, int64 [n]; read-only.

        Raises:
            StoreError: the passages are closed.
        """
        # The text is the key: as values True and 1 are equal, as filters they are not.
        key = repr(where)
        with self._lock:
            if key not in self._cache:
                self._add_columns(_fields(where) - self._columns.keys())
                rows = np.flatnonzero(self._mask(where)).astype(np.int64, copy=False)
                rows.flags.writeable = False
                self._cache[key] = rows
                if len(self._cache) > CACHED_FILTERS:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(key)
            return self._cache[key]

    def _mask(self, where: Filter) -> Mask:
        match where:
            case FieldCondition():
                return self._columns[where.field].mask(where)
            case Not():
                return ~self._mask(where.part)
            case AllOf() | AnyOf():
                combine = np.logical_and if isinstance(where, AllOf) else np.logical_or
                mask: Mask = combine.reduce([self._mask(part) for part in where.parts])
                return mask

    def _add_columns(self, fields: set[str]) -> None:
        """Build the columns of fields; reads all metadata once."""
        if not fields:
            return
        columns = {field: _ColumnBuilder(len(self._passages)) for field in fields}
        row = 0
        for batch in self._passages.metadata():
            for metadata in batch:
                if metadata:
                    for field, column in columns.items():
                        if field in metadata:
                            column.put(row, metadata[field])
                row += 1
        self._columns |= {field: column.build() for field, column in columns.items()}


def _fields(where: Filter) -> set[str]:
    """Return the fields that a filter names."""
    match where:
        case FieldCondition():
            return {where.field}
        case Not():
            return _fields(where.part)
        case AllOf() | AnyOf():
            return set[str]().union(*map(_fields, where.parts))


@dataclass(frozen=True, slots=True)
class _Column:
    """One field: its v distinct values, and the number of each row's value, int32 [n]."""

    values: list[object]
    numbers: npt.NDArray[np.int32]

    def mask(self, condition: FieldCondition) -> Mask:
        holds = np.fromiter(map(condition.holds, self.values), np.bool_, len(self.values))  # [v]
        holds[ABSENT] = False
        mask: Mask = holds[self.numbers]  # [n]
        return mask


class _ColumnBuilder:
    """A column that is being filled."""

    def __init__(self, rows: int) -> None:
        self._numbers = np.zeros(rows, np.int32)
        self._number_of: dict[tuple[type, object], int] = {}
        # The first value stands for an absent field; no key has its number.
        self._values: list[object] = [None]

    def put(self, row: int, value: Any) -> None:
        # All lists and mappings meet the same conditions, so they count as one value.
        value = () if isinstance(value, list | dict) else value
        key = (type(value), value)
        number = self._number_of.get(key)
        if number is None:
            number = self._number_of[key] = len(self._values)
            self._values.append(value)
        self._numbers[row] = number

    def build(self) -> _Column:
        return _Column(self._values, self._numbers)
