"""Memories in PostgreSQL: builds, updates, gc, and what goes wrong with a database meanwhile."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ragcore_pgvector import leases
from ragcore_pgvector.database import database_of
from ragcore_pgvector.passages import PostgresPassages
from reader import part

from ragcore.disk.remote import RemotePointer, pointers_below
from ragcore.errors import MemoryUnavailableError, StoreCorruptError, StoreError
from ragcore.registry.components import ComponentSpec
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.postgres_server import PostgresServer
from tests.helpers.word_encoder import dense_part

pytestmark = pytest.mark.engines

ROOT = Path(__file__).parents[3]
PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(60)]
SECONDS = 60


@pytest.fixture
def spec(server: PostgresServer) -> ComponentSpec[Any]:
    return part(server.dsn(), timeout=2)


@pytest.fixture
def store(tmp_path: Path, spec: ComponentSpec[Any], server: PostgresServer) -> Store:
    gc.collect()
    server.execute("drop schema if exists ragcore cascade")
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, spec, check=True)
    return store


def tables(server: PostgresServer) -> set[str]:
    listed = server.execute("select tablename from pg_tables where schemaname = 'ragcore'")
    recorded = server.execute("select name from ragcore.segments")
    names = {name for (name,) in listed} - {"identity", "segments"}
    assert {name for (name,) in recorded} <= names
    return names


def named(folder: Path) -> set[str]:
    return {RemotePointer.read(each).name for each in pointers_below(folder)}


def found(store: Store, spec: ComponentSpec[Any], question: str = "text 5 of w5") -> list[str]:
    with store.open(retriever=spec) as memory:
        (result,) = memory.search(question, 3)
        return [passage.id for passage in result.passages]


def news(version: str) -> Changes:
    return Changes({"news": Passage("news", "", f"news of the day {version}")}, {})


def test_passages_may_be_in_the_database_before_the_first_vectors(
    tmp_path: Path, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    server.execute("drop schema if exists ragcore cascade")
    config = PostgresPassages.Config(dsn=server.dsn())
    passages = ComponentSpec("passages", "postgres", PostgresPassages, config)
    # Vectors in files: the schema has an identity then, and no records of segments.
    words = Store(tmp_path / "words", passages=passages)
    words.build("one", PASSAGES, dense_part())
    assert found(words, dense_part())[0] == "p5"
    both = Store(tmp_path / "both", passages=passages)
    both.build("one", PASSAGES, spec, check=True)
    assert found(both, spec)[0] == "p5"


def test_a_memory_is_built_updated_rolled_back_forgotten_and_collected(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    assert found(store, spec)[0] == "p5"
    first = tables(server)
    store.update("two", news("two"), retriever=spec)
    assert found(store, spec, "news of the day")[0] == "news"
    assert first < tables(server) == named(store.folder)
    store.rollback()
    assert found(store, spec, "news of the day")[0] != "news"
    store.verify(retriever=spec)
    store.activate("two")
    assert store.gc(1, retriever=spec).removed == ("one",)
    assert tables(server) == named(store.folder) > first
    store.forget(["p5"], everywhere=True, retriever=spec)
    assert not first & tables(server)
    assert tables(server) == named(store.folder)
    store.build("three", PASSAGES[:4], spec)
    store.gc(1, retriever=spec)
    assert len(tables(server)) == 1


def test_a_failed_build_leaves_no_table(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    def corpus() -> Iterator[Passage]:
        yield from PASSAGES
        raise RuntimeError("the corpus broke off")

    before = tables(server)
    with pytest.raises(RuntimeError, match="broke off"):
        store.build("two", corpus(), spec, batch=8)
    assert tables(server) == before


KILLED = """
import os, signal, sys
sys.path.insert(0, os.path.dirname(sys.argv[3]))
from reader import part
from ragcore.store.store import Store
from ragcore.types import Passage

def corpus():
    for n in range(60):
        if n == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Passage(f"p{n}", "", f"text {n}")

