"""A server whose PostgreSQL hangs: it takes connections and says nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from gated_rag import make_rag
from serving_app import QUESTION, error_of, serving

from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from tests.helpers.postgres_server import postgres_server
from tests.helpers.word_encoder import WordEncoder

pytestmark = pytest.mark.engines

TIMEOUT = 4.0


def part(dsn: str) -> ComponentSpec[Any]:
    index = spec_from_dict("index", {"use": "pgvector", "dsn": dsn, "timeout": TIMEOUT})
    encoder = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config())
    return ComponentSpec("retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index))


def test_a_server_whose_database_hangs_says_so_in_time(tmp_path: Path) -> None:
    pytest.importorskip("ragcore_pgvector", reason="ragcore-pgvector is not installed")
    with (
        postgres_server() as server,
        serving(tmp_path, make_rag(tmp_path, part=part(server.dsn()))) as client,
    ):
        assert client.post("/v1/answer", {"question": QUESTION}).status_code == 200
        with server.frozen():
            began = time.monotonic()
            reply = client.post("/v1/answer", {"question": QUESTION})
            assert (reply.status_code, error_of(reply)) == (503, "MemoryUnavailableError")
            assert time.monotonic() - began < 2 * TIMEOUT
            # A probe waits for a second, and not for the time-out of the database.
            began = time.monotonic()
            assert client.get("/readyz").status_code == 503
            assert time.monotonic() - began < TIMEOUT
            assert client.get("/livez").status_code == 200
        assert 200 in (client.get("/readyz").status_code for _ in range(30))
        assert client.post("/v1/answer", {"question": QUESTION}).status_code == 200
