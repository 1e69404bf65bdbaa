"""Read what a table has of some rows: their vectors, and the values of their columns.

Knows SQL; knows nothing of searching, or of what metadata the values stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.errors import ComponentError
from ragcore_pgvector.tables import Tables, column
from ragcore_pgvector.wire import row_array, vectors_in

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors

__all__ = ["values_of", "vectors_of"]

_FETCHED: Final = 20_000
"""Vectors that one statement returns: with 16,000 dimensions a gigabyte would be the limit."""


def vectors_of(tables: Tables, name: str, rows: Rows, dim: int, *, timeout: float) -> Vectors:
    """Return the vectors of rows [n] of a table, float32 [n, d].

    Raises:
        ComponentError: a row is not there.
        MemoryUnavailableError: the database does not answer, in `timeout` seconds for each block.
    """
    vectors = np.empty((len(rows), dim), np.float32)
    for start in range(0, len(rows), _FETCHED):
        block = rows[start : start + _FETCHED]
        vectors[start : start + _FETCHED] = _block(tables, name, block, dim, timeout)
    return vectors


def _block(tables: Tables, name: str, rows: Rows, dim: int, timeout: float) -> Vectors:
    """Return the vectors of rows [n], by one statement."""
    schema, path = tables.extension().schema, tables.path(name)
    statement = (
        f"select count(*), string_agg(\"{schema}\".vector_send(t.embedding), ''::bytea "
        "order by a.number) from unnest(%b::bigint[]) with ordinality a(row, number) "
        f"join {path} t using (row)"
    ).encode()
    count, data = tables.database.read(
        lambda connection: (
            connection.execute(statement, [row_array(rows)], binary=True).fetchone() or (0, b"")
        ),
        timeout=timeout,
    )
    if count < len(rows):
        raise ComponentError(
            f"index 'pgvector' has {count} of the {len(rows)} rows whose vectors are asked for"
        )
    return vectors_in(data or b"", dim)


def values_of(
    tables: Tables, name: str, rows: Rows, columns: int, *, timeout: float
) -> list[tuple[Any, ...]]:
    """Return the values of so many columns, 1 or more, for each of rows [n] of a table.

    Raises:
        ComponentError: a row is not there.
        MemoryUnavailableError: the database does not answer in `timeout` seconds.
    """
    names = ", ".join(column(number) for number in range(columns))
    statement = (
        f"select {names} from unnest(%b::bigint[]) with ordinality a(row, number) "
        f"join {tables.path(name)} t using (row) order by a.number"
    ).encode()
    records = tables.database.read(
        lambda connection: connection.execute(statement, [row_array(rows)], binary=True).fetchall(),
        timeout=timeout,
    )
    if len(records) < len(rows):
        raise ComponentError(f"index 'pgvector' has {len(records)} of {len(rows)} rows asked for")
    return records
