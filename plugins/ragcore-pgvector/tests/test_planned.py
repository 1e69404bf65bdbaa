"""Bytes that `ragcore memory plan` computes are those of tables on a real server.

COPY makes a table longer ahead of its rows, by as many pages as the moment wants: only the pages
that have rows are counted.
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


@pytest.mark.parametrize(
    ("kind", "rows", "dim"),
    [
        ("pgvector", 4_000, 64),
        ("pgvector", 2_000, 768),
        # Vectors outside of their rows, in several pieces.
        ("pgvector", 500, 2_000),
        ("pgvector-half", 8_000, 768),
        ("pgvector-half", 500, 4_000),
        ("pgvector-hnsw", 1_000, 64),
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
    assert index_bytes(kind, rows, dim) == pytest.approx(used_bytes(server), rel=0.03)


def used_bytes(server: PostgresServer) -> int:
    """Return the bytes of the segments' tables and keys, without pages that have no row."""
    tables = server.execute(
        "select c.oid::regclass::text, pg_relation_size(c.oid) from pg_class c, pg_class owner "
        "where owner.relnamespace = 'ragcore'::regnamespace and owner.relkind = 'r' "
        "and owner.relname like 'v\\_%' and c.oid in (owner.oid, owner.reltoastrelid)"
    )
    ((total,),) = server.execute(
        "select sum(pg_total_relation_size(oid))::bigint from pg_class "
        "where relnamespace = 'ragcore'::regnamespace and relkind = 'r' and relname like 'v\\_%'"
    )
    for table, size in tables:
        ((pages,),) = server.execute(f"select count(distinct (ctid::text::point)[0]) from {table}")
        total += 8192 * pages - size
    return int(total)
