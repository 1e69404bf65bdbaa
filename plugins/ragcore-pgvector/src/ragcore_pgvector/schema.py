"""A schema of a database, and the identity by which pointers know the database again.

    ragcore.identity    one row: what tells this database from others; it goes along with a dump

Vectors and passages are in the same schema. Knows the schema; knows nothing of what is in its other
tables.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from psycopg import Connection, errors

from ragcore.errors import MemoryMismatchError
from ragcore_pgvector.database import Database

__all__ = ["Schema"]

_IDENTITY: Final = "identity"
_COLUMNS: Final = "one boolean primary key default true check (one), id text not null"


class Schema:
    """A schema of a name, which config.py has checked; it may not exist yet."""

    def __init__(self, database: Database, name: str) -> None:
        """Connect to nothing yet."""
        self.database = database
        self.name = name

    def path(self, table: str) -> str:
        """Return how SQL names a table; the caller has checked its name."""
        return f'"{self.name}"."{table}"'

    def identity(self) -> str:
        """Return what tells the database from others.

        Raises:
            MemoryMismatchError: no memory was built in it.
        """

        def read(connection: Connection[Any]) -> str | None:
            try:
                row = connection.execute(
                    f"select id from {self.path(_IDENTITY)}".encode()
                ).fetchone()
            except (errors.UndefinedTable, errors.InvalidSchemaName):
                return None
            return None if row is None else str(row[0])

        identity = self.database.read(read)
        if identity is None:
            raise MemoryMismatchError(
                f"{self.database.name} has no table {self.path(_IDENTITY)}, so that no memory was "
                "built in it: check `dsn` and `schema`"
            )
        return identity

    def prepare(self, tables: Mapping[str, str]) -> str:
        """Make what is missing of the schema; return the database's identity.

        Args:
            tables: columns of tables that are needed in it, by their names.

        Raises:
            MemoryUnavailableError: the user may not, or the database does not answer.
        """
        needed = {_IDENTITY: _COLUMNS, **tables}
        if self._has(list(needed)):
            try:
                return self.identity()
            except MemoryMismatchError:
                # Its row is missing.
                pass

        def make(connection: Connection[Any]) -> None:
            with connection.transaction():
                # Two builds that begin at the same moment would both make it.
                connection.execute("select pg_advisory_xact_lock(hashtext('ragcore schema'))")
                known = connection.execute(
                    "select 1 from pg_namespace where nspname = %s", [self.name]
                ).fetchone()
                if known is None:
                    connection.execute(f'create schema "{self.name}"'.encode())
                for table, columns in needed.items():
                    statement = f"create table if not exists {self.path(table)} ({columns})"
                    connection.execute(statement.encode())
                connection.execute(
                    f"insert into {self.path(_IDENTITY)} (id) values (%s) "
                    "on conflict do nothing".encode(),
                    [uuid.uuid4().hex],
                )

        self.database.change(make)
        return self.identity()

    def _has(self, tables: list[str]) -> bool:
        """Return whether all of these tables are there."""
        paths = [self.path(table) for table in tables]
        row = self.database.read(
            lambda connection: connection.execute(
                "select count(to_regclass(path)) from unnest(%s::text[]) as path", [paths]
            ).fetchone()
        )
        return row is not None and row[0] == len(paths)
