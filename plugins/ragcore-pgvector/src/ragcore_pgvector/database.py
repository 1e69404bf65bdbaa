"""A PostgreSQL database: connections, time-outs, one retry, and errors without passwords.

All components of a process that are configured alike share one pool. Knows how statements are run;
knows nothing of what is stored.
"""

from __future__ import annotations

import logging
import math
import os
import random
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, TypeVar

import psycopg
from psycopg import Connection, errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from ragcore.errors import ConfigError, MemoryUnavailableError, StoreCorruptError, StoreError
from ragcore.process.fork import new_lock
from ragcore_pgvector.configs import DatabaseConfig, passwords_in

__all__ = ["Database", "database_of"]

# It warns of each connection that was lost, whatever comes of it; errors are raised.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

_GRACE: Final = 2.0
"""Seconds at most, after which a connection is cut whose server does not say that time is over."""

_NO_ROOM: Final = (
    errors.InsufficientResources,
    errors.DiskFull,
    errors.OutOfMemory,
    errors.TooManyConnections,
    errors.ConfigurationLimitExceeded,
    errors.ProgramLimitExceeded,
)

T = TypeVar("T")

_SHARED: Final[weakref.WeakValueDictionary[tuple[Any, ...], Database]] = (
    weakref.WeakValueDictionary()
)
_LOCK: Final = new_lock()


def database_of(config: DatabaseConfig, settings: tuple[tuple[str, str], ...] = ()) -> Database:
    """Return the database that all components of this process share which have such a config.

    Args:
        config: how to connect.
        settings: of PostgreSQL, by name, that each connection has.
    """
    key = (os.getpid(), config.dsn, config.timeout, config.connections, settings)
    with _LOCK:
        database = _SHARED.get(key)
        if database is None:
            database = _SHARED[key] = Database(config, settings)
        return database


class _Pool(ConnectionPool[Connection[Any]]):
    """A pool that leaves the state of `random` alone, which belongs to the program."""

    _random: ClassVar[random.Random] = random.Random()

    @classmethod
    def _jitter(cls, value: float, min_pc: float, max_pc: float) -> float:
        """Return a life time a little longer or shorter, so that not all end together."""
        return value * (1.0 + cls._random.uniform(min_pc, max_pc))


