"""A small real index in a database: a table in an SQLite file for each saved index.

It keeps the contract of `RemoteData`. The file stands for the server: without it, the database does
not answer.
"""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ragcore.disk.remote import RemotePointer
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    MemoryUnavailableError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.hookspecs import hookimpl
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.types import Hits
from tests.helpers.word_encoder import WordEncoder

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors


class SqliteIndex:
    class Config(ComponentConfig):
        database: str
        token: str = ""

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"add", "exact", "filter", "remote", "scratch", "vectors"}
    )

    def __init__(self, config: Config, *, dim: int) -> None:
        self.config = config
        self.dim = dim
        self.pointer: RemotePointer | None = None
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
        if vectors.shape != (len(rows), self.dim):
            raise ComponentError(f"vectors of shape {vectors.shape}, expected [n, {self.dim}]")
        name = self._own_table()
        pairs = zip(rows.tolist(), map(bytes, np.ascontiguousarray(vectors, "<f4")), strict=True)
        with connected(self.config) as database:
            try:
                database.executemany(f"insert into {name} values (?, ?)", pairs)
            except sqlite3.IntegrityError as error:
                raise ComponentError("a row is there already") from error
        self._count += len(rows)

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
                database.execute(f"create table {name} (row integer primary key, vector blob)")
                if copied is not None:
                    database.execute(f"insert into {name} select * from {copied.name}")
        return self.pointer.name

    def _read(self) -> tuple[Rows, Vectors]:
        if self.pointer is None:
            return np.zeros(0, np.int64), np.zeros((0, self.dim), np.float32)
        with connected(self.config) as database:
            try:
                table = database.execute(f"select row, vector from {self.pointer.name} order by 1")
                pairs = table.fetchall()
            except sqlite3.OperationalError as error:
                raise StoreCorruptError(
                    f"table {self.pointer.name} is missing: build the memory again"
                ) from error
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


def make_database(path: Path) -> Path:
    """Make an empty database, which then answers."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("vacuum")
    return path


def remote_part(database: Path, token: str = "", secrets: bool = False) -> ComponentSpec:
    """Return the spec of `{use: dense}` with this index; its token may be a secret."""
    encoder = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config())
    settings = SqliteIndex.Config(database=str(database), token=token)
    hidden = {("token",): "${env:SQLITE_TOKEN}"} if secrets else {}
    index = ComponentSpec("index", "sqlite", SqliteIndex, settings, hidden)
    config = Dense.Config(encoder=encoder, index=index, batch_size=64)
    return ComponentSpec("retriever", "dense", Dense, config)


@hookimpl
def ragcore_indexes() -> dict[str, str]:
    return {"sqlite": "tests.helpers.sqlite_index:SqliteIndex"}
