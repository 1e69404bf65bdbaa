"""Tables of vectors in a schema: how they are made, filled, finished, checked and dropped.

    ragcore.segments    one row for each finished table: how many rows, their digest, the method
    ragcore.v_…         row bigint primary key, embedding vector(d) or halfvec(d); and c0, c1, …,
                        text or bigint, for the fields of metadata that the config names

A finished table never changes, so that readers need the right to SELECT alone. Knows SQL; knows
nothing of searching.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from psycopg import Connection, errors

from ragcore.errors import ComponentError, StoreCorruptError, StoreError
from ragcore_pgvector.configs import PgvectorConfig
from ragcore_pgvector.database import Database
from ragcore_pgvector.leases import leases_of
from ragcore_pgvector.schema import Schema
from ragcore_pgvector.wire import COPY_END, COPY_HEADER, copied_rows

if TYPE_CHECKING:
    from ragcore.filters.predicates import ColumnKind
    from ragcore.types import Rows, Vectors

__all__ = ["Extension", "Finished", "Tables", "checked_name", "column", "new_name"]

_OLDEST: Final = (0, 8)
_SEGMENT_COLUMNS: Final = (
    "name text primary key, rows bigint not null, dim integer not null, digest text not null, "
    "method text not null, half boolean not null, finished timestamptz not null default now()"
)
_NAME: Final = re.compile(r"v_[0-9a-f]{32}")
_PLAIN: Final = 7_000
"""Bytes of a vector that a page takes whole; others lie next to the table, and are slower."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The extension pgvector in a database.

    Attributes:
        schema: that its types and operators are in.
        vector_type: number of the type `vector`.
    """

    schema: str
    vector_type: int


@dataclass(frozen=True, slots=True)
class Finished:
    """What is recorded of a finished table."""

    rows: int
    dim: int
    digest: str
    method: str
    half: bool


def new_name() -> str:
    """Return a name that no table in any database has."""
    return f"v_{uuid.uuid4().hex}"


def checked_name(name: str) -> str:
    """Return the name of a table, which is safe in SQL.

    Raises:
        StoreCorruptError: no table of ours has it.
    """
    if not _NAME.fullmatch(name):
        raise StoreCorruptError(
            f"{name[:80]!r} is no table of vectors: restore the version's files, or build it again"
        )
    return name


def column(number: int) -> str:
    """Return what the column of a config's field of this number is called."""
    return f"c{number}"


