"""Connections by TLS, whose certificate an authority of our own has signed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reader import part

from ragcore.errors import MemoryUnavailableError
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.postgres_server import PostgresServer

pytestmark = pytest.mark.engines

PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(20)]


@pytest.fixture
def tls() -> Any:
    pytest.importorskip("cryptography", reason="no certificates: pip install cryptography")
    return importlib.import_module("tls_proxy")


@pytest.fixture
def authority(tls: Any, tmp_path: Path) -> Any:
    return tls.Authority(tmp_path, "authority")


@pytest.fixture
def port(tls: Any, authority: Any, server: PostgresServer) -> Iterator[int]:
    """Return the port of a server whose certificate is for `localhost`."""
    with tls.tls_before(server.port, authority.server("localhost")) as port:
        yield port


def dsn(server: PostgresServer, port: int, trusted: Path, **options: str) -> str:
    options = {"host": "localhost", "sslmode": "verify-full", "gssencmode": "disable", **options}
    return server.dsn(port=port, sslrootcert=trusted, **options)


def test_a_memory_is_built_and_searched_by_a_verified_connection(
    server: PostgresServer, port: int, authority: Any, tmp_path: Path
) -> None:
    server.execute("drop schema if exists ragcore cascade")
    spec = part(dsn(server, port, authority.file))
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, spec, check=True)
    with store.open(retriever=spec) as memory:
        assert memory.search("text 5 of w5", 1)[0].passages[0].id == "p5"
    store.verify(retriever=spec)


@pytest.mark.parametrize(
    ("who", "host", "reason"),
    [
        ("another", "localhost", "certificate verify failed"),
        ("authority", "127.0.0.1", "does not match host name"),
    ],
)
def test_a_server_that_is_not_trusted_is_not_asked(
    tls: Any,
    server: PostgresServer,
    port: int,
    authority: Any,
    tmp_path: Path,
    who: str,
    host: str,
    reason: str,
) -> None:
    trusted = authority if who == "authority" else tls.Authority(tmp_path, who)
    spec = part(dsn(server, port, trusted.file, host=host))
    with pytest.raises(MemoryUnavailableError, match=reason):
        Store(tmp_path / "store").build("one", PASSAGES, spec)


def test_a_server_without_tls_is_not_asked(
    server: PostgresServer, authority: Any, tmp_path: Path
) -> None:
    spec = part(dsn(server, server.port, authority.file))
    with pytest.raises(MemoryUnavailableError, match="does not support SSL"):
        Store(tmp_path / "store").build("one", PASSAGES, spec)
