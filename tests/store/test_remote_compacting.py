"""Test that a compaction of a memory in a database leaves no table, however it ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragcore.contracts import Fragments
from ragcore.errors import MemoryUnavailableError, StoreError
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.diff import Changes
from ragcore.store.staging import orphans
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.sqlite_index import SqliteIndex, named, tables

ROOT = Path(__file__).parents[2]
PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(40)]
pytestmark = pytest.mark.usefixtures("sqlite_plugins")


@pytest.fixture(params=[1, 1 << 18], ids=["large", "small"])
def largest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let segments be large, so that they are written block by block, or small."""
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", request.param)
    return int(request.param)


@pytest.fixture
def store(tmp_path: Path, part: ComponentSpec[Any]) -> Store:
    """Make a memory of which a third is removed, and one passage added."""
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, part)
    deleted = {passage.id: "here" for passage in PASSAGES[::3]}
    store.update("two", Changes({"new": Passage("new", "", "news of w3")}, deleted))
    return store


def check_tidy(store: Store, database: Path, before: list[str]) -> None:
    """Check that there is nothing but two versions and their tables, and compact again."""
    assert [each.name for each in store.versions()] == ["one", "two"]
    assert tables(database) == before == sorted(named(store.folder))
    assert not any(orphans(Catalog(store.folder)))
    store.compact("compact")
    assert store.fragments() == Fragments(1, 0)
    assert set(tables(database)) == named(store.folder)


def test_a_compact_memory_has_one_table(store: Store, database: Path, largest: int) -> None:
    fragments = store.fragments()
    assert fragments is not None
    assert fragments.removed == 14
    with store.open() as memory:
        expected = memory.hits(["text 5 of w5", "news"], 27)
    store.compact("compact")
    assert store.fragments() == Fragments(1, 0)
    assert len(named(store.folder / "versions" / "compact")) == 1
    assert set(tables(database)) == named(store.folder)
    with store.open("compact", verify=True) as memory:
        hits = memory.hits(["text 5 of w5", "news"], 27)
    assert hits.rows.tolist() == expected.rows.tolist()
    assert hits.scores.tolist() == expected.scores.tolist()
    store.gc(1)
    assert set(tables(database)) == named(store.folder / "versions" / "compact")
    assert len(tables(database)) == 1


@pytest.mark.parametrize("call", ["add", "save"])
def test_a_failed_compaction_leaves_no_table(
    store: Store, database: Path, largest: int, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, whole = tables(database), getattr(SqliteIndex, call)

    def fail(index: SqliteIndex, *arguments: Any) -> None:
        whole(index, *arguments)
        raise StoreError("the table broke off")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteIndex, call, fail)
        with pytest.raises(StoreError, match="broke off"):
            store.compact("compact")
    gc.collect()
    check_tidy(store, database, before)


def test_a_version_that_does_not_open_leaves_no_table(
    store: Store, database: Path, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables(database)
    with monkeypatch.context() as patch:
        patch.setattr(
            "ragcore.store.compacting.check_opens",
            lambda *_: (_ for _ in ()).throw(StoreError("it does not open")),
        )
        with pytest.raises(StoreError, match="does not open"):
            store.compact("compact")
    check_tidy(store, database, before)


def test_tables_that_cannot_be_dropped_are_dropped_later(
    store: Store, database: Path, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, away = tables(database), database.with_suffix(".away")

    def lose(index: SqliteIndex, folder: Path) -> None:
        database.rename(away)
        raise MemoryUnavailableError("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteIndex, "save", lose)
        with pytest.raises(MemoryUnavailableError):
            store.compact("compact")
    away.rename(database)
    assert set(tables(database)) == named(store.folder)
    assert len(tables(database)) == len(before) + 1
    assert store.gc(2).remote == 1
    check_tidy(store, database, before)


KILLED = """
import os, signal, sys
from pathlib import Path
from ragcore.retrievers import combining
from ragcore.store.store import Store
from tests.helpers.sqlite_index import SqliteIndex, remote_part

folder, combining.LARGEST = Path(sys.argv[1]), int(sys.argv[2])
call = sys.argv[3]
whole = getattr(SqliteIndex, call)

def die(index, *arguments):
    whole(index, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(SqliteIndex, call, die)
Store(folder / "store").compact("compact", retriever=remote_part(folder / "database.sqlite"))
"""


@pytest.mark.parametrize("call", ["add", "save"])
@pytest.mark.parametrize("way", ["gc", "compact"])
def test_the_table_of_a_killed_compaction_is_found(
    store: Store, database: Path, tmp_path: Path, largest: int, call: str, way: str
) -> None:
    before = tables(database)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, str(largest), call],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert done.returncode == -signal.SIGKILL
    assert len(tables(database)) == len(before) + 1
    assert set(tables(database)) == named(store.folder)
    if way == "gc":
        assert store.gc(2).remote == 1
        check_tidy(store, database, before)
        return
    store.compact("compact")
    assert set(tables(database)) == named(store.folder)
    assert len(tables(database)) == len(before) + 1
    assert not any(orphans(Catalog(store.folder)))
