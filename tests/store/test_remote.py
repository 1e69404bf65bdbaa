"""Test that tables in databases live exactly as long as folders of a store lead to them."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragcore.disk.remote import POINTER
from ragcore.errors import (
    ComponentError,
    ConfigError,
    CorpusError,
    MemoryMismatchError,
    MemoryUnavailableError,
    StoreCorruptError,
    StoreError,
)
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.catalog import Catalog
from ragcore.store.diff import Changes
from ragcore.store.staging import orphans
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.sqlite_index import SqliteIndex, ids, make_database, named, remote_part, tables
from tests.helpers.word_encoder import dense_part

ROOT = Path(__file__).parents[2]
PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(40)]
pytestmark = pytest.mark.usefixtures("sqlite_plugins")


@pytest.fixture
def store(tmp_path: Path, part: ComponentSpec[Any]) -> Store:
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, part, check=True)
    return store


def test_a_memory_in_a_database_answers_as_one_in_files(
    store: Store, tmp_path: Path, database: Path
) -> None:
    local = Store(tmp_path / "local")
    local.build("one", PASSAGES, dense_part())
    assert ids(store, "text 5 of w5") == ids(local, "text 5 of w5")
    assert len(tables(database)) == 1
    assert named(store.folder) == set(tables(database))
    assert store.verify().name == "one"


def test_versions_share_tables_and_gc_drops_the_last(store: Store, database: Path) -> None:
    first = named(store.folder)
    store.update("two", Changes({"p0": Passage("p0", "", "another text")}, {}))
    shared = named(store.folder / "versions" / "two")
    assert first < shared
    assert set(tables(database)) == shared
    assert store.rollback() == ("two", "one")
    assert ids(store, "text 5 of w5")[0] == "p5"
    store.activate("two")
    # Version one goes, its table stays: version two uses it.
    dry = store.gc(1, dry_run=True)
    assert dry.removed == ("one",)
    assert dry.remote == 0
    assert store.gc(1).remote == 0
    assert set(tables(database)) == shared
    store.build("three", PASSAGES[:9], remote_part(database))
    assert store.gc(1, dry_run=True).remote == len(shared)
    assert set(tables(database)) == named(store.folder)
    assert store.gc(1).remote == len(shared)
    assert set(tables(database)) == named(store.folder / "versions" / "three")


def test_merging_small_segments_leaves_no_table(store: Store, database: Path) -> None:
    for n in range(12):
        store.update(None, Changes({f"n{n}": Passage(f"n{n}", "", f"news {n}")}, {}))
    assert set(tables(database)) == named(store.folder)
    store.gc(1)
    assert set(tables(database)) == named(store.folder)
    assert ids(store, "news 7")[0] == "n7"


def failing() -> Iterator[Passage]:
    yield from PASSAGES
    raise CorpusError("the corpus broke off")


def test_a_build_that_fails_leaves_no_table(store: Store, database: Path) -> None:
    before = tables(database)
    with pytest.raises(CorpusError, match="broke off"):
        store.build("two", failing(), remote_part(database), batch=8)
    assert tables(database) == before
    assert named(store.folder) == set(before)
    assert [each.name for each in store.versions()] == ["one"]
    # Its vectors are on the disk still, and the next build takes them.
    reports = []
    store.build(
        "two",
        PASSAGES,
        remote_part(database),
        batch=8,
        progress=lambda stage, done, total: reports.append((stage, done)),
    )
    assert ("kept", 40) in reports
    assert set(tables(database)) == named(store.folder)


def test_a_version_that_does_not_open_leaves_no_table(
    store: Store, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.helpers.sqlite_index.SqliteIndex.search",
        lambda *_, **__: (_ for _ in ()).throw(StoreCorruptError("it is broken")),
    )
    before = tables(database)
    with pytest.raises(StoreError, match="cannot become the current one"):
        store.build("two", PASSAGES, remote_part(database), check=True)
    assert tables(database) == before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryUnavailableError("it does not answer"), MemoryUnavailableError),
        (StoreCorruptError("it is broken"), StoreCorruptError),
        (MemoryMismatchError("it is another one"), MemoryMismatchError),
        (ComponentError("it cannot search"), StoreError),
        (ValueError("it cannot count"), StoreError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_callers_can_tell_why_a_version_does_not_become_current(
    store: Store, database: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type
) -> None:
    part = remote_part(database)
    before = tables(database)
    monkeypatch.setattr(
        "tests.helpers.sqlite_index.SqliteIndex.search",
        lambda *_, **__: (_ for _ in ()).throw(error),
    )
    changes = Changes({"news": Passage("news", "", "news of the day")}, {})
    for action in (
        lambda: store.build("two", PASSAGES, part, check=True),
        lambda: store.update("two", changes, retriever=part),
        lambda: store.activate("one", check=True, retriever=part),
    ):
        with pytest.raises(StoreError, match=f"cannot become the current one.*{error}") as caught:
            action()
        assert type(caught.value) is expected
    assert tables(database) == before


KILLED = """
import logging, os, signal, sys
from pathlib import Path
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.sqlite_index import remote_part

