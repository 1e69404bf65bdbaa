"""Memories in a real PostgreSQL by the command line: build, update, verify, go back, collect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragcore.cli import main
from tests.conftest import Installed
from tests.helpers.postgres_server import PostgresServer, postgres_server

pytestmark = pytest.mark.engines

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  cache: null
  retriever:
    use: dense
    encoder: {use: words}
    index: {use: pgvector, dsn: "${env:RAG_DSN}", timeout: 5}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    pytest.importorskip("ragcore_pgvector")
    pytest.importorskip("psycopg")
    with postgres_server() as server:
        server.execute("create role builder login superuser password 'hunter2'")
        yield server


@pytest.fixture
def pipeline(
    installed: Installed, tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> Path:
    installed.add("words", "from tests.helpers.word_encoder import ragcore_encoders\n")
    installed.add("pgvector", "from ragcore_pgvector.plugin import ragcore_indexes\n")
    monkeypatch.setenv("RAG_DSN", f"{server.dsn(user='builder')} password=hunter2")
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    write_passages(tmp_path, 20)
    return tmp_path / "pipeline.yaml"


def write_passages(folder: Path, count: int) -> None:
    rows = [{"id": f"p{n}", "title": "", "text": f"text {n} of w{n % 5}"} for n in range(count)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "passages.jsonl").write_text(text, encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main([str(argument) for argument in arguments]) == code
    printed = capsys.readouterr()
    assert "hunter2" not in printed.out + printed.err
    return printed.out if not code else printed.err


def tables(server: PostgresServer) -> int:
    ((count,),) = server.execute(
        "select count(*) from pg_tables where schemaname = 'ragcore' and tablename like 'v_%'"
    )
    return int(count)


def test_a_memory_lives_by_the_command_line(
    pipeline: Path,
    server: PostgresServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = pipeline.parent
    run(capsys, "memory", "build", pipeline, "--version", "one")
    assert tables(server) == 1
    write_passages(folder, 23)
    run(capsys, "memory", "update", pipeline, "--version", "two")
    assert "text 22" in run(capsys, "search", pipeline, "text 22 of w2")
    assert "is intact" in run(capsys, "memory", "verify", pipeline)
    run(capsys, "memory", "rollback", pipeline)
    assert "text 22 " not in run(capsys, "search", pipeline, "text 22 of w2")
    run(capsys, "memory", "activate", pipeline, "two", "--check")
    write_passages(folder, 5)
    run(capsys, "memory", "build", pipeline, "--version", "three")
    before = tables(server)
    assert "to drop" in run(capsys, "memory", "gc", pipeline, "--keep", 1, "--dry-run")
    assert tables(server) == before
    # The store's folder alone: as its versions record it, with the environment's secret.
    assert "dropped" in run(capsys, "memory", "gc", folder / "store", "--keep", 1)
    assert tables(server) == 1
    message = run(capsys, "memory", "export", pipeline, folder / "three.tar", code=2)
    assert "cannot be exported" in message
    texts = [path.read_bytes() for path in (folder / "store").rglob("*") if path.is_file()]
    assert not any(b"hunter2" in text for text in texts)
    server.stop()
    for command in (["search", pipeline, "text"], ["memory", "verify", pipeline]):
        assert "does not answer" in run(capsys, *command, code=2)
    monkeypatch.delenv("RAG_DSN")
    assert "RAG_DSN is not set" in run(capsys, "memory", "verify", folder / "store", code=2)