class Tables:
    """The tables of one schema."""

    def __init__(self, database: Database, config: PgvectorConfig) -> None:
        self.database = database
        self.schema = Schema(database, config.schema_)
        self._build_timeout = config.build_timeout
        self._extension: Extension | None = None

    def path(self, name: str) -> str:
        """Return how SQL names a table."""
        return self.schema.path(name)

    def extension(self) -> Extension:
        """Return what is known of pgvector; asked for once.

        Raises:
            StoreError: it is missing, or too old.
        """
        if self._extension is None:
            row = self.database.read(
                lambda connection: connection.execute(
                    "select n.nspname, e.extversion, t.oid::bigint from pg_extension e "
                    "join pg_namespace n on n.oid = e.extnamespace "
                    "join pg_type t on t.typnamespace = n.oid and t.typname = 'vector' "
                    "where e.extname = 'vector'"
                ).fetchone()
            )
            if row is None:
                raise StoreError(
                    f"{self.database.name} has no extension pgvector: install it on the server, "
                    "and let an administrator run `create extension vector`"
                )
            schema, version, number = row
            installed = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
            if installed < _OLDEST:
                raise StoreError(
                    f"{self.database.name} has pgvector {version}: expected 0.8 or later, which "
                    "searches on where a filter leaves too few: install it on the server, and let "
                    "an administrator run `alter extension vector update`"
                )
            self._extension = Extension(schema, number)
        return self._extension

    def prepare(self) -> str:
        """Make schema and records where they are missing; return the database's identity.

        Raises:
            StoreError: pgvector is missing, or too old.
            MemoryUnavailableError: the user may not.
        """
        self.extension()
        return self.schema.prepare({"segments": _SEGMENT_COLUMNS})

    def create(
        self,
        name: str,
        dim: int,
        columns: Sequence[ColumnKind],
        *,
        half: bool,
        copied: str | None,
    ) -> None:
        """Make a table, empty or with the rows of another that has the same columns."""
        kind = f'"{self.extension().schema}".{"halfvec" if half else "vector"}({dim})'
        plain = dim * (2 if half else 4) <= _PLAIN
        storage = "plain" if plain else "external"
        # Texts compare by code point, whatever the language of the database is.
        types = {"text": 'text collate "C"', "int": "bigint"}
        more = "".join(f", {column(i)} {types[each]}" for i, each in enumerate(columns))

        def make(connection: Connection[Any]) -> None:
            connection.execute(
                f"create table {self.path(name)} "
                f"(row bigint primary key, embedding {kind} storage {storage} not null{more})"
            )
            if copied is not None:
                connection.execute(
                    f"insert into {self.path(name)} select * from {self.path(copied)}"
                )

        self.database.change(make, timeout=self._build_timeout)

    def add(
        self,
        name: str,
        rows: Rows,
        vectors: Vectors,
        columns: Sequence[Sequence[str | int | None]] = (),
        *,
        half: bool,
    ) -> None:
        """Add vectors [n, d] under rows [n], with n values for each column: all or none.

        Raises:
            ComponentError: a row is there already.
        """
        data = copied_rows(rows, vectors, columns, half=half)
        names = "".join(f", {column(number)}" for number in range(len(columns)))

        def copy(connection: Connection[Any]) -> None:
            statement = f"copy {self.path(name)} (row, embedding{names}) from stdin (format binary)"
            try:
                with connection.cursor().copy(statement) as copying:
                    copying.write(COPY_HEADER)
                    copying.write(data)
                    copying.write(COPY_END)
            except errors.UniqueViolation as error:
                raise ComponentError(
                    f"index 'pgvector' has a row already that is added: {error.diag.message_detail}"
                ) from None

        self.database.change(copy, timeout=self._build_timeout)

    def finish(self, name: str, config: PgvectorConfig, dim: int, rows: int) -> Finished:
        """Make the graph where there is to be one, and record what the table has.

        Afterwards the database notes that all see all rows: they are then counted in the primary
        key, which is small, and never read again to be kept from old age.

        Raises:
            StoreError: it has another number of rows than were added.
        """

        def make(connection: Connection[Any]) -> Finished:
            if config.method == "hnsw":
                kind = "halfvec" if config.half else "vector"
                connection.execute(
                    f"create index on {self.path(name)} using hnsw "
                    f'(embedding "{self.extension().schema}".{kind}_ip_ops) '
                    f"with (m = {config.m}, ef_construction = {config.ef_construction})"
                )
            count, digest = self._digest(connection, name, config.half, len(config.columns))
            if count != rows:
                raise StoreError(
                    f"{self.database.name}: table {name} has {count} rows, and {rows} were added: "
                    "another program changed it: build again"
                )
            finished = Finished(count, dim, digest, config.method, config.half)
            connection.execute(
                f"insert into {self.path('segments')} (name, rows, dim, digest, method, half) "
                "values (%s, %s, %s, %s, %s, %s)",
                [name, count, dim, digest, config.method, config.half],
            )
            return finished

        finished = self.database.change(make, timeout=self._build_timeout)
        statement = f"vacuum (freeze, analyze) {self.path(name)}"
        self.database.maintain(statement.encode(), timeout=self._build_timeout)
        return finished

    def check(self, name: str, expected: Finished, columns: int, *, full: bool) -> None:
        """Compare a table, which has so many columns, with what a version says of it.

        Its rows are counted, in the primary key; with `full` all are read.

        Raises:
            StoreCorruptError: it is missing, or differs.
        """

        def read(connection: Connection[Any]) -> Finished | None:
            row = connection.execute(
                f"select rows, dim, digest, method, half from {self.path('segments')} "
                "where name = %s",
                [name],
            ).fetchone()
            connection.execute(f"select row from {self.path(name)} limit 1")
            return None if row is None else Finished(*row)

        def count_rows(connection: Connection[Any]) -> int:
            ((rows,),) = connection.execute(f"select count(*) from {self.path(name)}").fetchall()
            return int(rows)

        recorded = self.database.read(read)
        if recorded != expected:
            raise StoreCorruptError(
                f"{self.database.name}: table {name} is recorded as {recorded}, expected "
                f"{expected}: restore it, or build this version of the memory again"
            )
        # A server that hangs was found by the question before, which takes no time.
        stored = self.database.read(count_rows, timeout=self._build_timeout)
        if stored != expected.rows:
            raise StoreCorruptError(
                f"{self.database.name}: table {name} has {stored} rows, expected {expected.rows}: "
                "another program changed it: restore it, or build this version of the memory again"
            )
        if full:
            count, digest = self.database.read(
                lambda connection: self._digest(connection, name, expected.half, columns),
                timeout=self._build_timeout,
            )
            if (count, digest) != (expected.rows, expected.digest):
                raise StoreCorruptError(
                    f"{self.database.name}: table {name} was changed: it has {count} rows with "
                    f"digest {digest}, expected {expected.rows} with {expected.digest}: restore "
                    "it, or build this version of the memory again"
                )

    def drop(self, name: str) -> bool:
        """Drop a table, whether it is finished or not; return False where it is in use elsewhere.

        Raises:
            MemoryUnavailableError: the database does not answer, or refuses.
        """
        return leases_of(self.database).drop(name, self._dropping(name))

    def drop_unsaved(self, name: str) -> None:
        """Drop a table that no version leads to, so that no program has a lease of it.

        By a connection of its own, and without a lock: a garbage collection calls this, which may
        begin while this very thread is using another.
        """
        with self.database.connect() as connection:
            for statement in self._dropping(name):
                self.database.on(connection, partial(_execute, statement=statement))

    def _dropping(self, name: str) -> list[bytes]:
        """Return the statements that drop a table and its record."""
        statements = (
            f"drop table if exists {self.path(checked_name(name))}",
            f"delete from {self.path('segments')} where name = '{name}'",
        )
        return [each.encode() for each in statements]

    def _digest(
        self, connection: Connection[Any], name: str, half: bool, columns: int
    ) -> tuple[int, str]:
        """Count rows, and add up a hash of each, so that their order does not count."""
        sent = f'"{self.extension().schema}".{"halfvec" if half else "vector"}_send(embedding)'
        if columns:
            names = ", ".join(map(column, range(columns)))
            sent += f" || record_send(row({names}))"
        row = connection.execute(
            "select count(*), coalesce(sum(('x' || encode(substring(sha256("
            f"int8send(row) || {sent}) from 1 for 7), 'hex'))::bit(56)::bigint), 0)::text "
            f"from {self.path(name)}"
        ).fetchone()
        assert row is not None  # An aggregate has one row.
        return int(row[0]), str(row[1])


def _execute(connection: Connection[Any], statement: bytes) -> None:
    connection.execute(statement)