class Database:
    """A pool of connections, which is opened by the first statement.

    Its methods may be called by several threads.
    """

    def __init__(self, config: DatabaseConfig, settings: tuple[tuple[str, str], ...] = ()) -> None:
        """Take over how to connect; connect to nothing.

        Raises:
            ConfigError: libpq cannot read the dsn.
        """
        self.timeout = config.timeout
        self._connections = config.connections
        self._settings = settings
        self._secrets = passwords_in(config.dsn)
        try:
            parameters = conninfo_to_dict(config.dsn)
        except psycopg.ProgrammingError:
            # Its message quotes what it could not read.
            raise ConfigError(
                "pgvector: libpq cannot read the dsn: write host=… dbname=… user=…, or "
                "postgresql://user@host/dbname"
            ) from None
        ports = str(parameters.get("port") or "").split(",")
        if not all(port.isdecimal() or not port for port in ports):
            # What it is taken for may be the half of a password.
            raise ConfigError(
                "pgvector: the port in dsn is no number: write / and @ in a password as %2F and %40"
            )
        # libpq waits for each host, and for none less than two seconds.
        hosts = max(1, str(parameters.get("host") or "").count(",") + 1)
        self._connect_timeout = max(2, round(config.timeout / hosts))
        self._has_connect_timeout = "connect_timeout" in parameters
        parameters.setdefault("connect_timeout", self._connect_timeout)
        # A router between drops connections that are silent.
        parameters.setdefault("keepalives_idle", 30)
        parameters.setdefault("keepalives_interval", 5)
        parameters.setdefault("keepalives_count", 3)
        # And loses what is sent, in time for a second try.
        parameters.setdefault("tcp_user_timeout", max(1, round(500 * config.timeout)))
        self._conninfo = make_conninfo("", **parameters)
        where = [f"host {parameters['host']}"] if parameters.get("host") else []
        where += [f"port {parameters['port']}"] if parameters.get("port") else []
        self.name = f"PostgreSQL database {parameters.get('dbname') or 'of the user'!r}" + (
            f" ({', '.join(where)})" if where else ""
        )
        self._pool: ConnectionPool[Connection[Any]] | None = None
        self._pid = os.getpid()
        self._lock = new_lock()

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def read(self, action: Callable[[Connection[Any]], T], *, timeout: float | None = None) -> T:
        """Run statements that change nothing; once more where the connection was lost.

        Both tries together end after the time-out, and the little by which a server that hangs is
        told from one that is slow.

        Args:
            action: called with a connection in autocommit mode.
            timeout: seconds; those of the config where None.

        Raises:
            MemoryUnavailableError: the database does not answer in time, twice, or refuses.
            StoreCorruptError: a table is missing.
            StoreError: a statement fails for another reason.
        """
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            return self.change(action, timeout=timeout)
        except MemoryUnavailableError as error:
            left = end - time.monotonic()
            if left <= 0 or not _is_lost(error.__cause__):
                raise
            return self._change(action, timeout, left)

    def change(self, action: Callable[[Connection[Any]], T], *, timeout: float | None = None) -> T:
        """Run statements once, as `read` does; with a `timeout`, in one transaction."""
        return self._change(action, timeout, None)

    def _change(
        self, action: Callable[[Connection[Any]], T], timeout: float | None, left: float | None
    ) -> T:
        """Run statements once.

        Args:
            action: see `read`.
            timeout: see `read`.
            left: seconds after which the connection is cut; where None, as `timeout` says.
        """
        with self._explaining(), self._connection(left) as connection:
            return self._in_time(connection, action, timeout, limit=left)

    def maintain(self, statement: bytes, *, timeout: float) -> None:
        """Run a statement that cannot be in a transaction, such as VACUUM, once.

        By a connection of its own, so that its time-out is no other statement's.

        Args:
            statement: one.
            timeout: seconds.

        Raises:
            MemoryUnavailableError: the database does not answer in time, or refuses.
        """
        with self.connect() as connection, self._explaining():
            self._in_time(
                connection,
                lambda own: own.execute(
                    "select set_config('statement_timeout', %s, false)",
                    [f"{round(1000 * timeout)}"],
                ),
            )
            self._in_time(connection, lambda own: own.execute(statement), limit=timeout)

    def connect(self, left: float | None = None) -> Connection[Any]:
        """Open a connection of its own, in autocommit mode; the caller closes it.

        Args:
            left: seconds that connecting may take; where None, as the config says.

        Raises:
            MemoryUnavailableError: the database does not answer, or refuses.
        """
        with self._explaining():
            options: dict[str, Any] = {}
            if left is not None and not self._has_connect_timeout:
                options["connect_timeout"] = max(2, min(self._connect_timeout, math.ceil(left)))
            connection = psycopg.connect(self._conninfo, autocommit=True, **options)
            try:
                self._in_time(connection, self._configure, limit=left)
            except BaseException:
                connection.close()
                raise
            return connection

    def on(self, connection: Connection[Any], action: Callable[[Connection[Any]], T]) -> T:
        """Run statements on a connection that `connect` returned; see `change`."""
        with self._explaining():
            return self._in_time(connection, action)

    def shown(self, text: str) -> str:
        """Return a text without the passwords of the dsn."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    def _configure(self, connection: Connection[Any]) -> None:
        settings = (("statement_timeout", f"{round(1000 * self.timeout)}"), *self._settings)
        calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
        connection.execute(
            f"select {calls}".encode(), [text for setting in settings for text in setting]
        )

    @contextmanager
    def _connection(self, left: float | None) -> Iterator[Connection[Any]]:
        """Take a connection from the pool; where one is lost, all that are idle are as well."""
        pool = self._open_pool(left)
        try:
            with pool.connection(timeout=self.timeout if left is None else left) as connection:
                yield connection
        except (psycopg.OperationalError, PoolClosed) as error:
            if _is_lost(error):
                with self._lock:
                    if self._pool is pool:
                        self._pool = None
                # What still connects to a server that hangs is not waited for.
                pool.close(timeout=0)
            raise

    def _open_pool(self, left: float | None) -> ConnectionPool[Connection[Any]]:
        """Return the pool; a new one after a fork, and after a connection was lost."""
        pool = self._pool
        if pool is not None and self._pid == os.getpid():
            return pool
        # The pool tries again and again until time is over: this one fails early, and says why.
        self.connect(left).close()
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._pool = _Pool(
                    self._conninfo,
                    min_size=0,
                    max_size=self._connections,
                    kwargs={"autocommit": True},
                    configure=self._configure,
                    open=True,
                )
                self._pid = os.getpid()
                weakref.finalize(self, _close, self._pool, self._pid)
            return self._pool

    def _in_time(
        self,
        connection: Connection[Any],
        action: Callable[[Connection[Any]], T],
        timeout: float | None = None,
        *,
        limit: float | None = None,
    ) -> T:
        """Run statements, and cut the connection where the server is silent for too long.

        In one transaction where a `timeout` is named, which is that of the transaction alone.

        Args:
            connection: in autocommit mode.
            action: called with it.
            timeout: seconds; those that the connection has where None.
            limit: seconds after which it is cut; somewhat later than `timeout` where None.
        """
        late = threading.Event()
        seconds = self.timeout if timeout is None else timeout
        if limit is not None:
            seconds = limit

        def cut() -> None:
            late.set()
            with socket.socket(fileno=os.dup(connection.fileno())) as ending:
                ending.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds + min(_GRACE, seconds / 4), cut)
        timer.daemon = True
        timer.start()
        try:
            if timeout is None:
                return action(connection)
            with connection.transaction():
                setting = f"{round(1000 * timeout)}"
                connection.execute("select set_config('statement_timeout', %s, true)", [setting])
                return action(connection)
        except psycopg.OperationalError as error:
            if late.is_set():
                raise errors.QueryCanceled(f"no answer in {seconds:g} seconds") from error
            raise
        finally:
            timer.cancel()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn errors of the driver into ragcore's, which name the database."""
        try:
            yield
        except errors.UndefinedTable as error:
            raise StoreCorruptError(
                f"{self.name}: {self._reason(error)}: it was dropped by another program: restore "
                "it, or build this version of the memory again"
            ) from error
        except (errors.UndefinedColumn, errors.DatatypeMismatch, errors.WrongObjectType) as error:
            raise StoreCorruptError(
                f"{self.name}: {self._reason(error)}: a table was altered by another program: "
                "restore it, or build this version of the memory again"
            ) from error
        except _NO_ROOM as error:
            raise MemoryUnavailableError(
                f"{self.name} has no room: {self._reason(error)}: make room on the server, or "
                "raise its limit"
            ) from error
        except errors.InsufficientPrivilege as error:
            raise MemoryUnavailableError(
                f"{self.name} refuses: {self._reason(error)}: grant the user of the dsn what the "
                "README of ragcore-pgvector lists"
            ) from error
        except errors.ReadOnlySqlTransaction as error:
            raise MemoryUnavailableError(
                f"{self.name} is read-only: {self._reason(error)}: name the primary server in dsn"
            ) from error
        except (psycopg.OperationalError, PoolTimeout, PoolClosed) as error:
            raise MemoryUnavailableError(
                f"{self.name} does not answer: {self._reason(error)}: check that it runs and can "
                "be reached, and `dsn` and `timeout`"
            ) from error
        except psycopg.errors.DataException as error:
            raise StoreError(f"{self.name} refuses a value: {self._reason(error)}") from error
        except psycopg.Error as error:
            raise StoreError(f"{self.name}: a statement failed: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        """Return the first line of a driver's message."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return self.shown(re.sub(r"\s+", " ", lines[0]))[:300]


def _is_lost(error: BaseException | None) -> bool:
    """Return whether an error says that a connection was lost, or could not be made."""
    if isinstance(error, _NO_ROOM):
        return False
    if isinstance(error, PoolTimeout | errors.QueryCanceled | errors.LockNotAvailable):
        return isinstance(error.__cause__, psycopg.OperationalError)
    return isinstance(error, psycopg.OperationalError | PoolClosed)


def _close(pool: ConnectionPool[Connection[Any]], pid: int) -> None:
    """Close a pool; not that of another process, whose connections a fork has copied."""
    if pid == os.getpid():
        pool.close(timeout=1)
