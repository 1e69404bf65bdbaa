"""Evaluate filters: the rows that a filter allows, and what its user should know of it.

Knows filters and metadata; knows nothing of retrievers. A field of metadata becomes a column when a
filter first names it (`columns.py`), and the rows of the last few filters are cached. Ids and
titles are compared where they are stored.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import numpy as np

from ragcore.errors import nearest
from ragcore.filters.columns import Column, ColumnBuilder, mask_of_strings
from ragcore.filters.expressions import (
    OWN_FIELDS,
    AllOf,
    AnyOf,
    FieldCondition,
    Filter,
    Not,
    typed,
)
from ragcore.process.fork import new_lock

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

    Mask = npt.NDArray[np.bool_]

__all__ = ["RowFilter"]

CACHED_FILTERS: Final = 8
"""Number of filters whose rows are cached; each takes eight bytes per row that it allows."""

MOST_FIELDS: Final = 1000
"""Number of fields whose names are kept; metadata with more of them are keyed by data."""

_FEW_FIELDS: Final = 8
"""Number of fields that a note lists."""
_FEW_VALUES: Final = 2
"""Number of values that a note lists."""
_KINDS: Final = {
    "boolean": "true or false",
    "list": "a list",
    "mapping": "a mapping",
    "null": "null",
    "number": "a number",
    "string": "text",
}
"""Types of values in plain words."""
_MOST_UNKNOWN: Final = 20
"""Number of unknown fields that notes name."""
_LONGEST_NAME: Final = 100
"""Characters of a field's name that a note shows."""


