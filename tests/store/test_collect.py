"""Test what gc removes and what it leaves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

from ragcore.disk.atomic import files_below
from ragcore.errors import StoreCorruptError, StoreError, UnknownVersionError
from ragcore.store.diff import Changes
from ragcore.store.manifest import FORMAT_WITH_STORE, Manifest, _spelled
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
    assert memory.hits(["text 7"], 1).rows.shape == (1, 1)
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


def test_the_newest_stay_where_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")

    def at(moment: str) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:
                return datetime.fromisoformat(moment).replace(tzinfo=UTC)

        monkeypatch.setattr("ragcore.store.manifest.datetime", Clock)

    at("2031-01-01T00:00:00")
    store.build("z", PASSAGES, dense_part())
    at("2026-11-29T00:00:00")
    for name in ("y", "x"):
        store.build(name, PASSAGES, dense_part(), activate=False)
    changes = Changes({"new": Passage("new", "", "a text")}, {})
    store.update("w", changes, parent="z", retriever=dense_part(), activate=False)
    assert store.gc(3).kept == ("w", "x", "z")
    assert store.gc(2).kept == ("w", "z")
    # What a list shows is the clock's time.
    assert store.manifest("w").created == "2026-11-29T00:00:00+00:00"
    at("2032-01-01T00:00:00")
    store.build("v", PASSAGES, dense_part())
    assert store.manifest("v").order is None
    assert store.gc(1).kept == ("v",)


BREAKS = {
    "changed": lambda path: path.write_bytes(path.read_bytes().replace(b"50", b"51")),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "no-json": lambda path: path.write_bytes(b"\xff\xfe"),
    "missing": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "null": lambda path: path.write_bytes(b"null"),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_version_with_a_broken_manifest_is_listed_and_collected(store: Store, kind: str) -> None:
    store.activate("a")
    store.activate("b")
    BREAKS[kind](version(store, "c") / "manifest.json")
    listed = {info.name: info for info in store.versions()}
    assert "".join(listed) == "abcde"
    assert [name for name, info in listed.items() if info.broken] == ["c"]
    assert "manifest.json" in str(listed["c"].broken)
    collected = store.gc(5, dry_run=True)
    assert (collected.removed, collected.broken, collected.kept) == (
        ("c",),
        ("c",),
        ("a", "b", "d", "e"),
    )
    assert store.gc(5) == collected
    assert names(store) == "abde"
    assert not version(store, "c").exists()


def test_the_current_version_stays_and_no_rollback_goes_to_a_broken_one(store: Store) -> None:
    for name in "ecab":
        store.activate(name)
    for name in "ab":
        (version(store, name) / "manifest.json").write_bytes(b"{}")
    collected = store.gc(2)
    assert (collected.kept, collected.broken) == (("b", "c"), ("a",))
    with pytest.raises(StoreCorruptError):
        store.manifest()
    assert store.rollback() == ("b", "c")
    assert store.gc(2).kept == ("c",)


def test_a_version_of_a_later_format_is_listed_and_stays(store: Store) -> None:
    fields = json.loads((version(store, "c") / "manifest.json").read_bytes())
    del fields["sha256"]
    (version(store, "c") / "manifest.json").write_bytes(
        _spelled({**fields, "format": FORMAT_WITH_STORE + 1})
    )
    assert "upgrade ragcore" in str(store.versions()[2].broken)
    assert store.gc(1).kept == ("c", "d")


def test_no_rollback_goes_to_a_version_of_a_later_format(store: Store) -> None:
    for name in "bca":
        store.activate(name)
    fields = json.loads((version(store, "c") / "manifest.json").read_bytes())
    del fields["sha256"]
    (version(store, "c") / "manifest.json").write_bytes(
        _spelled({**fields, "format": FORMAT_WITH_STORE + 1})
    )
    assert "c" in store.gc(2).kept
    assert store.rollback() == ("a", "b")


def test_a_file_among_the_versions_is_none(store: Store) -> None:
    (store.folder / "versions" / "notes.txt").write_text("mine")
    assert names(store) == "abcde"
    assert store.gc(9).kept == tuple("abcde")
