"""The index `pgvector`: vectors in a table of PostgreSQL, one table for each segment of a memory.

The folder of a version has a pointer to the table; see `ragcore.contracts.RemoteData`. Knows how a
table is searched; tables.py knows how it is made, leases.py how it is kept.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from psycopg import Connection

from ragcore.disk.loading import reading
from ragcore.disk.remote import POINTER, RemotePointer
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    RagcoreError,
    UnsupportedOperation,
)
from ragcore.filters.predicates import Predicate, columns_of, metadata_of, predicate_of
from ragcore.types import MISSING_ROW, Hits
from ragcore_pgvector.conditions import Condition, condition_of
from ragcore_pgvector.configs import PgvectorConfig
from ragcore_pgvector.database import database_of
from ragcore_pgvector.leases import leases_of
from ragcore_pgvector.tables import Finished, Tables, checked_name, column, new_name
from ragcore_pgvector.wire import row_array, vector_array, vectors_in

if TYPE_CHECKING:
    import numpy.typing as npt

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
_FEW_ALLOWED: Final = 10_000
"""So few allowed rows are compared one by one, which is exact, in place of a walk in the graph."""
_FETCHED: Final = 20_000
"""Vectors that one statement returns: with 16,000 dimensions a gigabyte would be the limit."""


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
        self._tables = Tables(database_of(config, _settings(config)), config)
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
        if self._name is None:
            raise ComponentError(f"index {_USE!r} has no row {rows[0]}: it is empty")
        names = ", ".join(column(number) for number in range(len(self.columns)))
        statement = (
            f"select {names} from unnest(%b::bigint[]) with ordinality a(row, number) "
            f"join {self._tables.path(self._name)} t using (row) order by a.number"
        ).encode()
        records = self._tables.database.read(
            lambda connection: connection.execute(
                statement, [row_array(rows)], binary=True
            ).fetchall(),
            timeout=self._config.build_timeout,
        )
        if len(records) < len(rows):
            raise ComponentError(f"index {_USE!r} has {len(records)} of {len(rows)} rows asked for")
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
        return self._search(queries, k, condition_of(predicate, self.columns), self._count, True)

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k rows of highest inner product for each of queries [B, d], ties by row.

        All queries go in one statement. With `method: hnsw` a query that the graph finds too few
        rows for is asked again of the whole table.

        Raises:
            ComponentError: k is less than 1, or the queries have another length.
            MemoryUnavailableError: the database does not answer.
        """
        if allowed is None:
            return self._search(queries, k, None, self._count, True)
        allowed = np.unique(np.asarray(allowed, np.int64))
        few = len(allowed) <= max(_FEW_ALLOWED, self._count // 20)
        condition = Condition("t.row = any(%b::bigint[])", (row_array(allowed),), is_list=True)
        return self._search(queries, k, condition, len(allowed), not few)

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
        vectors = np.empty((len(rows), self._dim), np.float32)
        for start in range(0, len(rows), _FETCHED):
            vectors[start : start + _FETCHED] = self._fetched(rows[start : start + _FETCHED])
        return vectors

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
        pointer = RemotePointer.read(folder)
        with reading(folder / POINTER):
            details = pointer.details
            finished = Finished(
                int(details["rows"]),
                int(details["dim"]),
                str(details["digest"]),
                str(details["method"]),
                bool(details["half"]),
            )
            identity = str(details["database"])
            columns = dict(details.get("columns", {}))
            unfit = frozenset(map(str, details.get("unfit", ())))
        if list(columns.items()) != list(config.columns.items()):
            raise MemoryMismatchError(
                f"{folder} was built with columns: {columns}, but the index in use has "
                f"{config.columns}: set them as they were, in their order, or rebuild the memory"
            )
        if finished.half != config.half or (config.method, finished.method) == ("hnsw", "exact"):
            raise MemoryMismatchError(
                f"{folder} was built with method: {finished.method}, half: "
                f"{str(finished.half).lower()}, but the index in use has method: {config.method}, "
                f"half: {str(config.half).lower()}: set these as they were, or rebuild the memory"
            )
        loaded = cls(config, dim=finished.dim)
        loaded._name, loaded._unfit = checked_name(pointer.name), unfit
        loaded._count, loaded._finished, loaded._identity = finished.rows, finished, identity
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
        _check_identity(self._tables, self._identity)
        self._tables.check(self._name, self._finished, len(self.columns), full=full)

    @classmethod
    def drop(cls, folder: Path, config: PgvectorConfig) -> bool:
        """Drop the table that a pointer leads to; see `RemoteData`."""
        pointer = RemotePointer.read(folder)
        tables = Tables(database_of(config, _settings(config)), config)
        _check_identity(tables, pointer.details.get("database"), folder)
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
        details: dict[str, Any] = {"database": self._identity}
        if finished is not None:
            details |= {
                "rows": finished.rows,
                "dim": finished.dim,
                "digest": finished.digest,
                "method": finished.method,
                "half": finished.half,
            }
            # Pointers of memories without columns are as they were before there were any.
            if self.columns:
                details |= {"columns": dict(self.columns), "unfit": sorted(self._unfit)}
        return RemotePointer("index", _USE, name, details)

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
        self, queries: Vectors, k: int, condition: Condition | None, available: int, many: bool
    ) -> Hits:
        """Find the k best rows for each of queries [B, d].

        Args:
            queries: float32 [B, d].
            k: hits per query.
            condition: which rows may be found; None for all.
            available: how many these are at most.
            many: whether they are too many to be compared one by one, if there is a graph.
        """
        if k < 1:
            raise ComponentError(f"index {_USE!r} was asked for {k} hits: ask for 1 or more")
        queries = self._checked(queries, len(queries))
        rows = np.full((len(queries), k), MISSING_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        if self._name is None or not available or not len(queries):
            return Hits(rows, scores)
        self._lease()
        depth = min(k, available)
        by_graph = many and self._config.method != "exact"
        everyone = np.arange(len(queries))
        self._fill(rows, scores, everyone, queries, depth, condition, by_graph)
        if by_graph and self._finished is not None:
            short = np.flatnonzero((rows[:, :depth] == MISSING_ROW).any(axis=1))
            if len(short):
                rows[short], scores[short] = MISSING_ROW, -np.inf
                self._fill(rows, scores, short, queries[short], depth, condition, False)
        return Hits(rows, scores)

    def _fill(
        self,
        rows: Rows,
        scores: npt.NDArray[np.float32],
        asked: npt.NDArray[np.int64],
        queries: Vectors,
        depth: int,
        allowed: Condition | None,
        by_graph: bool,
    ) -> None:
        """Search queries [b, d], and put what is found into the rows `asked` of rows and scores."""
        extension = self._tables.extension()
        schema = f'"{extension.schema}"'
        kind = f"{schema}.{'halfvec' if self._config.half else 'vector'}"
        assert self._name is not None
        table = self._tables.path(self._name)
        parameters: list[Any] = [vector_array(queries, extension.vector_type)]
        product = f"t.embedding operator({schema}.<#>) q.vector::{kind}"
        source, condition = f"{table} t", ""
        opening = f"with q as (select * from unnest(%b::{schema}.vector[]) "
        opening += "with ordinality q(vector, number))"
        if allowed is not None:
            parameters += allowed.parameters
            if by_graph or not allowed.is_list:
                condition = f"where {allowed.sql}"
            else:
                # Read once, however many queries there are.
                opening += (
                    f", t as materialized (select t.row, t.embedding from {table} t "
                    f"where {allowed.sql})"
                )
                source = "t"
        # A sum is no order that the graph has, so that it is not used where all are compared.
        order = product if by_graph else f"({product}) + 0.0, t.row"
        statement = (
            f"{opening} select q.number, h.row, h.score from q cross join lateral ("
            f"select t.row, -({product}) as score from {source} {condition} "
            f"order by {order} limit {depth}) h"
        ).encode()

        def ask(connection: Connection[Any]) -> list[tuple[int, int, float]]:
            return connection.execute(statement, parameters, binary=True).fetchall()

        hits = self._tables.database.read(ask)
        if not hits:
            return
        numbers = np.array([number for number, _, _ in hits], np.int64) - 1  # [h]
        hit_rows = np.array([row for _, row, _ in hits], np.int64)
        hit_scores = np.array([score for _, _, score in hits], np.float32)
        ranking = np.lexsort((hit_rows, -hit_scores, numbers))
        numbers = numbers[ranking]
        position = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
        rows[asked[numbers], position] = hit_rows[ranking]
        scores[asked[numbers], position] = hit_scores[ranking]

    def _fetched(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n]."""
        if self._name is None:
            raise ComponentError(f"index {_USE!r} has no row {rows[0]}: it is empty")
        schema, path = self._tables.extension().schema, self._tables.path(self._name)
        statement = (
            f"select count(*), string_agg(\"{schema}\".vector_send(t.embedding), ''::bytea "
            "order by a.number) from unnest(%b::bigint[]) with ordinality a(row, number) "
            f"join {path} t using (row)"
        ).encode()
        count, data = self._tables.database.read(
            lambda connection: (
                connection.execute(statement, [row_array(rows)], binary=True).fetchone() or (0, b"")
            ),
            timeout=self._config.build_timeout,
        )
        if count < len(rows):
            raise ComponentError(
                f"index {_USE!r} has {count} of the {len(rows)} rows whose vectors are asked for"
            )
        return vectors_in(data or b"", self._dim)

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


def _settings(config: PgvectorConfig) -> tuple[tuple[str, str], ...]:
    """Return what each connection is set to: the graph is searched on until there are k hits."""
    return (
        ("hnsw.ef_search", str(config.ef_search)),
        ("hnsw.iterative_scan", "strict_order"),
        ("hnsw.max_scan_tuples", "2147483647"),
        ("hnsw.scan_mem_multiplier", "16"),
    )


def _check_identity(tables: Tables, identity: Any, folder: Path | None = None) -> None:
    """Check that this is the database of a pointer.

    Raises:
        MemoryMismatchError: it is another one.
    """
    actual = tables.schema.identity()
    if actual != identity:
        where = f" of {folder}" if folder else ""
        raise MemoryMismatchError(
            f"{tables.database.name} is not the one that the pointer{where} leads to: check `dsn` "
            "and `schema`"
        )


def _drop_unsaved(tables: Tables, name: str, pid: int) -> None:
    """Drop the table of an index that nobody saved; a forked copy of it has none."""
    if pid != os.getpid():
        return
    try:
        tables.drop_unsaved(name)
    except RagcoreError as error:
        _LOG.warning("table %s stays in the database: %s", name, error)