Store(sys.argv[1]).build("two", corpus(), part(sys.argv[2]), batch=8)
"""


def environment() -> dict[str, str]:
    paths = [str(Path(__file__).parent), str(ROOT), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_the_table_of_a_killed_build_goes_with_gc(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, store.folder, server.dsn(), __file__],
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == -signal.SIGKILL
    assert len(tables(server)) == 2
    assert store.gc(1, retriever=spec).remote == 1
    assert tables(server) == named(store.folder)


def test_a_server_that_is_killed_in_a_build_loses_nothing(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    def corpus() -> Iterator[Passage]:
        yield from PASSAGES[:40]
        server.kill()
        yield from PASSAGES[40:]

    with pytest.raises(MemoryUnavailableError, match="does not answer"):
        store.build("two", corpus(), spec, batch=8)
    server.restart()
    assert [each.name for each in store.versions()] == ["one"]
    assert found(store, spec)[0] == "p5"
    store.build("two", PASSAGES, spec, batch=8)
    assert tables(server) == named(store.folder)
    assert len(tables(server)) == 2


def test_a_server_that_is_killed_under_queries_is_found_again(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    outcomes: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        with store.open(retriever=spec) as memory:
            while not ended.is_set():
                try:
                    (result,) = memory.search("text 5 of w5", 3)
                    outcomes.append(result.passages[0].id)
                except MemoryUnavailableError:
                    outcomes.append("unavailable")

    def wait_for(outcome: str, since: int) -> int:
        end = time.monotonic() + SECONDS
        while outcome not in outcomes[since:]:
            assert time.monotonic() < end, outcomes[-5:]
            time.sleep(0.01)
        return len(outcomes)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        seen = wait_for("p5", 0)
        server.kill()
        seen = wait_for("unavailable", seen)
        server.restart()
        wait_for("p5", seen)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert set(outcomes) == {"p5", "unavailable"}


def test_a_server_that_hangs_is_left_in_time(
    store: Store, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = part(server.dsn(), timeout=4)
    with store.open(retriever=spec) as memory:
        memory.search("text 5", 3)
        # By a connection that is there, by one of a lease that is looked at, and by a new one.
        for pause in (20.0, -1.0, 20.0):
            monkeypatch.setattr(leases, "_PAUSE", pause)
            began = time.monotonic()
            with server.frozen(), pytest.raises(MemoryUnavailableError, match="does not answer"):
                memory.search("text 5", 3)
            # The time-out of four seconds, a quarter more, and what a busy machine takes.
            assert 3.9 < time.monotonic() - began < 7.5
        assert memory.search("text 5 of w5", 3)[0].passages[0].id == "p5"


def test_an_unreachable_database_is_named_without_its_password(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PG_PASSWORD", "hunter2")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for dsn in (
            f"host=127.0.0.1 port={port} dbname=rag user=reader password=hunter2",
            f"postgresql://reader:hunter2@127.0.0.1:{port}/rag",
        ):
            away = part(dsn)
            for action in (
                lambda away=away: store.open(retriever=away),
                lambda away=away: store.verify(retriever=away),
                lambda away=away: store.build("two", PASSAGES, away),
            ):
                with pytest.raises(MemoryUnavailableError, match="does not answer") as caught:
                    action()
                chain: BaseException | None = caught.value
                while chain is not None:
                    assert "hunter2" not in f"{chain!r}"
                    chain = chain.__cause__ or chain.__context__
                assert f"port {port}" in str(caught.value)
            assert "hunter2" not in repr(database_of(away.config.index.config))
    assert "hunter2" not in caplog.text
    assert [each.name for each in store.versions()] == ["one"]


def test_a_password_is_in_no_file_of_a_store(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PG_DSN", f"{server.dsn()} password=hunter2")
    secret = part(os.environ["PG_DSN"])
    secret.config.index.secrets = {("dsn",): "${env:PG_DSN}"}
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, secret, check=True)
    store.update("two", news("two"), retriever=secret)
    for path in store.folder.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path
    assert store.manifest().retriever["index"]["dsn"] == "${env:PG_DSN}"


def test_a_read_only_database_refuses_builds_and_answers(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    server.execute("alter database rag set default_transaction_read_only = on")
    try:
        readers = part(f"{server.dsn()} application_name=readers")
        assert found(store, readers)[0] == "p5"
        with pytest.raises(MemoryUnavailableError, match=r"is read-only.*primary server"):
            store.build("two", PASSAGES, readers)
        assert [each.name for each in store.versions()] == ["one"]
    finally:
        server.execute(
            "set default_transaction_read_only = off",
            "alter database rag reset default_transaction_read_only",
        )
    # The pointer of what could not be dropped is there still.
    assert store.gc(1, retriever=spec).left == ()
    assert tables(server) == named(store.folder)


def test_a_reader_needs_the_right_to_select_alone(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    server.execute(
        "drop role if exists reader",
        "create role reader login",
        "grant usage on schema ragcore to reader",
        "grant select on all tables in schema ragcore to reader",
        "alter default privileges in schema ragcore grant select on tables to reader",
    )
    readers = part(server.dsn(user="reader"))
    assert found(store, readers)[0] == "p5"
    store.verify(retriever=readers)
    store.update("two", news("two"), retriever=spec)
    assert found(store, readers, "news of the day")[0] == "news"
    with pytest.raises(MemoryUnavailableError, match=r"refuses: permission denied.*grant"):
        store.build("three", PASSAGES, readers)
    store.build("three", PASSAGES, spec)
    with pytest.raises(MemoryUnavailableError, match="refuses"):
        store.gc(1, retriever=readers)
    assert store.gc(1, retriever=spec).remote == 2
    assert tables(server) == named(store.folder)
    server.execute("drop owned by reader", "drop role reader")


@pytest.mark.parametrize(
    "page", ["plugins/ragcore-pgvector/README.md", "docs/how-to/one-memory-many-servers.md"]
)
def test_the_rights_that_the_pages_grant_are_enough(
    tmp_path: Path, server: PostgresServer, page: str
) -> None:
    server.execute("drop schema if exists ragcore cascade")
    text = (ROOT / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    statements = [each.strip() for each in block.split(";") if each.strip()]
    # Sessions of the other page's roles are of no use: these have the same names, no more.
    writer, reader = (
        part(server.dsn(user=user, application_name=tmp_path.name))
        for user in ("rag_writer", "rag_reader")
    )
    store = Store(tmp_path / "store")
    try:
        later = []
        for statement in statements:
            statement = statement.removeprefix("\\c rag").strip()
            if statement.startswith(("create database", "create extension")):
                continue
            # What names the schema can run once it is there.
            if "create schema" not in block and "schema ragcore" in statement:
                later.append(statement)
            else:
                server.execute(statement)
        store.build("one", PASSAGES, writer)
        if later:
            server.execute(*later)
        store.update("two", news("two"), retriever=writer)
        assert found(store, reader, "news of the day")[0] == "news"
        store.build("three", PASSAGES, writer)
        with pytest.raises(MemoryUnavailableError, match="refuses"):
            store.gc(1, retriever=reader)
        store.gc(1, retriever=writer)
        assert tables(server) == named(store.folder)
    finally:
        gc.collect()
        server.execute(
            "drop owned by rag_writer cascade",
            "drop owned by rag_reader",
            "drop role rag_writer, rag_reader",
        )


@pytest.mark.parametrize(
    ("statement", "undo", "message"),
    [
        (
            "update pg_extension set extversion = '0.7.4' where extname = 'vector'",
            "update pg_extension set extversion = '0.8.5' where extname = 'vector'",
            "has pgvector 0.7.4: expected 0.8 or later",
        ),
        ("drop extension vector cascade", "create extension vector", "has no extension pgvector"),
    ],
)
def test_a_wrong_extension_is_named(
    tmp_path: Path, server: PostgresServer, statement: str, undo: str, message: str
) -> None:
    server.execute(statement)
    try:
        with pytest.raises(StoreError, match=message):
            Store(tmp_path / "store").build(
                "one", PASSAGES, part(f"{server.dsn()} application_name=x")
            )
    finally:
        server.execute(undo)


def test_a_table_that_was_dropped_behind_our_back_is_damage(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    with store.open(retriever=spec) as memory:
        (table,) = tables(server)
        server.execute(f"drop table ragcore.{table}", "delete from ragcore.segments")
        with pytest.raises(StoreCorruptError, match="dropped by another program"):
            memory.search("text", 3)
    with pytest.raises(StoreCorruptError):
        store.open(retriever=spec)
    store.build("two", PASSAGES, spec)
    assert store.gc(1, retriever=spec).removed == ("one",)


def start_reader(folder: Path, server: PostgresServer) -> subprocess.Popen[str]:
    reader = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("reader.py"), folder, server.dsn()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert reader.stdout is not None
    line = reader.stdout.readline()
    if line != "ready\n":
        raise AssertionError(reader.communicate()[1])
    return reader


def test_versions_change_under_readers_of_two_processes(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    store.update("v0", news("v0"), retriever=spec)
    readers = [start_reader(store.folder, server) for _ in range(2)]
    for number in range(1, 6):
        store.update(f"v{number}", news(f"v{number}"), retriever=spec)
        store.gc(1, retriever=spec)
    for reader in readers:
        printed, errors = reader.communicate("", timeout=SECONDS)
        assert reader.returncode == 0, errors
        count, *seen = printed.split()
        assert int(count) > 5
        assert seen[0] == "v0"
        assert seen == sorted(seen)
    store.gc(1, retriever=spec)
    assert tables(server) == named(store.folder)


def test_a_reader_on_another_host_keeps_what_it_has_open(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer, tmp_path: Path
) -> None:
    # A copy of the folder, whose locks this store does not see.
    store.update("v0", news("v0"), retriever=spec)
    shutil.copytree(store.folder, tmp_path / "copy")
    reader = start_reader(tmp_path / "copy", server)
    store.build("two", PASSAGES, spec)
    before = tables(server)
    collected = store.gc(1, retriever=spec)
    assert {"v0", "one"} == set(collected.removed)
    assert "a program elsewhere has it open" in collected.left[0].problem
    assert tables(server) == before
    printed, errors = reader.communicate("", timeout=SECONDS)
    assert reader.returncode == 0, errors
    assert printed.split()[1:] == ["v0"]
    assert store.gc(1, retriever=spec).left == ()
    assert tables(server) == named(store.folder)


def test_a_lease_is_taken_again_after_a_loss(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    with store.open(retriever=spec) as memory:
        memory.search("text", 1)
        assert server.execute(locks) == [(1,)]
        server.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
        original, leases._PAUSE = leases._PAUSE, -1.0
        try:
            memory.search("text", 1)
        finally:
            leases._PAUSE = original
        assert server.execute(locks) == [(1,)]
    del memory
    gc.collect()
    end = time.monotonic() + SECONDS
    while server.execute(locks) != [(0,)]:
        assert time.monotonic() < end


def test_forked_processes_have_connections_of_their_own(
    store: Store, spec: ComponentSpec[Any]
) -> None:
    with store.open(retriever=spec) as memory:
        expected = memory.hits(["text 5 of w5"], 3)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            hits = memory.hits(["text 5 of w5"], 3)
            os.write(writing, hits.rows.tobytes())
            os._exit(0)
        again = memory.hits(["text 5 of w5"], 3)
        os.waitpid(child, 0)
        assert np.array_equal(again.rows, expected.rows)
        assert os.read(reading, 1000) == expected.rows.tobytes()
