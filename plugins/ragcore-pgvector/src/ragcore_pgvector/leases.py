"""Leases of tables: what a program has open on any host is not dropped.

A reader shares an advisory lock of PostgreSQL as long as it has a table open; who drops the table
needs the lock alone. The lock belongs to a session, so that it ends with the reader, however that
ends, and readers need no right to write. One session of a process has all its leases; if it is
lost, the next use takes them again.

Knows names of tables; knows nothing of what is in them. A pool of transactions between (PgBouncer's
`pool_mode = transaction`) gives sessions to others: connect without it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from psycopg import Connection

from ragcore.errors import MemoryUnavailableError, RagcoreError
from ragcore.process.fork import new_rlock
from ragcore_pgvector.database import Database

__all__ = ["Leases", "leases_of"]

_PAUSE: Final = 20.0
"""Seconds for which a session that answered is taken to be there."""

_SHARED: Final[weakref.WeakKeyDictionary[Database, Leases]] = weakref.WeakKeyDictionary()
_LOCK: Final = new_rlock()


def leases_of(database: Database) -> Leases:
    """Return the leases that this process has of a database's tables."""
    with _LOCK:
        leases = _SHARED.get(database)
        if leases is None or not leases.is_own:
            leases = _SHARED[database] = Leases(weakref.ref(database))
        return leases


class Leases:
    """A session, and the tables that it keeps from being dropped."""

    def __init__(self, database: weakref.ref[Database]) -> None:
        self._database = database
        self._pid = os.getpid()
        self._lock = new_rlock()
        self._tables: Counter[str] = Counter()
        self._session: Connection[Any] | None = None
        self._seen = 0.0
        self._failed = 0.0
        self._failure = ""

    @property
    def is_own(self) -> bool:
        """Whether they are this process's, and no copy that a fork has made."""
        return self._pid == os.getpid()

    def take(self, table: str) -> None:
        """Keep a table from being dropped, until `release` was called as often as this.

        Raises:
            MemoryUnavailableError: the database does not answer.
        """
        came = time.monotonic()
        with self._lock:
            self._tables[table] += 1
            try:
                self._fail_as_others(came)
                if self._tables[table] == 1:
                    self._on_session(partial(_share, table=table))
            except BaseException:
                self._tables[table] -= 1
                raise

    def refresh(self) -> None:
        """Take all leases again if the session was lost; looked at now and then.

        Raises:
            MemoryUnavailableError: the database does not answer.
        """
        came = time.monotonic()
        if came - self._seen > _PAUSE:
            with self._lock:
                self._fail_as_others(came)
                if self._seen < came:
                    self._on_session(_ask)

    def release(self, table: str) -> None:
        """End a lease soon, in a thread of its own.

        A garbage collection calls this, which may begin while this very thread is using the
        session.
        """
        with contextlib.suppress(RuntimeError):
            # No thread starts at the end of a process; its session ends then as well.
            threading.Thread(target=self._release, args=(table,), daemon=True).start()

    def _release(self, table: str) -> None:
        """End a lease; an error is none, since the session may be lost."""
        with self._lock:
            self._tables[table] -= 1
            if self._tables[table] > 0:
                return
            del self._tables[table]
            session, database = self._session, self._database()
            if session is None or not self.is_own:
                return
            if database is not None and +self._tables:
                # In time: the lock is waited for by all that search.
                with contextlib.suppress(RagcoreError):
                    database.on(session, partial(_unshare, table=table))
                    return
            session.close()
            self._session, self._seen = None, 0.0

    def drop(self, table: str, statements: list[bytes]) -> bool:
        """Run statements that drop a table, unless another program has it open.

        Returns:
            Whether they were run.

        Raises:
            MemoryUnavailableError: the database does not answer, or refuses.
        """
        database = self._database_now()

        def drop_alone(session: Connection[Any]) -> bool:
            # This process's own lease does not count: the store's locks say that it has ended.
            row = session.execute("select pg_try_advisory_lock(%s)", [_key(table)]).fetchone()
            if row is None or not row[0]:
                return False
            try:
                with session.transaction():
                    session.execute("set local lock_timeout = '5s'")
                    for statement in statements:
                        session.execute(statement)
            finally:
                if not session.broken:
                    session.execute("select pg_advisory_unlock(%s)", [_key(table)])
            return True

        with self._lock:
            if self._session is not None:
                self._on_session(_ask)
            if self._session is not None:
                return database.on(self._session, drop_alone)
        with database.connect() as session:
            return database.on(session, drop_alone)

    def _on_session(self, action: Callable[[Connection[Any]], object]) -> None:
        """Do something with the session; where it was lost, with a new one."""
        database = self._database_now()
        end = time.monotonic() + database.timeout
        if self._session is not None:
            try:
                database.on(self._session, action)
                self._seen = time.monotonic()
                return
            except MemoryUnavailableError as error:
                self._session.close()
                self._session = None
                if time.monotonic() >= end:
                    # It hangs: another session would wait as long.
                    self._failed, self._failure = time.monotonic(), str(error)
                    raise
        try:
            session = database.connect(end - time.monotonic())
            try:
                for table in +self._tables:
                    database.on(session, partial(_share, table=table))
            except BaseException:
                session.close()
                raise
        except MemoryUnavailableError as error:
            self._failed, self._failure = time.monotonic(), str(error)
            raise
        self._session, self._seen = session, time.monotonic()

    def _fail_as_others(self, came: float) -> None:
        """Fail where another thread could not connect while this one waited for the lock.

        Each would wait for a server that hangs as long as that one did, one after the other.

        Args:
            came: when this thread began to wait.

        Raises:
            MemoryUnavailableError: as the other thread's.
        """
        if self._failed > came:
            raise MemoryUnavailableError(self._failure)

    def _database_now(self) -> Database:
        database = self._database()
        assert database is not None  # The caller has it.
        return database


def _ask(session: Connection[Any]) -> None:
    session.execute("select 1")


def _share(session: Connection[Any], table: str) -> None:
    session.execute("select pg_advisory_lock_shared(%s)", [_key(table)])


def _unshare(session: Connection[Any], table: str) -> None:
    session.execute("select pg_advisory_unlock_shared(%s)", [_key(table)])


def _key(table: str) -> int:
    """Return the number of a table's lock: 64 bits, with a sign."""
    return int.from_bytes(blake2b(table.encode(), digest_size=8).digest(), "big", signed=True)
