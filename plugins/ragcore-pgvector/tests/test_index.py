"""What the contract does not say of the index: its scores, its plans, its files and its limits."""

from __future__ import annotations

import gc
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from ragcore_pgvector.configs import PgvectorConfig, passwords_in
from ragcore_pgvector.database import database_of
from ragcore_pgvector.index import Pgvector
from ragcore_pgvector.passages import PostgresPassages

from ragcore.disk.remote import POINTER, RemotePointer, pointers_below
from ragcore.errors import (
    ComponentError,
    ConfigError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.registry.components import ComponentSpec
from tests.helpers.postgres_server import PostgresServer

pytestmark = pytest.mark.engines


def drawn(count: int, dim: int = 24, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def filled(spec: ComponentSpec[Any], count: int = 300, dim: int = 24) -> Pgvector:
    index = spec.build(dim=dim)
    index.add(np.arange(count), drawn(count, dim))
    return index


def saved(spec: ComponentSpec[Any], folder: Path, count: int = 300) -> Pgvector:
    folder.mkdir(exist_ok=True)
    filled(spec, count).save(folder)
    return spec.load(folder)


def tables(server: PostgresServer) -> set[str]:
    listed = server.execute("select tablename from pg_tables where schemaname = 'ragcore'")
    return {name for (name,) in listed} - {"identity", "segments"}


def test_scores_equal_those_of_a_flat_index(made: Any, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    vectors, queries = drawn(2_000, 96), drawn(16, 96, seed=1)
    flat = faiss.IndexFlatIP(96)
    flat.add(vectors)
    scores, rows = flat.search(queries, 10)
    index = made().build(dim=96)
    index.add(np.arange(2_000), vectors)
    index.save(tmp_path)
    hits = made().load(tmp_path).search(queries, 10)
    assert np.array_equal(hits.rows, rows)
    assert np.allclose(hits.scores, scores, rtol=1e-5, atol=0)


def test_rows_of_equal_score_ascend(made: Any, tmp_path: Path) -> None:
    vectors = np.repeat(drawn(4), 50, axis=0)
    index = made().build(dim=24)
    index.add(np.arange(200)[::-1].copy(), vectors)
    hits = index.search(vectors[:1], 60)
    assert hits.rows[0, :50].tolist() == list(range(150, 200))


@pytest.mark.parametrize("method", ["exact", "hnsw"])
def test_the_graph_is_walked_only_where_it_is_asked_for(
    made: Any, tmp_path: Path, server: PostgresServer, method: str
) -> None:
    # So that a plan which can use the graph does, though the table is small.
    dsn = f"{server.dsn()} options='-c enable_seqscan=off -c enable_sort=off'"
    saved(made(method="hnsw"), tmp_path)
    name = RemotePointer.read(tmp_path).name
    index = made(method=method, dsn=dsn, connections=1).load(tmp_path)
    assert (index.search(drawn(8, seed=2), 5).rows >= 0).all()
    index._tables.database.read(
        lambda session: session.execute("select pg_stat_force_next_flush()")
    )
    (walks,) = server.execute(
        f"select idx_scan from pg_stat_user_indexes where indexrelname like '{name}_emb%'"
    )[0]
    assert (walks > 0) == (method == "hnsw")


def test_a_filtered_walk_finds_as_many_as_there_are(made: Any, tmp_path: Path) -> None:
    index = saved(made(method="hnsw", ef_search=10, m=4, ef_construction=8), tmp_path, 15_000)
    rng = np.random.default_rng(3)
    for size in (1, 7, 12_000):
        allowed = rng.permutation(15_000)[:size]
        hits = index.search(drawn(4, seed=4), 20, allowed=allowed)
        found = min(size, 20)
        assert (hits.rows[:, :found] >= 0).all()
        assert np.isin(hits.rows[:, :found], allowed).all()


def test_half_the_memory_is_refused_as_vectors(made: Any, tmp_path: Path) -> None:
    index = saved(made(half=True), tmp_path)
    assert "vectors" not in index.capabilities
    with pytest.raises(UnsupportedOperation, match="half: true"):
        index.vectors(np.arange(2))
    too_large = np.full((1, 24), 70_000, np.float32)
    with pytest.raises(ComponentError, match="16 bits"):
        made(half=True).build(dim=24).add(np.arange(1), too_large)


def test_other_settings_than_those_of_the_build_are_refused(made: Any, tmp_path: Path) -> None:
    saved(made(), tmp_path)
    with pytest.raises(MemoryMismatchError, match="built with method: exact, half: false"):
        made(method="hnsw").load(tmp_path)
    with pytest.raises(MemoryMismatchError, match="half: true"):
        made(half=True).load(tmp_path)


def test_vectors_that_pgvector_cannot_have_are_refused_at_once(made: Any) -> None:
    with pytest.raises(ComponentError, match=r"3000 numbers.*set half: true"):
        made(method="hnsw").build(dim=3_000)
    with pytest.raises(ComponentError, match=r"5000 numbers.*set method: exact"):
        made(method="hnsw").build(dim=5_000)
    with pytest.raises(ComponentError, match="another encoder"):
        made().build(dim=20_000)


def test_long_vectors_are_returned(made: Any) -> None:
    index = filled(made(), 5, 2_500)
    assert np.array_equal(index.vectors(np.arange(5)), drawn(5, 2_500))


def test_a_row_that_is_there_leaves_all_as_it_was(made: Any) -> None:
    index = filled(made(), 10)
    with pytest.raises(ComponentError, match=r"a row already.*=\(3\)"):
        index.add(np.array([50, 3]), drawn(2))
    assert len(index) == 10
    assert index.search(drawn(1), 20).rows.max() == 9


def test_a_pointer_is_there_before_a_table(
    made: Any, tmp_path: Path, server: PostgresServer
) -> None:
    gc.collect()
    before = tables(server)
    index = made().build(dim=24)
    index.use_scratch(tmp_path)
    assert not list(pointers_below(tmp_path))
    index.add(np.arange(3), drawn(3))
    (folder,) = pointers_below(tmp_path)
    assert tables(server) - before == {RemotePointer.read(folder).name}
    # Whether a version has a table that is noted there, the store knows.
    made().build(dim=24).use_scratch(tmp_path)
    assert list(pointers_below(tmp_path)) == [folder]
    assert RemotePointer.read(folder).name in tables(server)


def test_an_index_that_is_not_saved_leaves_no_table(made: Any, server: PostgresServer) -> None:
    gc.collect()
    before = tables(server)
    index = filled(made())
    assert len(tables(server) - before) == 1
    del index
    gc.collect()
    assert tables(server) == before


def test_vectors_come_into_a_schema_that_has_passages(
    made: Any, tmp_path: Path, server: PostgresServer
) -> None:
    PostgresPassages(PostgresPassages.Config(dsn=server.dsn(), schema="both")).prepare()
    saved(made(schema="both"), tmp_path).check(full=True)


def test_statements_with_a_time_out_are_one_transaction_whatever_its_length(
    made: Any, server: PostgresServer
) -> None:
    database = database_of(made(timeout=10).config)
    filled(made(), 3)

    def break_off(connection: Any) -> None:
        connection.execute("create table ragcore.half (n integer)")
        raise RuntimeError("it broke off")

    for timeout in (10.0, 20.0):
        with pytest.raises(RuntimeError, match="broke off"):
            database.change(break_off, timeout=timeout)
        assert "half" not in tables(server)


def test_check_finds_what_was_changed(made: Any, tmp_path: Path, server: PostgresServer) -> None:
    index = saved(made(), tmp_path)
    index.check(full=True)
    name = RemotePointer.read(tmp_path).name
    server.execute(f"update ragcore.{name} set embedding = embedding * embedding where row = 7")
    index.check(full=False)
    with pytest.raises(StoreCorruptError, match="was changed"):
        index.check(full=True)
    server.execute(f"drop table ragcore.{name}")
    loaded = made().load(tmp_path)
    for action in (
        partial(index.check, full=False),
        partial(loaded.search, drawn(1), 3),
        partial(index.vectors, np.arange(2)),
    ):
        with pytest.raises(StoreCorruptError, match="dropped by another program"):
            action()
    # Nothing is left to drop, which is no error.
    assert Pgvector.drop(tmp_path, made().config)


def test_another_database_is_refused(made: Any, tmp_path: Path, server: PostgresServer) -> None:
    saved(made(), tmp_path)
    name = RemotePointer.read(tmp_path).name
    other = made(schema="other").config
    with pytest.raises(MemoryMismatchError, match="no memory was built in it"):
        Pgvector.drop(tmp_path, other)
    filled(made(schema="other"), 3)
    for action in (
        lambda: Pgvector.drop(tmp_path, other),
        lambda: made(schema="other").load(tmp_path).check(full=False),
    ):
        with pytest.raises(MemoryMismatchError, match="not the one that the pointer"):
            action()
    assert name in tables(server)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "pg_class; drop table x"},
        {"rows": "many"},
        {"format": 2},
        {"digest": None, "dim": {}},
    ],
)
def test_a_hostile_pointer_reaches_no_database(
    made: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    saved(made(), tmp_path)
    pointer = json.loads((tmp_path / POINTER).read_bytes())
    (tmp_path / POINTER).write_text(json.dumps(pointer | change), encoding="utf-8")
    with pytest.raises(StoreCorruptError):
        made(dsn="host=/nowhere").load(tmp_path)


def test_passwords_are_found_in_any_form() -> None:
    assert passwords_in("host=db password=secret user=x") == ["secret"]
    assert passwords_in("host=db password='a b\\'c'") == ["a b'c"]
    assert passwords_in("postgresql://reader:p%40ss@db/rag?sslpassword=key") == ["key", "p@ss"]
    assert passwords_in("host=db user=reader passfile=/x") == []


@pytest.mark.parametrize(
    ("dsn", "password"),
    [
        (r"host=db password=a\ b user=x", "a b"),
        ("host=db password='never closed", "never closed"),
        ("host=db password=a://b", "a://b"),
        ("host=db scram_client_key=secret", "secret"),
        ("host=db oauth_client_secret=secret", "secret"),
        ("dbname=postgresql://reader:secret@db/rag", "secret"),
        ("postgresql://reader:se#cret?@db/rag", "se#cret?"),
        ("postgresql://reader@db/rag?p%61ssword=secret", "secret"),
        ("postgresql://reader@db/rag?password=se#cret", "se#cret"),
        ("postgresql://reader:secret@[::1/rag", "secret"),
    ],
)
def test_a_password_is_found_where_libpq_sees_one(dsn: str, password: str) -> None:
    assert passwords_in(dsn) == [password]
    with pytest.raises(ValidationError, match="written out"):
        PgvectorConfig(dsn=dsn)


def test_a_password_that_breaks_a_url_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    # libpq takes `reader` for the host, `hunter2` for the port and the rest for the database.
    monkeypatch.setenv("RAG_DSN", "postgresql://reader:hunter2/hunter2@db/rag")
    with pytest.raises(ConfigError, match="the port in dsn is no number") as caught:
        Pgvector(PgvectorConfig(dsn=os.environ["RAG_DSN"]), dim=2)
    assert "hunter2" not in str(caught.value)


def test_a_password_that_is_written_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for dsn in ("host=db password=hunter2", "postgresql://reader:hunter2@db/rag"):
        with pytest.raises(ValueError, match="written out") as caught:
            PgvectorConfig(dsn=dsn)
        assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    assert "hunter2" not in repr(PgvectorConfig(dsn="host=db password=hunter2"))
