"""Test passages in a real PostgreSQL: whole memories, faults of the server, and secrets."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ragcore_pgvector.passages import PostgresPassages

from ragcore.errors import (
    ConfigError,
    MemoryMismatchError,
    MemoryUnavailableError,
    StoreCorruptError,
    StoreError,
)
from ragcore.registry.components import ComponentSpec
from ragcore.store.store import Store
from ragcore.testing import PassagesSuite
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.passage_stores import CHANGES, PASSAGES, both, segments
from tests.helpers.postgres_server import PostgresServer
from tests.helpers.word_encoder import dense_part

pytestmark = pytest.mark.engines

PLUGIN = """\
from ragcore_pgvector.plugin import ragcore_passages
from tests.helpers.word_encoder import ragcore_encoders
"""


def spec_of(dsn: str, **settings: Any) -> ComponentSpec[Any]:
    config = PostgresPassages.Config(dsn=dsn, **settings)
    return ComponentSpec("passages", "postgres", PostgresPassages, config)


@pytest.fixture
def database(server: PostgresServer) -> Iterator[PostgresServer]:
    """The server, with no schema of an earlier test."""
    server.execute("drop schema if exists ragcore cascade")
    yield server
    # Tests of faults may have left it so.
    if server.process is None or server.process.poll() is not None:
        server.restart()
    server.execute(
        "set default_transaction_read_only = off",
        "alter database rag reset all",
        "drop schema if exists ragcore cascade",
    )


@pytest.fixture
def store(tmp_path: Path, database: PostgresServer) -> Store:
    return Store(tmp_path / "store", passages=spec_of(database.dsn(), timeout=2))


@pytest.fixture
def files(tmp_path: Path) -> Store:
    return Store(tmp_path / "files")


def tables(server: PostgresServer, schema: str = "ragcore") -> set[str]:
    """Return the names of all tables of passages."""
    rows = server.execute(
        f"select tablename from pg_tables where schemaname = '{schema}' and tablename <> 'identity'"
    )
    return {name for (name,) in rows}


class TestPostgres(PassagesSuite):
    @pytest.fixture
    def component(self, database):
        return spec_of(database.dsn())


class TestPostgresOfAnotherEncoding(PassagesSuite):
    """A database that has no Unicode keeps all texts, too."""

    @pytest.fixture
    def component(self, database):
        database.execute("drop database if exists latin with (force)")
        database.execute(
            "create database latin encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
        )
        return spec_of(database.dsn(database="latin"), schema="other")


def test_a_memory_is_one_like_any_other_through_all_its_changes(
    store: Store, files: Store, database: PostgresServer, tmp_path: Path
) -> None:
    both(store, files, lambda each: each.build("one", PASSAGES, dense_part(), check=True))
    both(store, files, lambda each: each.update("two", CHANGES, retriever=dense_part()))
    corpus = [*PASSAGES[4:25], Passage("q", "", "one more")]
    both(store, files, lambda each: each.update("three", corpus, retriever=dense_part()))
    assert store.diff("one", "three") == files.diff("one", "three")
    assert [store.verify(name).passages for name in ("one", "two", "three")] == [30, 30, 22]
    both(store, files, lambda each: each.rollback())
    assert store.current() == "two"
    assert len(tables(database)) == 3

    store.export(tmp_path / "two.tar", "two")
    imported = Store(tmp_path / "imported")
    imported.import_version(tmp_path / "two.tar", activate=True, retriever=dense_part())
    both(store, imported, lambda each: None)

    def forget(each: Store) -> None:
        each.forget(["p5", "new"], everywhere=True, retriever=dense_part())

    both(store, files, forget)
    for table in tables(database):
        rows = database.execute(f"select convert_from(id, 'UTF8') from ragcore.{table}")
        assert not {"p5", "new"} & {id_ for (id_,) in rows}
    assert tables(database) == segments(store)
    store.gc(keep=1)
    both(store, files, lambda each: None)
    assert tables(database) == segments(store)
    assert len(tables(database)) < 3


DAMAGES = {
    "a changed text": "update {} set text = 'forged' where position = 4",
    "changed metadata": "update {} set metadata = '{{}}' where position = 4",
    "a text that is not UTF-8": r"update {} set title = '\xff' where position = 4",
    "a removed passage": "delete from {} where position = 4",
    "a passage more": "insert into {} values (30, 'x', '', 'x', '{{}}')",
    "an empty table": "truncate {}",
    "a dropped table": "drop table {}",
    "a dropped column": "alter table {} drop column title",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_was_changed_behind_our_back_is_noticed(
    store: Store, database: PostgresServer, damage: str
) -> None:
    store.build("one", PASSAGES, dense_part())
    (table,) = tables(database)
    with store.open("one", retriever=dense_part()) as memory:
        database.execute(damage.format(f"ragcore.{table}"))
        if damage.startswith(("delete", "drop", "truncate", "alter")) or "xff" in damage:
            with pytest.raises(StoreError, match=table if "column" not in damage else "title"):
                memory.passages.take([4])
    with pytest.raises(StoreError, match=table if "column" not in damage else "title"):
        store.verify("one")
    with pytest.raises(StoreError):
        store.open("one", retriever=dense_part())


def test_two_stores_in_one_database_do_not_disturb_each_other(
    store: Store, database: PostgresServer, tmp_path: Path
) -> None:
    other = Store(tmp_path / "other", passages=spec_of(database.dsn()))
    apart = Store(tmp_path / "apart", passages=spec_of(database.dsn(), schema="apart"))
    for each in (store, other, apart):
        each.build("one", PASSAGES, dense_part())
        each.build("two", PASSAGES[:7], dense_part())
    store.gc(keep=1)
    for each in (other, apart):
        each.verify("one")
    assert tables(database) == segments(store, other)
    assert tables(database, "apart") == segments(apart)
    database.execute("drop schema apart cascade")


def test_a_memory_goes_on_when_its_database_is_back(store: Store, database: PostgresServer) -> None:
    store.build("one", PASSAGES, dense_part())
    with store.open("one", retriever=dense_part()) as memory:
        database.kill()
        with pytest.raises(MemoryUnavailableError, match=r"'rag'.* does not answer"):
            memory.search("text 9", 2)
        with pytest.raises(MemoryUnavailableError, match="does not answer"):
            store.verify("one")
        with pytest.raises(MemoryUnavailableError, match="does not answer"):
            store.build("two", PASSAGES, dense_part())
        database.restart()
        (result,) = memory.search(["text 9"], 1)
        assert result.passages[0].id == "p9"
    store.gc(keep=1)
    assert tables(database) == segments(store)


def test_a_connection_that_is_lost_is_made_again_within_a_call(
    store: Store, database: PostgresServer
) -> None:
    store.build("one", PASSAGES, dense_part())
    with store.open("one", retriever=dense_part()) as memory:
        memory.passages.take([1])
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = 'rag' and pid <> pg_backend_pid()"
        )
        assert memory.passages.take([1])[0].id == "p1"


def test_a_search_that_waits_too_long_ends(store: Store, database: PostgresServer) -> None:
    import psycopg

    store.build("one", PASSAGES, dense_part())
    (table,) = tables(database)
    with (
        store.open("one", retriever=dense_part()) as memory,
        psycopg.connect(database.dsn()) as blocking,
    ):
        blocking.execute(f"lock table ragcore.{table} in access exclusive mode")
        with pytest.raises(MemoryUnavailableError, match="statement timeout"):
            memory.passages.take([1])


def test_a_reader_needs_to_select_only(
    store: Store, files: Store, database: PostgresServer
) -> None:
    for each in (store, files):
        each.build("one", PASSAGES, dense_part())
        each.build("two", PASSAGES, dense_part())
    database.execute(
        "drop role if exists reader",
        "create role reader login",
        "grant usage on schema ragcore to reader",
        "grant select on all tables in schema ragcore to reader",
    )
    reader = Store(store.folder, passages=spec_of(database.dsn("reader")))
    before = tables(database)
    try:
        both(reader, files, lambda each: None)
        reader.verify("one")
        with pytest.raises(MemoryUnavailableError, match="refuses: permission denied"):
            reader.build("three", PASSAGES, dense_part())
        with pytest.raises(MemoryUnavailableError, match="stays in the database"):
            reader.gc(keep=1)
        assert tables(database) == before == segments(store), "nothing was lost, nor forgotten"
    finally:
        database.execute("drop owned by reader", "drop role reader")
    store.gc(keep=1)
    assert tables(database) == segments(store)
    assert len(tables(database)) == 1


def test_a_database_that_is_read_only_is_read(
    store: Store, files: Store, database: PostgresServer
) -> None:
    for each in (store, files):
        each.build("one", PASSAGES, dense_part())
    database.execute("alter database rag set default_transaction_read_only = on")
    again = Store(store.folder, passages=spec_of(database.dsn(), timeout=3))
    both(again, files, lambda each: None)
    with pytest.raises(MemoryUnavailableError, match="is read-only"):
        again.update("two", CHANGES, retriever=dense_part())
    assert [info.name for info in again.versions()] == ["one"]


def test_what_a_reader_elsewhere_has_open_is_not_dropped(
    store: Store, database: PostgresServer, tmp_path: Path
) -> None:
    """Its host has a copy of the store's folder, so that no lock on a file tells of it."""
    store.build("one", PASSAGES, dense_part())
    copied = tmp_path / "copied"
    subprocess.run(["cp", "-r", str(store.folder), str(copied)], check=True)
    reader = multiprocessing.get_context("spawn").Process(
        target=_read_until_told, args=(copied, database.dsn(), tmp_path)
    )
    reader.start()
    try:
        _wait_for(tmp_path / "reading", reader)
        store.build("two", PASSAGES, dense_part())
        collected = store.gc(keep=1)
        assert len(collected.left) == 1
        assert "has it open" in collected.left[0].problem
        assert len(tables(database)) == 2
    finally:
        (tmp_path / "end").touch()
        reader.join()
    assert reader.exitcode == 0
    assert store.gc(keep=1).remote == 1
    assert tables(database) == segments(store)


