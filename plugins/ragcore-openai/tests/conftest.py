"""Make this folder's helpers importable; a server that runs during a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from embedding_server import KEY, EmbeddingServer, running


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    """A server, and in the environment a key for it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("EMBEDDINGS_KEY", KEY)
    with running() as server:
        yield server
