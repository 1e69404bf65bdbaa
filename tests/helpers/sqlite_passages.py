"""A passage store in a file of SQLite, for tests of what holds for any of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragcore.contracts import PassageField, PassageRecord
from ragcore.errors import MemoryUnavailableError, StoreCorruptError
from ragcore.registry.components import ComponentConfig, ComponentSpec, ConfigPath


class SqlitePassagesConfig(ComponentConfig):
    path: ConfigPath


class SqlitePassages:
    """Keeps each segment in a table of its own; see `ragcore.contracts.PassageStore`."""

    Config = SqlitePassagesConfig
    capabilities: frozenset[str] = frozenset()

    def __init__(self, config: SqlitePassagesConfig) -> None:
        self._path = config.path

    @property
    def location(self) -> str:
        return self._path.name

    @property
    def identity(self) -> str:
        return str(self._path.resolve())

    def prepare(self) -> None:
        pass

    def begin(self, segment: str) -> None:
        self.drop(segment)
        with self._connected() as database:
            database.execute(
                f"create table {segment} (position integer primary key, id, title, text, metadata)"
            )

    def append(self, segment: str, first: int, records: Sequence[PassageRecord]) -> None:
        with self._connected() as database:
            database.execute(f"delete from {segment} where position >= ?", (first,))
            rows = [(first + offset, *record) for offset, record in enumerate(records)]
            database.executemany(f"insert into {segment} values (?, ?, ?, ?, ?)", rows)

    def finish(self, segment: str, count: int) -> None:
        with self._connected() as database:
            database.execute(f"create index {segment}_ids on {segment} (id)")

    def count(self, segment: str) -> int:
        with self._connected() as database:
            (count,) = database.execute(f"select count(*) from {segment}").fetchone()
        return int(count)

    def take(
        self, segment: str, positions: Sequence[int], fields: Sequence[PassageField]
    ) -> list[tuple[str, ...]]:
        taken = []
        with self._connected() as database:
            for position in positions:
                row = database.execute(
                    f"select {', '.join(fields)} from {segment} where position = ?", (position,)
                ).fetchone()
                if row is None:
                    raise StoreCorruptError(f"{segment} lacks the position {position}")
                taken.append(row)
        return taken

    def find(self, segment: str, ids: Sequence[str]) -> list[int]:
        found: list[int] = []
        with self._connected() as database:
            for id_ in ids:
                rows = database.execute(f"select position from {segment} where id = ?", (id_,))
                found += [position for (position,) in rows]
        return sorted(found)

    def lease(self, segment: str) -> None:
        pass

    def release(self, segment: str) -> None:
        pass

    def drop(self, segment: str) -> bool:
        with self._connected() as database:
            database.execute(f"drop table if exists {segment}")
        return True

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if not self._path.parent.is_dir():
            raise MemoryUnavailableError(f"{self.location} is not there")
        database = sqlite3.connect(self._path)
        try:
            with database:
                yield database
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            raise StoreCorruptError(f"{self.location}: {error}") from None
        finally:
            database.close()


def sqlite_passages(path: Path) -> ComponentSpec[Any]:
    """Return the spec of a store in a file."""
    config = SqlitePassagesConfig(path=path)
    return ComponentSpec("passages", "sqlite-passages", SqlitePassages, config)


def tables(path: Path) -> set[str]:
    """Return the names of the segments in a file."""
    database = sqlite3.connect(path)
    try:
        rows = database.execute("select name from sqlite_master where type = 'table'").fetchall()
    finally:
        database.close()
    return {name for (name,) in rows}
