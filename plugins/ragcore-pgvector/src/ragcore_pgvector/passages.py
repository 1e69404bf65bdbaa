"""Passages in PostgreSQL: a table for each segment, read by position or id; see `PassageStore`.

    ragcore.ragcore_passages_…  position integer primary key; id, title, text, metadata as bytes

Texts are stored as the bytes of their UTF-8, since the type `text` refuses NUL, and a database may
have another encoding. The extension pgvector is not needed. A finished table never changes, so that
readers need the right to SELECT alone. Knows SQL; knows nothing of versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeVar

from psycopg import Connection

from ragcore.contracts import Capabilities, PassageField, PassageRecord
from ragcore.errors import StoreCorruptError
from ragcore_pgvector.database import database_of
from ragcore_pgvector.leases import leases_of
from ragcore_pgvector.passages_config import PostgresPassagesConfig
from ragcore_pgvector.schema import Schema

__all__ = ["PostgresPassages"]

_NAME: Final = re.compile(r"(?!(?:identity|segments|v_[0-9a-f]{32})$)[a-z][a-z0-9_]{0,58}")
"""Of a segment: none of the schema's other tables."""
_COLUMNS: Final = (*PassageRecord._fields,)

T = TypeVar("T")


class PostgresPassages:
    """The passage store `postgres`; several threads and components share one pool."""

    Config: ClassVar[type[PostgresPassagesConfig]] = PostgresPassagesConfig
    capabilities: ClassVar[Capabilities] = frozenset()

    def __init__(self, config: PostgresPassagesConfig) -> None:
        """Take over how to connect; connect to nothing.

        Raises:
            ConfigError: libpq cannot read the dsn.
        """
        self._database = database_of(config)
        self._schema = Schema(self._database, config.schema_)
        self._build_timeout = config.build_timeout
        self._identity: str | None = None

    @property
    def location(self) -> str:
        """The database and the schema, without user and password."""
        return f"{self._database.name}, schema {self._schema.name!r}"

    @property
    def identity(self) -> str:
        """What the database was told by the first program that wrote to it; a dump keeps it.

        Raises:
            MemoryMismatchError: no memory was built in it.
        """
        if self._identity is None:
            self._identity = self._schema.identity()
        return self._identity

    def prepare(self) -> None:
        """Make the schema, and give the database its identity, where they are missing.

        Raises:
            MemoryUnavailableError: the user may not, or the database does not answer.
        """
        # What was there when it was asked for may have been dropped since.
        self._identity = self._schema.prepare({})

    def begin(self, segment: str) -> None:
        """Make an empty table, in the place of one that was left."""
        table = self._path(segment)
        columns = ", ".join(f'"{name}" bytea not null' for name in _COLUMNS)

        def make(connection: Connection[Any]) -> None:
            with connection.transaction():
                connection.execute(f"drop table if exists {table}".encode())
                connection.execute(
                    f"create table {table} (position integer primary key, {columns})".encode()
                )

        self._database.change(make)

    def append(self, segment: str, first: int, records: Sequence[PassageRecord]) -> None:
        """Write passages in one transaction; what is there from `first` on is replaced."""
        table = self._path(segment)
        columns = ", ".join(f'"{name}"' for name in _COLUMNS)

        def copy(connection: Connection[Any]) -> None:
            connection.execute(f"delete from {table} where position >= %s".encode(), [first])
            statement = f"copy {table} (position, {columns}) from stdin (format binary)".encode()
            with connection.cursor().copy(statement) as copying:
                copying.set_types(["int4", *["bytea"] * len(_COLUMNS)])
                for position, record in enumerate(records, first):
                    copying.write_row((position, *(text.encode("utf-8") for text in record)))

        self._writing(copy)

    def finish(self, segment: str, count: int) -> None:
        """Make the index of ids, which takes ids of any length, and collect statistics."""
        table = self._path(segment)

        def make(connection: Connection[Any]) -> None:
            connection.execute(
                f'create index if not exists "{segment}_id" on {table} using hash (id)'.encode()
            )
            connection.execute(f"analyze {table}".encode())

        self._writing(make)

    def count(self, segment: str) -> int:
        """Return the number after the last position, as the primary key has it."""
        (row,) = self._rows(segment, "select coalesce(max(position) + 1, 0) from {}", [])
        return int(row[0])

    def take(
        self, segment: str, positions: Sequence[int], fields: Sequence[PassageField]
    ) -> list[tuple[str, ...]]:
        """Read passages in one round trip."""
        if not len(positions):
            return []
        columns = ", ".join(f'"{name}"' for name in fields)
        query = f"select position, {columns} from {{}} where position "
        if isinstance(positions, range) and positions.step == 1:
            bounds = [positions.start, positions.stop]
            rows = self._rows(segment, f"{query} >= %s and position < %s", bounds)
        else:
            rows = self._rows(segment, f"{query} = any(%s::integer[])", [list(positions)])
        try:
            taken = {row[0]: tuple([text.decode("utf-8") for text in row[1:]]) for row in rows}
        except (UnicodeDecodeError, AttributeError):
            # A column of another type has no bytes that could be decoded.
            raise self._changed(segment, "a text that is not UTF-8") from None
        try:
            return [taken[position] for position in positions]
        except KeyError as missing:
            raise self._changed(segment, f"no passage at position {missing}") from None

    def find(self, segment: str, ids: Sequence[str]) -> list[int]:
        """Look ids up in the index."""
        if not ids:
            return []
        query = "select position from {} where id = any(%s::bytea[]) order by position"
        wanted = [each.encode("utf-8") for each in ids]
        return [position for (position,) in self._rows(segment, query, [wanted])]

    def drop(self, segment: str) -> bool:
        """Drop the table, unless a program has a lease of it."""
        statement = f"drop table if exists {self._path(segment)}".encode()
        return leases_of(self._database).drop(segment, [statement])

    def lease(self, segment: str) -> None:
        """Keep the table from being dropped by programs on any host."""
        leases_of(self._database).take(segment)

    def release(self, segment: str) -> None:
        """End a lease."""
        leases_of(self._database).release(segment)

    def _rows(self, segment: str, query: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a query on a segment's table, which stands in it as `{}`; return all rows."""
        statement = query.format(self._path(segment)).encode()
        leases_of(self._database).refresh()
        return self._database.read(
            lambda connection: connection.execute(statement, parameters, binary=True).fetchall()
        )

    def _writing(self, action: Callable[[Connection[Any]], T]) -> T:
        """Run statements of a build in one transaction."""
        return self._database.change(action, timeout=self._build_timeout)

    def _path(self, table: str) -> str:
        """Return how SQL names a table.

        Raises:
            StoreCorruptError: no table of ours has such a name.
        """
        if not _NAME.fullmatch(table):
            raise StoreCorruptError(
                f"{table[:80]!r} is no table of passages: restore the version's files, or build it "
                "again"
            )
        return self._schema.path(table)

    def _changed(self, segment: str, what: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self.location}: table {segment} has {what}: it was changed by another program: "
            "restore it, or build this version of the memory again"
        )
