"""Read what a collection has of some rows: their vectors, and the values of their columns.

Knows how many rows go in one request; knows nothing of scores, scales, or of what metadata the
values stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np

from ragcore.errors import ComponentError
from ragcore_milvus.collection import LIMIT, Collection
from ragcore_milvus.contents import Contents
from ragcore_milvus.selection import selections

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors

__all__ = ["values_of", "vectors_of"]

_FETCHED: Final = LIMIT // 16
"""Entities whose metadata one request returns: texts of 32,000 digits would take 32 MB."""


def vectors_of(collection: Collection, contents: Contents, rows: Rows) -> Vectors:
    """Return the vectors of rows [n], as they are stored, float32 [n, d].

    Args:
        collection: that has them.
        contents: what the collection has in it.
        rows: int64, ascending, distinct, none below the first or above the last.

    Raises:
        ComponentError: a row is not there.
        StoreCorruptError: the collection was dropped.
        MemoryUnavailableError: Milvus does not answer, or refuses.
    """
    vectors = np.empty((len(rows), contents.dim), np.float32)
    size = Collection.at_once(contents.dim)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        (selection,) = selections(contents.first, contents.last, contents.count, part)
        fetched, values = collection.fetch(selection.expression, contents.dim)
        order = np.argsort(fetched)
        if not np.array_equal(fetched[order], part):
            _refuse_missing(collection, np.setdiff1d(part, fetched)[0])
        vectors[start : start + size] = values[order]
    return vectors


def values_of(
    collection: Collection, contents: Contents, rows: Rows
) -> dict[int, list[str | int | None]]:
    """Return the values of the columns by row.

    Args:
        collection: that has them.
        contents: what the collection has in it.
        rows: int64, ascending, distinct.

    Raises:
        ComponentError: a row is not there.
        StoreCorruptError: the collection was dropped.
        MemoryUnavailableError: Milvus does not answer, or refuses.
    """
    values = dict[int, list[str | int | None]]()
    for start in range(0, len(rows), _FETCHED):
        part = rows[start : start + _FETCHED]
        for selection in selections(contents.first, contents.last, contents.count, part):
            values |= collection.values(selection.expression or "row >= 0")
    missing = [row for row in rows.tolist() if row not in values]
    if missing:
        _refuse_missing(collection, missing[0])
    return values


def _refuse_missing(collection: Collection, row: int) -> NoReturn:
    raise ComponentError(f"index 'milvus' ({collection.config.method}) has no row {row}")