def _read_until_told(folder: Path, dsn: str, signals: Path) -> None:
    with Store(folder, passages=spec_of(dsn)).open("one", retriever=dense_part()) as memory:
        assert memory.passages[3].id == "p3"
        (signals / "reading").touch()
        while not (signals / "end").exists():
            signal.sigtimedwait([signal.SIGUSR1], 0.02)
        assert memory.passages[4].id == "p4"


def _wait_for(path: Path, process: Any) -> None:
    while not path.exists():
        assert process.is_alive(), "the reader ended early"
        signal.sigtimedwait([signal.SIGUSR1], 0.02)


def test_a_killed_build_leaves_what_the_next_gc_removes(
    store: Store, database: PostgresServer
) -> None:
    store.build("one", PASSAGES, dense_part())
    process = multiprocessing.get_context("spawn").Process(
        target=_build_and_die, args=(store.folder, database.dsn())
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(tables(database)) == 2, "the killed build left a table"
    assert tables(database) == segments(store)
    collected = store.gc(keep=1)
    # The folder of the version, and that of the vectors that were worked out.
    assert (collected.orphans, collected.remote) == (2, 1)
    assert tables(database) == segments(store)
    assert len(tables(database)) == 1


def _build_and_die(folder: Path, dsn: str) -> None:
    def corpus() -> Iterator[Passage]:
        for number in range(9000):
            if number == 8000:
                os.kill(os.getpid(), signal.SIGKILL)
            yield Passage(f"p{number}", "", "text")

    Store(folder, passages=spec_of(dsn)).build("two", corpus(), dense_part())


def test_a_database_that_dies_while_it_is_built_in_leaves_nothing(
    store: Store, database: PostgresServer
) -> None:
    def corpus() -> Iterator[Passage]:
        for number in range(9000):
            if number == 8000:
                database.kill()
            yield Passage(f"p{number}", "", "text")

    with pytest.raises(MemoryUnavailableError, match="does not answer"):
        store.build("one", corpus(), dense_part())
    database.restart()
    assert tables(database) == segments(store), "the pointer stays with its table"
    store.gc(keep=1)
    assert tables(database) == set()
    store.build("one", PASSAGES, dense_part())
    store.verify("one")


def test_a_forked_process_reads_for_itself(store: Store, database: PostgresServer) -> None:
    store.build("one", PASSAGES, dense_part())
    with store.open("one", retriever=dense_part()) as memory:
        memory.passages.take([1])
        child = os.fork()
        if not child:
            # Nothing of pytest runs in the child.
            os._exit(0 if memory.passages.take([2])[0].id == "p2" else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert memory.passages.take([3])[0].id == "p3"


SECRET = "tr0ub4dor&3"


def test_a_password_is_in_no_file_error_or_log(
    database: PostgresServer,
    tmp_path: Path,
    installed: Installed,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A pipeline writes `${env:NAME}`; a store that is named alone connects by it."""
    from ragcore.cli.stores import store_at
    from ragcore.config import load_store_config

    caplog.set_level(logging.DEBUG)
    installed.add("words", PLUGIN)
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "ragcore: 1\nmemory:\n  store: store\n"
        "  passages: {use: postgres, dsn: '${env:RAGCORE_TEST_DSN}', timeout: 2}\n"
        "  retriever: {use: dense, encoder: {use: words}, index: {use: exact}}\n"
    )
    monkeypatch.setenv("RAGCORE_TEST_DSN", database.dsn(password=f"'{SECRET}'"))
    section = load_store_config(file)
    store = Store(section.store, passages=section.passages)
    store.build("one", PASSAGES, dense_part())
    written = [path.read_bytes() for path in store.folder.rglob("*") if path.is_file()]
    assert any(b"${env:RAGCORE_TEST_DSN}" in each for each in written)
    assert not any(SECRET.encode() in each for each in written)
    alone, _ = store_at(str(store.folder))
    alone.verify("one")
    alone.update("two", CHANGES, retriever=dense_part())
    written = [path.read_bytes() for path in store.folder.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in each for each in written)
    messages = []
    for change in ({"port": 1}, {"host": "/nowhere"}, {"user": "nobody-there"}):
        monkeypatch.setenv(
            "RAGCORE_TEST_DSN", database.dsn(**{"password": f"'{SECRET}'", **change})
        )
        with pytest.raises(MemoryUnavailableError) as unreachable:
            store_at(str(store.folder))[0].verify("one")
        messages.append(str(unreachable.value))
    monkeypatch.setenv("RAGCORE_TEST_DSN", f"host=/x nonsense password={SECRET}")
    with pytest.raises(ConfigError) as faulty:
        store_at(str(store.folder))[0].verify("one")
    messages.append(str(faulty.value))
    monkeypatch.delenv("RAGCORE_TEST_DSN")
    with pytest.raises(ConfigError, match="RAGCORE_TEST_DSN is not set"):
        store_at(str(store.folder))[0].verify("one")
    with pytest.raises(ValidationError) as written_out:
        PostgresPassages.Config(dsn=f"postgresql://me:{SECRET}@host/rag")
    messages.append(str(written_out.value))
    messages += [repr(section.passages), repr(section.passages.config), caplog.text]
    assert not [message for message in messages if SECRET in message]


def test_a_database_that_never_had_the_memory_is_told_from_one_that_lost_it(
    store: Store, database: PostgresServer, installed: Installed
) -> None:
    installed.add("words", PLUGIN)
    store.build("one", PASSAGES, dense_part())
    database.execute("drop database if exists empty with (force)", "create database empty")
    empty = Store(store.folder, passages=spec_of(database.dsn(database="empty")))
    with pytest.raises(MemoryMismatchError, match="no memory was built in it"):
        empty.open("one", retriever=dense_part())
    empty.build("two", PASSAGES, dense_part())
    # The version records where its passages are, so that they are dropped there.
    assert empty.gc(keep=1).remote == 1
    assert tables(database) == set()
    empty.verify("two")


def test_what_is_no_name_of_ours_reaches_no_statement(database: PostgresServer) -> None:
    store = spec_of(database.dsn()).build()
    store.prepare()
    others = ("identity", "segments", "v_" + "0" * 32)
    for name in ('x"; drop schema public; --', "", "X", "x" * 70, "pg-1", *others):
        with pytest.raises(StoreCorruptError, match="is no table of passages"):
            store.take(name, [0], ("id",))
        with pytest.raises(StoreCorruptError, match="is no table of passages"):
            store.drop(name)


def test_a_database_that_was_emptied_is_made_ready_again(database: PostgresServer) -> None:
    store = spec_of(database.dsn()).build()
    store.prepare()
    first = store.identity
    store.prepare()
    assert store.identity == first
    database.execute("drop schema ragcore cascade")
    store.prepare()
    assert store.identity != first
