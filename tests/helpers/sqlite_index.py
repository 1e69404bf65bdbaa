"""A small real index in a database: a table in an SQLite file for each saved index.

It keeps the contracts of `RemoteData` and, with `columns`, of `FilteringIndex`. The file stands for
the server: without it, the database does not answer.
"""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from ragcore.disk.remote import RemotePointer, pointers_below
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    MemoryUnavailableError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.filters.predicates import (
    ColumnKind,
    Compare,
    OneOf,
    Present,
    columns_of,
    metadata_of,
    predicate_of,
    written,
)
from ragcore.hookspecs import hookimpl
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.store import Store
from ragcore.types import Hits
from tests.helpers.word_encoder import WordEncoder

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors


class SqliteIndex:
    class Config(ComponentConfig):
        database: str
        token: str = ""
        columns: dict[str, ColumnKind] = Field(default_factory=dict)

    capabilities = frozenset({"add", "exact", "filter", "remote", "scratch", "vectors"})

    def __init__(self, config: Config, *, dim: int) -> None:
        self.config = config
        self.dim = dim
        self.pointer: RemotePointer | None = None
        self.columns = config.columns
        self._unfit: frozenset[str] = frozenset()
        if self.columns:
            self.capabilities = type(self).capabilities | {"where"}
        self._count = 0
        self._scratch: Path | None = None
        self._saved = False
        self._finalizer: weakref.finalize[..., SqliteIndex] | None = None

    def __len__(self) -> int:
        return self._count

    def use_scratch(self, folder: Path) -> int:
        self._scratch = folder
        return 0

    def add(self, rows: Rows, vectors: Vectors) -> None:
        self.add_with_metadata(rows, vectors, [{}] * len(rows))

    def add_with_metadata(
        self, rows: Rows, vectors: Vectors, metadata: Sequence[Mapping[str, Any]]
    ) -> None:
        if vectors.shape != (len(rows), self.dim):
            raise ComponentError(f"vectors of shape {vectors.shape}, expected [n, {self.dim}]")
        name = self._own_table()
        values, unfit = columns_of(self.columns, metadata)
        stored = map(bytes, np.ascontiguousarray(vectors, "<f4"))
        lines = zip(rows.tolist(), stored, *values, strict=True)
        marks = ", ".join("?" * (2 + len(values)))
        with connected(self.config) as database:
            try:
                database.executemany(f"insert into {name} values ({marks})", lines)
            except sqlite3.IntegrityError as error:
                raise ComponentError("a row is there already") from error
        self._count += len(rows)
        self._unfit |= unfit

    def metadata(self, rows: Rows) -> list[dict[str, Any]]:
        names = "".join(f", c{number}" for number in range(len(self.columns)))
        found = {row: values for row, *values in self._selected(f"row{names}")}
        return metadata_of(self.columns, [found[row] for row in rows.tolist()], self._unfit)

    def expresses(self, where: Filter) -> bool:
        return predicate_of(where, self._expressed()) is not None

    def search_where(self, queries: Vectors, k: int, where: Filter) -> Hits:
        predicate = predicate_of(where, self._expressed())
        assert predicate is not None
        parameters: list[Any] = []
        condition = written(predicate, lambda leaf: self._spelt(leaf, parameters))
        allowed = [row for (row,) in self._selected("row", f"where {condition}", parameters)]
        return self.search(queries, k, allowed=np.array(allowed, np.int64))

    def _expressed(self) -> dict[str, ColumnKind]:
        return {field: kind for field, kind in self.columns.items() if field not in self._unfit}

    def _spelt(self, leaf: Present | OneOf | Compare, parameters: list[Any]) -> str:
        column = f"c{list(self.columns).index(leaf.field)}"
        match leaf:
            case Present():
                return f"{column} is not null"
            case OneOf():
                parameters.extend(leaf.values)
                return f"coalesce({column} in ({', '.join('?' * len(leaf.values))}), 0)"
            case Compare():
                parameters.append(leaf.value)
                return f"coalesce({column} {leaf.operator} ?, 0)"

    def _selected(
        self, what: str, condition: str = "", parameters: Sequence[Any] = ()
    ) -> list[Any]:
        if self.pointer is None:
            return []
        with connected(self.config) as database:
            try:
                return database.execute(
                    f"select {what} from {self.pointer.name} {condition} order by row", parameters
                ).fetchall()
            except sqlite3.OperationalError as error:
                raise StoreCorruptError(
                    f"table {self.pointer.name} is missing: build the memory again"
                ) from error

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        found, vectors = self._read()
        exact = Exact(Exact.Config(), dim=self.dim)
        exact.add(found, vectors)
        return exact.search(queries, k, allowed=allowed)

    def remove(self, rows: Rows) -> None:
        raise UnsupportedOperation.of("index 'sqlite'", "remove")

    def vectors(self, rows: Rows) -> Vectors:
        found, vectors = self._read()
        if not np.isin(rows, found).all():
            raise ComponentError("a row is not there")
        return vectors[np.searchsorted(found, rows)]

    def save(self, folder: Path) -> None:
        self._own_table()
        assert self.pointer is not None
        details = {
            "database": database_of(self.config),
            "rows": self._count,
            "dim": self.dim,
            "digest": self._digest(),
            "columns": dict(self.columns),
            "unfit": sorted(self._unfit),
        }
        self.pointer = RemotePointer("index", "sqlite", self.pointer.name, details)
        self.pointer.write(folder)
        self._saved = True
        if self._finalizer is not None:
            self._finalizer.detach()

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Self:
        pointer = RemotePointer.read(folder)
        loaded = cls(config, dim=pointer.details["dim"])
        if pointer.details["columns"] != loaded.columns:
            raise MemoryMismatchError("it was built with other columns")
        loaded._unfit = frozenset(pointer.details["unfit"])
        loaded.pointer, loaded._count = pointer, pointer.details["rows"]
        loaded._saved = True
        return loaded

    def check(self, *, full: bool) -> None:
        assert self.pointer is not None
        check_database(self.pointer, self.config)
        digest = self._digest()
        if full and digest != self.pointer.details["digest"]:
            raise StoreCorruptError(f"table {self.pointer.name} was changed: build it again")

    @classmethod
    def drop(cls, folder: Path, config: Config) -> bool:
        pointer = RemotePointer.read(folder)
        check_database(pointer, config)
        with connected(config) as database:
            database.execute(f"drop table if exists {pointer.name}")
        return True

    def _pointer(self, name: str) -> RemotePointer:
        return RemotePointer("index", "sqlite", name, {"database": database_of(self.config)})

    def _own_table(self) -> str:
        """Return the table that may be written to; one is made after a pointer to it is written."""
        if self.pointer is None or self._saved:
            name = f"t_{uuid.uuid4().hex}"
            copied = self.pointer
            self.pointer, self._saved = self._pointer(name), False
            if self._scratch is not None:
                (self._scratch / name).mkdir()
                self.pointer.write(self._scratch / name)
            else:
                self._finalizer = weakref.finalize(self, _drop_table, self.config, name)
            with connected(self.config) as database:
                columns = "".join(
                    f", c{number} {'text' if kind == 'text' else 'integer'}"
                    for number, kind in enumerate(self.columns.values())
                )
                database.execute(
                    f"create table {name} (row integer primary key, vector blob{columns})"
                )
                if copied is not None:
                    database.execute(f"insert into {name} select * from {copied.name}")
        return self.pointer.name

    def _read(self) -> tuple[Rows, Vectors]:
        if self.pointer is None:
            return np.zeros(0, np.int64), np.zeros((0, self.dim), np.float32)
        pairs = self._selected("row, vector")
        rows = np.array([row for row, _ in pairs], np.int64)
        vectors = np.frombuffer(b"".join(vector for _, vector in pairs), "<f4")
        return rows, vectors.reshape(len(rows), self.dim)

    def _digest(self) -> str:
        rows, vectors = self._read()
        return hashlib.sha256(rows.tobytes() + vectors.tobytes()).hexdigest()


