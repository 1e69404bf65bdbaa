"""One real server for each module of tests, and a schema in it for each test."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ragcore_pgvector.configs import PgvectorConfig
from ragcore_pgvector.index import Pgvector

from ragcore.registry.components import ComponentSpec
from tests.helpers.postgres_server import PostgresServer, postgres_server

sys.path.insert(0, str(Path(__file__).parent))

MadeIndex = Callable[..., ComponentSpec[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server
        # Indexes that were never saved drop their tables while the server is there.
        gc.collect()


@pytest.fixture
def made(server: PostgresServer) -> MadeIndex:
    """Return a function that returns the spec of an index with some settings."""

    def make(**settings: Any) -> ComponentSpec[Any]:
        config = PgvectorConfig(**{"dsn": server.dsn(), **settings})
        return ComponentSpec("index", "pgvector", Pgvector, config)

    return make
