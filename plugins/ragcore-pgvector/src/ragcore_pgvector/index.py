"""The index `pgvector`: vectors in a table of PostgreSQL, one table for each segment of a memory.

Knows the contract of an index, and when a table is made, finished and dropped. Knows no SQL:
`tables.py` makes tables, `searching.py` searches them, `fetching.py` reads rows of them,
`pointers.py` writes and reads the pointer that a version's folder has, `leases.py` keeps tables.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np

from ragcore.disk.remote import RemotePointer
from ragcore.errors import ComponentError, RagcoreError, UnsupportedOperation
from ragcore.filters.predicates import Predicate, columns_of, metadata_of, predicate_of
from ragcore.types import Hits
from ragcore_pgvector.conditions import Condition, condition_of, condition_of_rows
from ragcore_pgvector.configs import PgvectorConfig
from ragcore_pgvector.database import database_of
from ragcore_pgvector.fetching import values_of, vectors_of
from ragcore_pgvector.leases import leases_of
from ragcore_pgvector.pointers import check_identity, pointer_to, read_pointer
from ragcore_pgvector.searching import Searched, Searcher, settings_of
from ragcore_pgvector.tables import Finished, Tables, checked_name, new_name

if TYPE_CHECKING:
    from ragcore.contracts import Capability
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors

__all__ = ["Pgvector"]

_LOG: Final = logging.getLogger("ragcore.pgvector")
_USE: Final = "pgvector"
_MOST_DIMENSIONS: Final = {
    ("exact", False): 16_000,
    ("exact", True): 16_000,
    ("hnsw", False): 2_000,
    ("hnsw", True): 4_000,
}
_LARGEST_HALF: Final = 65_504.0


class Pgvector:
    """An `Index` in PostgreSQL; scores are inner products, float32."""

    Config: ClassVar[type[PgvectorConfig]] = PgvectorConfig

    # Its class says `remote`; whether it is exact depends on the config.
    capabilities: frozenset[Capability] = frozenset({"add", "filter", "remote", "scratch"})

    def __init__(self, config: PgvectorConfig, *, dim: int) -> None:
        """Make an empty index; nothing is asked of the database before the first vector.

        Raises:
            ComponentError: pgvector has no such long vectors.
        """
        most = _MOST_DIMENSIONS[config.method, config.half]
        if dim > most:
            raise ComponentError(
                f"index {_USE!r}: vectors of {dim} numbers, and pgvector has {most} at most with "
                f"method: {config.method}, half: {str(config.half).lower()}: "
                + (
                    "set half: true"
                    if config.method == "hnsw" and dim <= 4_000
                    else "set method: exact"
                    if config.method == "hnsw"
                    else "use another encoder"
                )
            )
        self.capabilities = capabilities_of(config)
        self.columns = config.columns
        # Fields with a value that is no column's.
        self._unfit: frozenset[str] = frozenset()
        self._config = config
        self._dim = dim
        self._tables = _tables_of(config)
        self._searcher = Searcher(self._tables, config)
        self._name: str | None = None
        self._count = 0
        self._finished: Finished | None = None
        self._identity: str | None = None
        self._scratch: Path | None = None
        self._leased = False
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def __len__(self) -> int:
        return self._count

    def use_scratch(self, folder: Path) -> int:
        """Write a pointer into this folder before each table that is made; see `RemoteData`."""
        self._scratch = folder
        return 0

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n]; to a copy of the table where it is saved.

        Raises:
            ComponentError: the vectors have another length, or a row is there already.
        """
        self.add_with_metadata(rows, vectors, [{}] * len(rows))

    def add_with_metadata(
        self, rows: Rows, vectors: Vectors, metadata: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add vectors, and the values of the config's columns; see `FilteringIndex`.

        Raises:
            ComponentError: the vectors have another length, or a row is there already.
        """
        rows = np.asarray(rows, np.int64)
        vectors = self._checked(vectors, len(rows))
        if not len(rows):
            return
        if len(np.unique(rows)) < len(rows):
            raise ComponentError(f"index {_USE!r}: a row is added twice")
        if self._config.half and np.abs(vectors).max(initial=0) > _LARGEST_HALF:
            raise ComponentError(
                f"index {_USE!r}: a vector has a number above {_LARGEST_HALF:,.0f}, which 16 bits "
                "do not hold: set half: false"
            )
        values, unfit = columns_of(self.columns, metadata)
        self._tables.add(self._own_table(), rows, vectors, values, half=self._config.half)
        self._count += len(rows)
        self._unfit |= unfit

    def metadata(self, rows: Rows) -> list[dict[str, Any]]:
        """Return the columns of rows [n] as metadata; see `FilteringIndex`.

        Raises:
            ComponentError: a row is not there.
        """
        rows = np.asarray(rows, np.int64)
        if not self.columns or not len(rows):
            return [{} for _ in range(len(rows))]
        records = values_of(
            self._tables,
            self._name_for(rows),
            rows,
            len(self.columns),
            timeout=self._config.build_timeout,
        )
        return metadata_of(self.columns, records, self._unfit)

    def expresses(self, where: Filter) -> bool:
        """Return whether a filter is on columns alone, which have all values of their fields."""
        return self._predicate(where) is not None

    def search_where(self, queries: Vectors, k: int, where: Filter) -> Hits:
        """Find the k best rows among those that match a filter, which the database evaluates.

        Raises:
            UnsupportedOperation: the index does not express the filter.
            ComponentError: k is less than 1, or the queries have another length.
            MemoryUnavailableError: the database does not answer.
        """
        predicate = self._predicate(where)
        if predicate is None:
            raise UnsupportedOperation.of(f"index {_USE!r}", "where")
        return self._search(queries, k, condition_of(predicate, self.columns), self._count)

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k rows of highest inner product for each of queries [B, d], ties by row.

        All queries go in one statement. With `method: hnsw` a query that the graph finds too few
        rows for is asked again of the whole table.

        Raises:
            ComponentError: k is less than 1, or the queries have another length.
            MemoryUnavailableError: the database does not answer.
        """
        if allowed is None:
            return self._search(queries, k, None, self._count)
        allowed = np.unique(np.asarray(allowed, np.int64))
        return self._search(queries, k, condition_of_rows(allowed), len(allowed))

    def remove(self, rows: Rows) -> None:
        """Refuse: a table never changes, and a memory hides rows by itself.

        Raises:
            UnsupportedOperation: always.
        """
        raise UnsupportedOperation.of(f"index {_USE!r}", "remove")

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n], float32 [n, d], bit for bit as they were added.

        Raises:
            ComponentError: a row is not there.
            UnsupportedOperation: they are stored with 16 bits for each number.
        """
        if self._config.half:
            raise UnsupportedOperation.of(f"index {_USE!r} (half: true)", "vectors")
        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return np.empty((0, self._dim), np.float32)
        return vectors_of(
            self._tables,
            self._name_for(rows),
            rows,
            self._dim,
            timeout=self._config.build_timeout,
        )

    def save(self, folder: Path) -> None:
        """Finish the table, and write a pointer to it into an existing empty folder."""
        if self._finished is None:
            name = self._own_table()
            self._finished = self._tables.finish(name, self._config, self._dim, self._count)
        assert self._name is not None
        self._pointer(self._name, self._finished).write(folder)
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None

    @classmethod
    def load(cls, folder: Path, config: PgvectorConfig, *, mmap: bool = True) -> Self:
        """Load what `save` wrote, without connecting; settings of searching may differ.

        Raises:
            StoreCorruptError: the pointer is missing or broken.
            MemoryMismatchError: the table has no graph, or other vectors than the config says.
        """
        saved = read_pointer(folder, config)
        loaded = cls(config, dim=saved.finished.dim)
        loaded._name, loaded._unfit = saved.name, saved.unfit
        loaded._count, loaded._finished = saved.finished.rows, saved.finished
        loaded._identity = saved.identity
        return loaded

    def check(self, *, full: bool) -> None:
        """Check that the table is there, and with `full` that it has the same rows and vectors.

        Raises:
            StoreCorruptError: it is not.
            MemoryMismatchError: the dsn leads to another database.
            MemoryUnavailableError: the database does not answer.
        """
        if self._name is None or self._finished is None:
            return
        self._tables.extension()
        check_identity(self._tables, self._identity)
        self._tables.check(self._name, self._finished, len(self.columns), full=full)

    @classmethod
    def drop(cls, folder: Path, config: PgvectorConfig) -> bool:
        """Drop the table that a pointer leads to; see `RemoteData`."""
        pointer = RemotePointer.read(folder)
        tables = _tables_of(config)
        check_identity(tables, pointer.details.get("database"), folder)
        return tables.drop(checked_name(pointer.name))

    def _own_table(self) -> str:
        """Return the table that is written to; a new one where there is none, or it is finished.

        The pointer is on the disk before there is a table.
        """
        if self._name is not None and self._finished is None:
            return self._name
        copied, name = self._name, new_name()
        if self._identity is None:
            self._identity = self._tables.prepare()
        if self._scratch is not None:
            (self._scratch / name).mkdir()
            self._pointer(name, None).write(self._scratch / name)
        if self._finalizer is not None:
            self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _drop_unsaved, self._tables, name, os.getpid())
        kinds = list(self.columns.values())
        self._tables.create(name, self._dim, kinds, half=self._config.half, copied=copied)
        self._name, self._finished = name, None
        return name

    def _pointer(self, name: str, finished: Finished | None) -> RemotePointer:
        return pointer_to(name, self._identity, finished, self.columns, self._unfit)

    def _name_for(self, rows: Rows) -> str:
        """Return the name of the table that has rows [n], n at least 1.

        Raises:
            ComponentError: there is none.
        """
        if self._name is None:
            raise ComponentError(f"index {_USE!r} has no row {rows[0]}: it is empty")
        return self._name

    def _lease(self) -> None:
        """Keep the table from being dropped as long as this index lives."""
        if self._finished is None or self._name is None:
            return
        leases = leases_of(self._tables.database)
        if not self._leased:
            leases.take(self._name)
            self._leased = True
            weakref.finalize(self, leases.release, self._name).atexit = False
        else:
            leases.refresh()

    def _predicate(self, where: Filter) -> Predicate | None:
        """Return a filter as conditions on columns; None where they cannot say what it means."""
        columns = {field: kind for field, kind in self.columns.items() if field not in self._unfit}
        return predicate_of(where, columns)

    def _search(
        self, queries: Vectors, k: int, condition: Condition | None, available: int
    ) -> Hits:
        """Find the k best rows for each of queries [B, d].

        Args:
            queries: float32 [B, d].
            k: hits per query.
            condition: which rows may be found; None for all.
            available: how many these are at most.
        """
        if k < 1:
            raise ComponentError(f"index {_USE!r} was asked for {k} hits: ask for 1 or more")
        queries = self._checked(queries, len(queries))
        if self._name is None or not available or not len(queries):
            return Hits.empty(len(queries), k)
        self._lease()
        table = Searched(self._name, self._count, finished=self._finished is not None)
        return self._searcher.best(table, queries, k, condition, available)

    def _checked(self, vectors: Vectors, count: int) -> Vectors:
        """Return vectors as float32 [count, d]."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.shape != (count, self._dim):
            raise ComponentError(
                f"index {_USE!r}: vectors of shape {vectors.shape}, expected ({count}, {self._dim})"
            )
        return vectors


def capabilities_of(config: PgvectorConfig) -> frozenset[Capability]:
    """Return what an index of a config can do."""
    capabilities = Pgvector.__dict__["capabilities"]
    if not config.half:
        capabilities |= {"vectors"}
        if config.method == "exact":
            capabilities |= {"exact"}
    if config.columns:
        capabilities |= {"where"}
    return frozenset(capabilities)


def _tables_of(config: PgvectorConfig) -> Tables:
    return Tables(database_of(config, settings_of(config)), config)


def _drop_unsaved(tables: Tables, name: str, pid: int) -> None:
    """Drop the table of an index that nobody saved; a forked copy of it has none."""
    if pid != os.getpid():
        return
    try:
        tables.drop_unsaved(name)
    except RagcoreError as error:
        _LOG.warning("table %s stays in the database: %s", name, error)