def corpus():
    for n in range(40):
        if n == 30 and sys.argv[2] == "half-built":
            os.kill(os.getpid(), signal.SIGKILL)
        yield Passage(f"p{n}", "", f"text {n}")

class Killing(logging.Handler):
    def emit(self, record):
        if "is the current one" in record.getMessage():
            os.kill(os.getpid(), signal.SIGKILL)

logging.getLogger("ragcore.store").addHandler(Killing())
logging.getLogger("ragcore.store").setLevel(logging.INFO)
folder = Path(sys.argv[1])
Store(folder / "store").build("two", corpus(), remote_part(folder / "database.sqlite"), batch=8)
"""


def kill(folder: Path, state: str) -> None:
    """Kill a build of version two, half-built or in place."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, folder, state],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("way", ["gc", "build"])
def test_a_version_keeps_its_tables_though_its_build_was_killed(
    store: Store, database: Path, tmp_path: Path, way: str
) -> None:
    kill(tmp_path, "in place")
    assert store.current() == "two"
    if way == "gc":
        assert store.gc(2).orphans == 1
    else:
        store.build("three", PASSAGES[:9], remote_part(database))
    assert store.verify("two").passages == 40
    assert set(tables(database)) == named(store.folder)


@pytest.mark.parametrize("way", ["gc", "build"])
def test_the_table_of_a_killed_build_is_found(
    store: Store, database: Path, tmp_path: Path, way: str
) -> None:
    kill(tmp_path, "half-built")
    assert len(tables(database)) == 2
    assert set(tables(database)) == named(store.folder)
    if way == "gc":
        assert store.gc(2).remote == 1
        assert len(tables(database)) == 1
    else:
        store.build("two", PASSAGES, remote_part(database))
        assert len(tables(database)) == 2
    assert set(tables(database)) == named(store.folder)