class MetadataSource(Protocol):
    """The part of `Passages` that a filter reads."""

    def __len__(self) -> int:
        """Return the number of passages."""
        ...

    def metadata(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the metadata of all passages by row, in batches."""
        ...

    def column(self, name: Literal["id", "title"]) -> Any:
        """Return the ids or the titles of all passages by row, a `pyarrow.ChunkedArray`."""
        ...


class _Result(NamedTuple):
    rows: Rows
    notes: tuple[str, ...]


class RowFilter:
    """Filters over the passages of one version; safe to use from several threads."""

    def __init__(self, passages: MetadataSource) -> None:
        self._passages = passages
        self._columns: dict[str, Column] = {}
        # The names of all fields, once the metadata were read; None where they are too many.
        self._names: set[str] | None = None
        self._has_read = False
        self._cache: OrderedDict[str, _Result] = OrderedDict()
        self._lock = new_lock()

    def rows(self, where: Filter) -> Rows:
        """Return the rows that a filter allows, ascending, int64 [n]; read-only.

        Raises:
            StoreError: the passages are closed.
        """
        return self._result(where).rows

    def notes(self, where: Filter) -> tuple[str, ...]:
        """Return what a filter's user should know: fields that no passage has, and no row allowed.

        Sentences for people; they quote names from the filter and from metadata.

        Raises:
            StoreError: the passages are closed.
        """
        return self._result(where).notes

    def _result(self, where: Filter) -> _Result:
        # The text is the key: as values True and 1 are equal, as filters they are not.
        key = repr(where)
        with self._lock:
            if key not in self._cache:
                fields = {condition.field for condition in _conditions(where)} - OWN_FIELDS.keys()
                self._add_columns(fields - self._columns.keys())
                rows = np.flatnonzero(self._mask(where)).astype(np.int64, copy=False)
                rows.flags.writeable = False
                self._cache[key] = _Result(rows, self._notes(where, fields, len(rows)))
                if len(self._cache) > CACHED_FILTERS:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(key)
            return self._cache[key]

    def _mask(self, where: Filter) -> Mask:
        match where:
            case FieldCondition(field=field) if field in OWN_FIELDS:
                return mask_of_strings(self._passages.column(OWN_FIELDS[field]), where)
            case FieldCondition(field=field):
                column = self._columns.get(field) or Column.absent(len(self._passages))
                return column.mask(where)
            case Not():
                return ~self._mask(where.part)
            case AllOf() | AnyOf():
                combine = np.logical_and if isinstance(where, AllOf) else np.logical_or
                mask: Mask = combine.reduce([self._mask(part) for part in where.parts])
                return mask

    def _add_columns(self, fields: set[str]) -> None:
        """Build the columns of fields that some passage has; reads all metadata once."""
        if self._names is not None:
            fields = fields & self._names
        if not fields:
            return
        columns = {field: ColumnBuilder(len(self._passages)) for field in fields}
        present: set[str] = set()
        names: set[str] | None = None if self._has_read else set()
        row = 0
        for batch in self._passages.metadata():
            for metadata in batch:
                if metadata:
                    for field, column in columns.items():
                        if field in metadata:
                            column.put(row, metadata[field])
                            present.add(field)
                    if names is not None and not metadata.keys() <= names:
                        names |= metadata.keys()
                        names = names if len(names) <= MOST_FIELDS else None
                row += 1
        if not self._has_read:
            self._names, self._has_read = names, True
        # A field that no passage has needs no column: questions may name any number of them.
        self._columns |= {field: columns[field].build() for field in present}

    def _notes(self, where: Filter, fields: set[str], allowed: int) -> tuple[str, ...]:
        unknown = sorted(fields - self._columns.keys())
        notes = [self._unknown(field) for field in unknown[:_MOST_UNKNOWN]]
        if more := len(unknown) - len(notes):
            notes.append(f"no passage has {more:,} more fields that the filter names")
        if not allowed:
            # Each once, in the filter's order.
            unmet = dict.fromkeys(filter(None, map(self._unmet, _conditions(where))))
            notes += list(unmet)[:_MOST_UNKNOWN]
            count = len(self._passages)
            them = f"none of the {count:,} passages" if count > 1 else "no passage"
            notes.append(f"the filter allows {them}")
        return tuple(notes)

    def _unmet(self, condition: FieldCondition) -> str | None:
        """Say why no passage can meet a condition; None where its field is unknown, or some can."""
        column, name = self._columns.get(condition.field), _quoted(condition.field)
        wanted = _kinds_for(condition)
        if column is None or not wanted:
            return None
        kinds = column.kinds(in_lists=condition.operator in ("any", "all"))
        if kinds.isdisjoint(wanted):
            count, total = column.count(), len(self._passages)
            where = (
                f"all {total:,} passages" if count == total else f"{count:,} of {total:,} passages"
            )
            return f"{name} is {_named(kinds)} in {where}, and the filter has {_named(wanted)}"
        if condition.operator == "prefix" and not column.mask(condition).any():
            texts = column.texts(_FEW_VALUES + 1)
            examples = ", ".join(map(_quoted, texts[:_FEW_VALUES]))
            more = ", …" if len(texts) > _FEW_VALUES else ""
            return (
                f"no value of {name} begins with {_quoted(str(condition.value))}: there are "
                f"{examples}{more}"
            )
        return None

    def _unknown(self, field: str) -> str:
        """Say that no passage has a field, and which one may be meant."""
        message = f"no passage has the field {_quoted(field)}"
        if f"${field}" in OWN_FIELDS:
            return f"{message}: the passage's own {field} is '${field}'"
        names = sorted(self._names or self._columns)
        close = nearest(field[:_LONGEST_NAME], [*names, *OWN_FIELDS])
        if close is not None:
            return f"{message}: did you mean {_quoted(close)}?"
        if not names:
            return f"{message}: passages have no metadata" if self._names is not None else message
        more = ", …" if len(names) > _FEW_FIELDS or self._names is None else ""
        return f"{message}: there are {', '.join(map(_quoted, names[:_FEW_FIELDS]))}{more}"


def _conditions(where: Filter) -> Iterator[FieldCondition]:
    """Yield the conditions of a filter, in its order."""
    match where:
        case FieldCondition():
            yield where
        case Not():
            yield from _conditions(where.part)
        case AllOf() | AnyOf():
            for part in where.parts:
                yield from _conditions(part)


def _kinds_for(condition: FieldCondition) -> set[str]:
    """Return the types that a value must have to meet a condition; none where any type does."""
    match condition.operator:
        case "exists":
            return set()
        case "in" | "any" | "all":
            return {kind for kind, _ in condition.wanted()}
    # `ne` is met by a value of another type, too.
    kind = None if condition.operator == "ne" else typed(condition.value)
    return set() if kind is None else {kind[0]}


def _named(kinds: set[str]) -> str:
    """Name types in plain words."""
    return " or ".join(_KINDS[kind] for kind in sorted(kinds))


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")
