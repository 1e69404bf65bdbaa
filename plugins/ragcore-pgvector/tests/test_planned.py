"""Bytes that `ragcore memory plan` computes are those of tables on a real server.

COPY makes a table longer ahead of its rows, by up to 64 pages, as many as the moment wants: a table
may have as many too many.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import MadeIndex
from ragcore.planning.layout import DATABASE_KINDS, IndexKind, index_bytes
from tests.helpers.postgres_server import PostgresServer

pytestmark = pytest.mark.engines

AHEAD = 64 * 8192
"""Bytes of the most pages that PostgreSQL adds at a time."""


@pytest.mark.parametrize(
    ("kind", "rows", "dim"),
    [
        ("pgvector", 40_000, 64),
        ("pgvector", 2_000, 768),
        # Vectors outside of their rows, in several pieces.
        ("pgvector", 500, 2_000),
        ("pgvector-half", 8_000, 768),
        ("pgvector-half", 500, 4_000),
        ("pgvector-hnsw", 4_000, 64),
        ("pgvector-hnsw", 1_500, 768),
        # Neighbours on another page than their vector.
        ("pgvector-hnsw", 200, 2_000),
    ],
)
def test_a_table_has_as_many_bytes_as_the_formula_says(
    made: MadeIndex, server: PostgresServer, tmp_path: Path, kind: IndexKind, rows: int, dim: int
) -> None:
    gc.collect()
    server.execute("drop schema if exists ragcore cascade")
    settings: dict[str, Any] = yaml.safe_load(DATABASE_KINDS[kind])
    del settings["use"]
    index = made(**settings).build(dim=dim)
    vectors = np.random.default_rng(0).standard_normal((rows, dim), np.float32)
    index.add(np.arange(rows), vectors)
    index.save(tmp_path)
    ((size,),) = server.execute(
        "select sum(pg_total_relation_size(format('ragcore.%I', tablename)))::bigint "
        "from pg_tables where schemaname = 'ragcore' and tablename like 'v\\_%'"
    )
    expected = index_bytes(kind, rows, dim)
    assert 0.95 * expected <= size <= 1.03 * expected + AHEAD