def test_gc_without_the_database_removes_later(
    store: Store, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.build("two", PASSAGES[:9], remote_part(database))
    away = database.rename(database.with_suffix(".away"))
    with pytest.raises(MemoryUnavailableError, match=r"database.sqlite does not answer.*gc` later"):
        store.gc(1)
    assert [each.name for each in store.versions()] == ["two"]
    away.rename(database)
    assert len(tables(database)) == 2
    collected = store.gc(1)
    assert (collected.orphans, collected.remote) == (1, 1)
    assert set(tables(database)) == named(store.folder / "versions" / "two")
    assert not any(orphans(Catalog(store.folder)))


def test_a_failed_build_without_the_database_is_collected_later(
    store: Store, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = database.with_suffix(".away")

    def corpus() -> Iterator[Passage]:
        yield from PASSAGES
        database.rename(away)
        yield Passage("last", "", "the last text")

    with (
        caplog.at_level(logging.WARNING, logger="ragcore.store"),
        pytest.raises(MemoryUnavailableError),
    ):
        store.build("two", corpus(), remote_part(database), batch=8)
    assert "memory gc` tries again" in caplog.text
    away.rename(database)
    assert len(tables(database)) == 2
    assert store.gc(1).remote == 1
    assert set(tables(database)) == named(store.folder)


def test_a_failed_compaction_without_the_database_is_collected_later(
    store: Store, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update("two", Changes({"p0": Passage("p0", "", "another text")}, {}))
    before, away, add = tables(database), database.with_suffix(".away"), SqliteIndex.add

    def losing_the_database(index: SqliteIndex, *arguments: Any) -> None:
        if len(index):
            database.rename(away)
        add(index, *arguments)

    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 30)
    with monkeypatch.context() as patch:
        patch.setattr(SqliteIndex, "add", losing_the_database)
        with pytest.raises(MemoryUnavailableError):
            store.compact("three")
    away.rename(database)
    assert len(tables(database)) == len(before) + 1
    assert store.gc(2).remote == 1
    assert tables(database) == before


def test_a_missing_or_changed_table_is_damage(store: Store, database: Path) -> None:
    (table,) = tables(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"update {table} set vector = zeroblob(128) where row = 3")
    with store.open():
        pass
    with pytest.raises(StoreCorruptError, match="was changed"):
        store.verify()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"drop table {table}")
    for use in (store.open, store.verify):
        with pytest.raises(StoreCorruptError, match="is missing"):
            use()
    database.unlink()
    for use in (store.open, store.verify):
        with pytest.raises(MemoryUnavailableError, match="does not answer"):
            use()
    # What is damaged can be removed, once the database is back.
    make_database(database)
    store.build("two", PASSAGES, remote_part(database))
    assert store.gc(1).removed == ("one",)


def test_forgetting_everywhere_leaves_no_vector(store: Store, database: Path) -> None:
    before = set(tables(database))
    store.update("two", Changes({"p0": Passage("p0", "", "another text")}, {}))
    forgotten = store.forget(["p3"], everywhere=True)
    assert forgotten.rewritten
    assert not forgotten.left
    assert set(tables(database)) == named(store.folder)
    # The first table had the vector.
    assert not before & set(tables(database))
    counts = []
    with closing(sqlite3.connect(database)) as connection:
        for version in ("one", "two"):
            names = named(store.folder / "versions" / version)
            rows = [
                {row for (row,) in connection.execute(f"select row from {name}")} for name in names
            ]
            counts.append(set().union(*rows))
    assert all(3 not in rows for rows in counts)


def test_no_export_leads_to_a_database(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be exported: retriever/index/remote.json"):
        store.export(tmp_path / "one.tar")
    assert not (tmp_path / "one.tar").exists()


def test_no_import_leads_to_a_database(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    # An archive that another program has written.
    monkeypatch.setattr("ragcore.store.archive.is_pointer", lambda name: False)
    store.export(tmp_path / "one.tar")
    monkeypatch.undo()
    with pytest.raises(StoreCorruptError, match=r"remote.json' leads to a database"):
        Store(tmp_path / "other").import_version(tmp_path / "one.tar")
    assert len(tables(database)) == 1


def test_a_secret_is_taken_from_the_environment(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    secret = remote_part(database, token="hunter2", secrets=True)
    for name in ("one", "two"):
        store.build(name, PASSAGES, secret)
    texts = [path.read_bytes() for path in store.folder.rglob("*") if path.is_file()]
    assert not any(b"hunter2" in text for text in texts)
    with pytest.raises(ConfigError, match="SQLITE_TOKEN is not set"):
        store.verify()
    with pytest.raises(ConfigError, match=r"SQLITE_TOKEN is not set.*later"):
        store.gc(1)
    assert len(tables(database)) == 2
    monkeypatch.setenv("SQLITE_TOKEN", "hunter2")
    assert store.verify().name == "two"
    assert store.gc(1).remote == 1
    # Or from the pipeline.
    monkeypatch.delenv("SQLITE_TOKEN")
    assert store.verify(retriever=secret).name == "two"


def test_part_of_a_recorded_text_is_not_filled_in(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record from elsewhere could send the secret to its own host."""
    monkeypatch.setenv("SQLITE_TOKEN", "hunter2")
    manifest = Catalog(store.folder).manifest("one")
    record = json.loads(json.dumps(manifest.retriever))
    record["index"]["database"] = "/elsewhere/${env:SQLITE_TOKEN}"
    folder = store.folder / "versions" / "one"
    manifest.model_copy(update={"retriever": record}).write(folder)
    with pytest.raises(ConfigError, match="names a secret") as caught:
        store.verify()
    assert "hunter2" not in str(caught.value)


def test_a_broken_pointer_keeps_all_tables(store: Store, database: Path) -> None:
    """What a damaged version uses is not known: nothing is dropped until it is restored."""
    store.update("two", Changes({"p0": Passage("p0", "", "another text")}, {}))
    store.build("three", PASSAGES[:5], remote_part(database))
    before = tables(database)
    pointer = store.folder / "versions" / "three" / "retriever" / "index" / POINTER
    pointer.write_text("{}", encoding="utf-8")
    with pytest.raises(StoreCorruptError, match=r"remote.json cannot be read"):
        store.gc(1)
    assert tables(database) == before


def test_a_folder_that_cannot_be_read_keeps_all_tables(
    store: Store, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.update("two", Changes({"p0": Passage("p0", "", "another text")}, {}))
    store.build("three", PASSAGES[:5], remote_part(database))
    before, scandir = tables(database), os.scandir

    def failing_disk(path: Any = ".") -> Any:
        if str(path).endswith("three/retriever"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing_disk)
        with pytest.raises(StoreError, match=r"three/retriever cannot be read"):
            store.gc(1)
    assert tables(database) == before
    store.gc(1)
    assert set(tables(database)) == named(store.folder)


def test_tables_are_dropped_where_they_are_though_the_pipeline_leads_elsewhere(
    store: Store, database: Path, tmp_path: Path
) -> None:
    other = make_database(tmp_path / "other.sqlite")
    store.build("two", PASSAGES, remote_part(other))
    assert store.gc(1, retriever=remote_part(other)).left == ()
    assert tables(database) == []
    assert set(tables(other)) == named(store.folder)


def test_the_record_of_a_version_without_tables_leads_nowhere(
    store: Store, database: Path, tmp_path: Path
) -> None:
    """It may be imported: a stranger's record could send a secret to the stranger's host."""
    (tmp_path / "elsewhere").mkdir()
    elsewhere = make_database(tmp_path / "elsewhere" / database.name)
    store.build("imported", PASSAGES, dense_part())
    manifest = Catalog(store.folder).manifest("imported")
    record = {**Catalog(store.folder).manifest("one").retriever}
    record["index"] = {**record["index"], "database": str(elsewhere)}
    folder = store.folder / "versions" / "imported"
    manifest.model_copy(update={"retriever": record}).write(folder)
    kill(tmp_path, "half-built")
    assert len(tables(database)) == 2
    assert store.gc(3).remote == 1
    assert len(tables(database)) == 1


def test_hybrids_have_a_table_for_each_member(tmp_path: Path, database: Path) -> None:
    other = make_database(tmp_path / "other.sqlite")
    members = [remote_part(database), remote_part(other)]
    part = ComponentSpec("retriever", "hybrid", Hybrid, Hybrid.Config(retrievers=members))
    store = Store(tmp_path / "store")
    for name in ("one", "two"):
        store.build(name, PASSAGES, part, check=True)
    assert store.verify().passages == 40
    assert len(tables(database)) == len(tables(other)) == 2
    assert store.gc(1).remote == 2
    assert len(tables(database)) == len(tables(other)) == 1


def test_stores_without_databases_do_as_before(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for name in ("one", "two"):
        store.build(name, PASSAGES, dense_part())
    assert not store.has_remote_data
    collected = store.gc(1)
    assert (collected.removed, collected.remote, collected.left) == (("one",), 0, ())