def database_of(config: SqliteIndex.Config) -> str:
    """Return what tells a database from others."""
    return Path(config.database).name


def check_database(pointer: RemotePointer, config: SqliteIndex.Config) -> None:
    """Check that a config leads to the database of a pointer."""
    if pointer.details["database"] != database_of(config):
        raise MemoryMismatchError(
            f"{pointer.name} is in {pointer.details['database']}, not in {database_of(config)}"
        )


@contextmanager
def connected(config: SqliteIndex.Config) -> Iterator[sqlite3.Connection]:
    """Connect to the database, and commit at the end of the block."""
    path = Path(config.database)
    if not path.exists():
        raise MemoryUnavailableError(f"{path.name} does not answer: start the database")
    with closing(sqlite3.connect(path)) as database, database:
        yield database


def _drop_table(config: SqliteIndex.Config, name: str) -> None:
    with connected(config) as database:
        database.execute(f"drop table if exists {name}")


def tables(database: Path) -> list[str]:
    """List the tables of a database."""
    with closing(sqlite3.connect(database)) as connection:
        listed = connection.execute("select name from sqlite_master where type = 'table'")
        return sorted(name for (name,) in listed)


def named(folder: Path) -> set[str]:
    """Return the tables that pointers below a folder name."""
    return {RemotePointer.read(each).name for each in pointers_below(folder)}


def make_database(path: Path) -> Path:
    """Make an empty database, which then answers."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("vacuum")
    return path


def remote_part(
    database: Path,
    token: str = "",
    secrets: bool = False,
    columns: Mapping[str, ColumnKind] | None = None,
) -> ComponentSpec:
    """Return the spec of `{use: dense}` with this index; its token may be a secret."""
    encoder = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config())
    settings = SqliteIndex.Config(database=str(database), token=token, columns=dict(columns or {}))
    hidden = {("token",): "${env:SQLITE_TOKEN}"} if secrets else {}
    index = ComponentSpec("index", "sqlite", SqliteIndex, settings, hidden)
    config = Dense.Config(encoder=encoder, index=index, batch_size=64)
    return ComponentSpec("retriever", "dense", Dense, config)


@hookimpl
def ragcore_indexes() -> dict[str, str]:
    return {"sqlite": "tests.helpers.sqlite_index:SqliteIndex"}


def ids(store: Store, question: str) -> list[str]:
    """Return the ids of the three passages that a store's current version has for a question."""
    with store.open() as memory:
        (result,) = memory.search(question, 3)
        return [each.id for each in result.passages]
