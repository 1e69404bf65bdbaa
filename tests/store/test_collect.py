"""Test what gc removes and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragcore.disk.atomic import files_below
from ragcore.errors import StoreError, UnknownVersionError
from ragcore.store.diff import Changes
from ragcore.store.manifest import Manifest, _spelled
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part

PASSAGES = [Passage(f"p{n}", "", f"text {n}") for n in range(50)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Versions a to e, finished in another order than their names'."""
    store = Store(tmp_path / "store")
    for age, name in enumerate("cabed"):
        store.build(name, PASSAGES, dense_part(), activate=False)
        fields = json.loads((version(store, name) / "manifest.json").read_bytes())
        del fields["sha256"]
        fields["created"] = f"2026-11-0{age + 1}T00:00:00+00:00"
        (version(store, name) / "manifest.json").write_bytes(_spelled(fields))
        assert Manifest.read(version(store, name)).created == fields["created"]
    return store


def version(store: Store, name: str) -> Path:
    return store.folder / "versions" / name


def names(store: Store) -> str:
    return "".join(info.name for info in store.versions())


@pytest.mark.parametrize(("keep", "stay"), [(5, "abcde"), (3, "bde"), (2, "de"), (1, "d")])
def test_the_newest_stay(store: Store, keep: int, stay: str) -> None:
    collected = store.gc(keep)
    assert names(store) == stay == "".join(collected.kept)
    assert "".join(collected.removed) == "".join(sorted(set("abcde") - set(stay)))


def test_the_current_version_and_the_rollback_target_stay_first(store: Store) -> None:
    for name in "eca":
        store.activate(name)
    assert store.gc(3).kept == ("a", "c", "d")
    assert store.gc(2).kept == ("a", "c")
    assert store.rollback() == ("a", "c")
    assert store.gc(1).kept == ("c",)
    with pytest.raises(UnknownVersionError):
        store.rollback()


def test_what_a_program_has_open_stays_until_it_is_closed(store: Store) -> None:
    store.activate("d")
    memory = store.open("c", retriever=dense_part())
    collected = store.gc(1)
    assert (collected.removed, collected.in_use, collected.kept) == (
        ("a", "b", "e"),
        ("c",),
        ("c", "d"),
    )
    assert memory.search(["text 7"], 1).rows.shape == (1, 1)
    memory.close()
    assert store.gc(1).removed == ("c",)


def test_a_version_outlives_its_parent(store: Store) -> None:
    new = Passage("new", "", "another text")
    store.update("child", Changes({"new": new}, {}), parent="c", retriever=dense_part())
    store.gc(1)
    assert names(store) == "child"
    memory = store.open(retriever=dense_part(), verify=True)
    assert list(memory.passages) == [*PASSAGES, new]


def test_freed_bytes_are_what_the_disk_gains(store: Store) -> None:
    new = Passage("new", "", "another text")
    for name, parent in (("d1", "d"), ("d2", "d1")):
        changes = Changes({name: Passage(name, "", new.text)}, {})
        store.update(name, changes, parent=parent, retriever=dense_part())

    def used() -> int:
        sizes = {path.stat().st_ino: path.stat().st_size for path in files_below(store.folder)}
        return sum(sizes.values())

    for keep in (6, 2, 1):
        before = used()
        would = store.gc(keep, dry_run=True)
        assert used() == before
        assert store.gc(keep) == would
        assert before - used() == would.bytes
        assert would.bytes > 0


def test_orphans_are_removed(store: Store) -> None:
    orphans = [".building-x-0000", ".scratch-0000", ".trash-x-0000"]
    for name in orphans:
        (version(store, name) / "retriever").mkdir(parents=True)
        (version(store, name) / "retriever" / "data").write_bytes(b"12345")
    for name in (".CURRENT.new", ".HISTORY.new"):
        (store.folder / name).write_text("")
    store.activate("a")
    (store.folder / ".CURRENT.new").write_text("half")
    (store.folder / ".HISTORY.new").write_text("half")
    collected = store.gc(9, dry_run=True)
    assert (collected.orphans, collected.bytes) == (5, 15)
    assert store.gc(9) == collected
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", "CURRENT", "versions"]
    assert sorted(path.name for path in (store.folder / "versions").iterdir()) == list("abcde")
    assert store.gc(9).orphans == 0


def test_a_running_build_is_left_alone(store: Store) -> None:
    seen = []

    def passages():
        yield from PASSAGES[:3]
        seen.append(store.gc(9))
        yield from PASSAGES[3:]

    store.build("late", passages(), dense_part(), batch=2)
    assert (seen[0].orphans, seen[0].removed) == (0, ())
    assert store.verify("late").passages == 50


def test_keeping_none_is_refused_and_an_empty_store_has_none(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="keep one or more"):
        store.gc(0)
    assert Store(tmp_path / "nothing").gc(1).kept == ()
    assert not (tmp_path / "nothing").exists()


def test_a_version_whose_passages_are_read_or_exported_stays(store: Store, tmp_path: Path) -> None:
    store.activate("d")
    in_use: list[tuple[str, ...]] = []
    with store.passages("c") as passages:
        in_use.append(store.gc(1, dry_run=True).in_use)
        assert passages[7] == PASSAGES[7]
    store.export(
        tmp_path / "b.tar", "b", progress=lambda *_: in_use.append(store.gc(1, dry_run=True).in_use)
    )
    assert set(in_use) == {("c",), ("b",)}
    assert store.gc(1).removed == ("a", "b", "c", "e")
