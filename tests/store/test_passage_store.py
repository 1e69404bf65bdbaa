"""Test that a version whose passages are in a passage store is one like any other."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.disk.remote import POINTER, RemotePointer
from ragcore.errors import (
    ConfigError,
    CorpusError,
    EmptyCorpusError,
    MemoryMismatchError,
    MemoryUnavailableError,
    StoreCorruptError,
    StoreError,
)
from ragcore.registry.components import ComponentSpec
from ragcore.store.diff import Changes
from ragcore.store.layout import RETRIEVER
from ragcore.store.manifest import MANIFEST, Manifest
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.pages import page, pages_spec, write_pages
from tests.helpers.passage_stores import CHANGES, PASSAGES, both, segments
from tests.helpers.shard_project import BM25, answers, build_shards, write_corpus
from tests.helpers.sqlite_passages import SqlitePassages, sqlite_passages, tables
from tests.helpers.word_encoder import dense_part

ROOT = Path(__file__).parents[2]
PLUGIN = """\
from ragcore.hookspecs import hookimpl

@hookimpl
def ragcore_passages():
    return {"sqlite-passages": "tests.helpers.sqlite_passages:SqlitePassages"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The database."""
    return tmp_path / "passages.sqlite"


@pytest.fixture
def store(tmp_path: Path, file: Path) -> Store:
    return Store(tmp_path / "store", passages=sqlite_passages(file))


@pytest.fixture
def files(tmp_path: Path) -> Store:
    """A store of files, which is to be told from `store` by nothing."""
    return Store(tmp_path / "files")


def test_a_version_is_one_like_any_other_through_all_its_changes(
    store: Store, files: Store, file: Path
) -> None:
    both(store, files, lambda each: each.build("one", PASSAGES, dense_part()))
    assert not (store.folder / "versions" / "one" / "passages.arrow").exists()
    assert len(tables(file)) == 1
    both(store, files, lambda each: each.update("two", CHANGES, retriever=dense_part()))
    deletions = Changes({}, {"p4": "", "new": ""})
    both(store, files, lambda each: each.update("three", deletions, retriever=dense_part()))
    assert len(tables(file)) == 2, "what only deletes writes no segment"
    assert store.diff("one", "two") == files.diff("one", "two")
    assert store.diff("two", "three") == files.diff("two", "three")
    both(store, files, lambda each: each.rollback())
    assert store.current() == "two"
    with store.passages("one") as old, files.passages("one") as other:
        assert list(old) == list(other)
    assert [store.verify(name).passages for name in ("one", "two", "three")] == [30, 30, 28]
    assert tables(file) == segments(store)


def test_batches_of_several_kinds_read_alike(
    store: Store, files: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions with several segments, and with batches of which nothing is left, are read alike."""
    monkeypatch.setattr("ragcore.memory.remote.BATCH_ROWS", 4)
    both(store, files, lambda each: each.build("one", PASSAGES, dense_part()))
    gone = Changes(
        {f"q{n}": Passage(f"q{n}", "", f"more {n}") for n in range(9)},
        {f"p{n}": "" for n in (*range(8, 13), 29)},
    )
    both(store, files, lambda each: each.update("two", gone, retriever=dense_part()))
    both(store, files, lambda each: each.update("three", CHANGES, retriever=dense_part()))


def test_documents_are_updated_alike(store: Store, files: Store, tmp_path: Path) -> None:
    before = [page(n, f"Page {n}", f"text {n}", "common") for n in range(6)]
    after = [
        *before[:2],
        page(2, "Page 2", "another text", "common", revision=2),
        page(3, "Page 3", "inserted", "text 3", "common", revision=2),
        page(9, "Page 9", "new page"),
        *before[4:],
    ]
    spec = pages_spec(write_pages(tmp_path / "pages.jsonl", before))

    def build(each: Store) -> None:
        each.build("one", spec.build(), dense_part(), corpus_config=spec)

    both(store, files, build)
    write_pages(tmp_path / "pages.jsonl", after, date="2026-02-01")

    def update(each: Store) -> None:
        each.update(None, spec.build(), retriever=dense_part(), corpus_config=spec)

    both(store, files, update)
    current = str(store.current())
    assert store.diff("one", current) == files.diff("one", str(files.current()))
    info = store.update(None, spec.build(), retriever=dense_part(), corpus_config=spec)
    assert info.nothing_changed
    assert len(segments(store)) == 2


def test_a_corpus_without_documents_is_compared_by_ids(store: Store, files: Store) -> None:
    both(store, files, lambda each: each.build("one", PASSAGES, dense_part()))
    corpus = [*PASSAGES[:20], Passage("p21", "", "changed"), Passage("q", "", "new")]
    both(store, files, lambda each: each.update("two", corpus, retriever=dense_part()))
    assert store.diff("one", "two") == files.diff("one", "two")


DAMAGES = {
    "a changed text": "update {} set text = 'forged' where position = 4",
    "a changed id": "update {} set id = 'p04' where position = 4",
    "a moved border": "update {} set title = title || substr(text, 1, 1), "
    "text = substr(text, 2) where position = 4",
    "a removed passage": "delete from {} where position = 29",
    "a passage more": "insert into {} values (30, 'x', '', 'x', '{{}}')",
    "a renumbered passage": "update {} set position = 99 where position = 4",
    "a dropped table": "drop table {}",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_was_changed_behind_our_back_is_noticed(store: Store, file: Path, damage: str) -> None:
    store.build("one", PASSAGES, dense_part())
    (name,) = tables(file)
    database = sqlite3.connect(file)
    with database:
        database.execute(damage.format(name))
    database.close()
    with pytest.raises(StoreCorruptError, match=f"'one' is damaged: .*{name}"):
        store.verify("one")
    with pytest.raises(StoreCorruptError, match="damaged"):
        store.open("one", retriever=dense_part())
    with pytest.raises(StoreCorruptError, match="damaged"):
        store.update("two", CHANGES, retriever=dense_part())
    with pytest.raises(StoreCorruptError, match="damaged"):
        store.diff("one", "one")
    with pytest.raises(StoreCorruptError, match="damaged"):
        store.export(io.BytesIO(), "one")


def test_samples_of_a_large_segment_are_compared(store: Store, file: Path) -> None:
    store.build("one", [Passage(f"p{n}", "", f"text {n}") for n in range(3000)], dense_part())
    (name,) = tables(file)
    database = sqlite3.connect(file)
    with database:
        # Between two samples: only a full comparison can tell.
        database.execute(f"update {name} set text = 'forged' where position = 100")
    store.open("one", retriever=dense_part(), verify="sampled").close()
    with pytest.raises(StoreCorruptError, match="its passages have sha256"):
        store.verify("one")
    with database:
        database.execute(f"update {name} set text = 'forged' where position = 2999")
    database.close()
    with pytest.raises(StoreCorruptError, match="some of its passages have sha256"):
        store.open("one", retriever=dense_part(), verify="sampled")
    store.open("one", retriever=dense_part(), verify=False).close()


def test_an_exported_version_has_its_passages(
    store: Store, files: Store, tmp_path: Path, file: Path
) -> None:
    for each in (store, files):
        each.build("one", PASSAGES, dense_part())
        each.update("two", CHANGES, retriever=dense_part())
        each.export(tmp_path / f"{each.folder.name}.tar", "two")
    members = [_members(tmp_path / f"{name}.tar") for name in ("store", "files")]
    assert members[0].keys() == members[1].keys()
    assert members[0]["passages.arrow"] == members[1]["passages.arrow"]
    manifests = [json.loads(each.pop(MANIFEST)) for each in members]
    assert members[0] == members[1]
    for manifest in manifests:
        for key in ("created", "order", "sha256"):
            manifest.pop(key, None)
    assert manifests[0] == manifests[1]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    plain = Store(tmp_path / "plain")
    plain.import_version(tmp_path / "store.tar", activate=True, retriever=dense_part())
    again = Store(tmp_path / "again", passages=sqlite_passages(file))
    again.import_version(tmp_path / "store.tar", activate=True, retriever=dense_part())
    again.verify("two")
    assert len(segments(again)) == 2
    assert segments(again).isdisjoint(segments(store))
    assert tables(file) == segments(store, again)
    both(again, plain, lambda each: None)
    stream = io.BytesIO()
    again.export(stream, "two")
    assert stream.getvalue() == (tmp_path / "store.tar").read_bytes()


KILLED = """
import os
import signal
import sys
from pathlib import Path
from ragcore.store.store import Store
from tests.helpers.sqlite_passages import sqlite_passages

folder = Path(sys.argv[1])
Store(folder / "store", passages=sqlite_passages(folder / "passages.sqlite")).export(
    folder / "out" / "killed.tar", progress=lambda *_: os.kill(os.getpid(), signal.SIGKILL)
)
"""


def test_what_a_killed_export_has_left_is_removed_by_the_next(store: Store, tmp_path: Path) -> None:
    store.build("one", PASSAGES, dense_part())
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    (leftover,) = out.glob(".ragcore-export-*")
    assert (leftover / "passages.arrow").stat().st_size

    def export_another(*_: object) -> None:
        # A folder in which an export works is no leftover.
        assert not leftover.exists()
        store.export(out / "other.tar")

    store.export(out / "killed.tar", progress=export_another)
    assert sorted(os.listdir(out)) == ["killed.tar", "other.tar"]
    assert (out / "killed.tar").read_bytes() == (out / "other.tar").read_bytes()


def _members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


def test_an_archive_that_leads_to_a_passage_store_is_refused(
    store: Store, files: Store, tmp_path: Path
) -> None:
    """It could drop the segments of another memory, or have later passages sent elsewhere."""
    store.build("one", PASSAGES, dense_part())
    folder = store.folder / "versions" / "one"
    with tarfile.open(tmp_path / "pointer.tar", "w") as archive:
        names = [MANIFEST, *Manifest.read(folder).files]
        for name in names:
            archive.add(folder / name, name)
    with pytest.raises(StoreCorruptError, match="passage store"):
        files.import_version(tmp_path / "pointer.tar")
    manifest = Manifest.read(folder).model_copy(update={"passage_store": None})
    with tarfile.open(tmp_path / "pointer.tar", "w") as archive:
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(manifest.spelled())
        archive.addfile(member, io.BytesIO(manifest.spelled()))
        for name in manifest.files:
            archive.add(folder / name, name)
    with pytest.raises(StoreCorruptError, match="leads to a database"):
        files.import_version(tmp_path / "pointer.tar")
    assert files.versions() == []


def test_what_is_forgotten_everywhere_is_in_no_table(
    store: Store, files: Store, file: Path
) -> None:
    both(store, files, lambda each: each.build("one", PASSAGES, dense_part()))
    both(store, files, lambda each: each.update("two", CHANGES, retriever=dense_part()))

    def forget(each: Store) -> None:
        forgotten = each.forget(["p7", "p21"], everywhere=True, retriever=dense_part())
        assert not forgotten.left

    both(store, files, forget)
    for name in ("one", "two"):
        with store.passages(name) as one, files.passages(name) as other:
            assert list(one) == list(other)
    assert tables(file) == segments(store)
    database = sqlite3.connect(file)
    for name in tables(file):
        texts = {text for (text,) in database.execute(f"select text from {name}")}
        assert not texts & {"text 7 \0", "other text", "text 21 \0"}
    database.close()


def test_gc_drops_the_segments_that_no_version_has(store: Store, file: Path) -> None:
    store.build("one", PASSAGES, dense_part())
    first = tables(file)
    store.update("two", CHANGES, retriever=dense_part())
    store.build("three", PASSAGES[:5], dense_part())
    both_others = tables(file)
    assert store.gc(keep=2).remote == 0, "two has the segment of one"
    assert tables(file) == both_others
    assert first < both_others
    assert store.gc(keep=1).remote == 2
    assert len(tables(file)) == 1
    assert tables(file) == segments(store)


def test_a_failed_build_leaves_no_segment(store: Store, file: Path) -> None:
    def faulty() -> Any:
        yield from (Passage(f"p{n}", "", f"text {n}") for n in range(5000))
        raise CorpusError("broken off")

    with pytest.raises(CorpusError, match="broken off"):
        store.build("one", faulty(), dense_part())
    assert tables(file) == set()
    with pytest.raises(EmptyCorpusError):
        store.build("one", [], dense_part())
    unwritable = Passage("b", "", "text", {"key": "\ud800"})
    with pytest.raises(CorpusError, match=r"passage 2 \('b'\): its metadata has a lone surrogate"):
        store.build("one", [PASSAGES[0], unwritable], dense_part())
    store.build("one", PASSAGES, dense_part())
    before = tables(file)
    with pytest.raises(CorpusError, match="broken off"):
        store.update("two", faulty(), retriever=dense_part())
    assert tables(file) == before == segments(store)


def test_a_pointer_is_there_before_its_segment(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = SqlitePassages.begin

    def noting(self: SqlitePassages, segment: str) -> None:
        assert segment in segments(store)
        begin(self, segment)
        raise KeyboardInterrupt

    monkeypatch.setattr(SqlitePassages, "begin", noting)
    with pytest.raises(KeyboardInterrupt):
        store.build("one", PASSAGES, dense_part())
    assert tables(file) == set()


def test_what_a_killed_build_left_is_dropped_by_gc(store: Store, file: Path) -> None:
    store.build("one", PASSAGES, dense_part())
    working = store.folder / "versions" / ".building-two-0123abcd"
    (working / "passages").mkdir(parents=True)
    own = sqlite_passages(file).shared()
    pointer = RemotePointer("passages", "sqlite-passages", "left", {"database": own.identity})
    pointer.write(working / "passages")
    own.begin("left")
    collected = store.gc(keep=1)
    assert (collected.orphans, collected.remote) == (1, 1)
    assert tables(file) == segments(store)


def test_two_stores_in_one_database_do_not_touch_each_other(
    store: Store, tmp_path: Path, file: Path
) -> None:
    other = Store(tmp_path / "other", passages=sqlite_passages(file))
    for each in (store, other):
        each.build("one", PASSAGES, dense_part())
        each.build("two", PASSAGES[:9], dense_part())
    store.gc(keep=1)
    assert [info.name for info in other.versions()] == ["one", "two"]
    other.verify("one")
    assert len(tables(file)) == 3
    assert tables(file) == segments(store, other)


def test_a_store_of_files_goes_on_in_a_passage_store_and_without_a_pipeline(
    files: Store, file: Path, installed: Installed
) -> None:
    """The record of a version says how to connect where no pipeline does."""
    installed.add("passages", PLUGIN)
    files.build("one", PASSAGES, dense_part())
    remote = Store(files.folder, passages=sqlite_passages(file))
    remote.update("two", CHANGES, retriever=dense_part())
    assert len(segments(remote)) == 1, "what the parent has stays in its files"
    files.verify("two")
    files.update("three", Changes({"x": Passage("x", "", "x")}, {}), retriever=dense_part())
    assert len(segments(files)) == 2, "the update goes on where its parent is"
    with files.open("three", retriever=dense_part(), verify="full") as memory:
        assert memory.passages[len(memory) - 1].id == "x"
    assert files.manifest("one").passage_store is None
    assert files.manifest("one").format == 1
    assert files.manifest("three").passage_store == sqlite_passages(file).to_dict()
    assert files.manifest("three").format == 3


def test_another_database_is_told_from_the_one_that_has_the_passages(
    store: Store, tmp_path: Path, file: Path, installed: Installed
) -> None:
    store.build("one", PASSAGES, dense_part())
    other = Store(store.folder, passages=sqlite_passages(tmp_path / "other.sqlite"))
    with pytest.raises(MemoryMismatchError, match=r"leads to passages in the database .*other"):
        other.verify("one")
    with pytest.raises(StoreError, match="other"):
        other.open("one", retriever=dense_part())
    other.build("two", PASSAGES, dense_part())
    installed.add("passages", PLUGIN)
    # The first database is the pipeline's no longer, but the version records it.
    assert other.gc(keep=1).remote == 1
    assert tables(file) == set()


def test_segments_in_an_unknown_database_stay_and_so_does_their_version(
    store: Store, tmp_path: Path, file: Path, installed: Installed
) -> None:
    installed.add("passages", PLUGIN)
    store.build("one", PASSAGES, dense_part())
    folder = store.folder / "versions" / "one"
    Manifest.read(folder).model_copy(update={"passage_store": None}).write(folder)
    other = Store(store.folder, passages=sqlite_passages(tmp_path / "other.sqlite"))
    other.build("two", PASSAGES, dense_part())
    with pytest.raises(StoreError, match="stays in the database"):
        other.gc(keep=1)
    assert tables(file) == segments(store) - tables(tmp_path / "other.sqlite")
    # With the first database, the next gc finishes it.
    store.gc(keep=1)
    assert tables(file) == set()


def test_a_passage_store_of_another_name_is_refused(
    store: Store, file: Path, installed: Installed
) -> None:
    store.build("one", PASSAGES, dense_part())
    config = SqlitePassages.Config(path=file)
    renamed = ComponentSpec[Any]("passages", "another", SqlitePassages, config)
    installed.add("passages", PLUGIN)
    with pytest.raises(StoreError, match=r"'sqlite-passages', and memory\.passages is 'another'"):
        Store(store.folder, passages=renamed).update("two", CHANGES, retriever=dense_part())


def test_a_broken_pointer_is_named(store: Store) -> None:
    store.build("one", PASSAGES, dense_part())
    folder = store.folder / "versions" / "one" / "passages"
    pointer = RemotePointer.read(folder)
    for details in ({}, {**pointer.details, "rows": 0}, {**pointer.details, "sha256": None}):
        RemotePointer(pointer.kind, pointer.use, pointer.name, details).write(folder)
        with pytest.raises(StoreCorruptError, match=POINTER):
            store.open("one", retriever=dense_part())
    (folder / POINTER).write_text("[]")
    with pytest.raises(StoreCorruptError, match=POINTER):
        store.verify("one")


def test_a_passage_store_that_is_not_there_is_no_damage(
    tmp_path: Path, file: Path, store: Store
) -> None:
    store.build("one", PASSAGES, dense_part())
    away = Store(store.folder, passages=sqlite_passages(tmp_path / "unmounted" / "p.sqlite"))
    with pytest.raises((MemoryUnavailableError, MemoryMismatchError)):
        away.open("one", retriever=dense_part())
    assert (store.folder / "versions" / "one" / RETRIEVER).is_dir()


def test_a_version_without_a_word_how_to_connect_says_so(
    store: Store, installed: Installed
) -> None:
    store.build("one", PASSAGES, dense_part())
    folder = store.folder / "versions" / "one"
    Manifest.read(folder).model_copy(update={"passage_store": None}).write(folder)
    with pytest.raises(StoreError, match="says how to connect: name a pipeline file"):
        Store(store.folder).verify("one")
    record = {"use": "sqlite-passages", "path": "${env:RAGCORE_TEST_UNSET}"}
    Manifest.read(folder).model_copy(update={"passage_store": record}).write(folder)
    with pytest.raises(ConfigError, match="RAGCORE_TEST_UNSET is not set"):
        Store(store.folder).verify("one")


def with_store(path: Path) -> Path:
    """Let a pipeline have its passages in a passage store."""
    text = path.read_text().replace(
        "  cache: null\n",
        "  cache: null\n  passages: {use: sqlite-passages, path: passages.sqlite}\n",
    )
    path.write_text(text)
    return path


def test_a_pipeline_builds_updates_and_merges_into_its_passage_store(
    pipeline: Callable[..., Path], installed: Installed, file: Path
) -> None:
    installed.add("passages", PLUGIN)
    path = with_store(pipeline(BM25))
    ragcore.build_memory(path, version="whole")
    out = build_shards(path, 3)
    assert len(tables(file)) == 1, "shards are files until they are merged"
    ragcore.merge_shards(path, [out], version="merged")
    assert len(tables(file)) == 4
    with (
        ragcore.open_memory(path, version="whole") as whole,
        ragcore.open_memory(path, version="merged", verify=True) as merged,
    ):
        assert list(merged.passages) == list(whole.passages)
        assert answers(merged) == answers(whole)
    write_corpus(path.parent, 70)
    updated = ragcore.update_memory(path, version="more")
    assert (updated.added, updated.passages) == (10, 70)
    assert len(tables(file)) == 5
    store = Store(path.parent / "store")
    store.verify("more")
    assert store.gc(keep=1).remote == 1
    assert tables(file) == segments(store)
    # The folder of the shards has nothing to do with the tables.
    Store(out).gc(keep=1)
    store.verify("more")


@pytest.mark.parametrize("where", [None, {"n": {"gte": 5}}], ids=["passages", "filter"])
def test_a_memory_knows_that_its_passages_are_silent_until_it_asks_again(
    tmp_path: Path, where: dict[str, Any] | None
) -> None:
    disk, away = tmp_path / "disk", tmp_path / "away"
    disk.mkdir()
    store = Store(tmp_path / "store", passages=sqlite_passages(disk / "passages.sqlite"))
    store.build("one", PASSAGES, dense_part())
    with store.open(retriever=dense_part()) as memory:
        disk.rename(away)
        with pytest.raises(MemoryUnavailableError) as silent:
            memory.search("text 9", 3, where=where)
        assert memory.unavailable == str(silent.value)
        with pytest.raises(MemoryUnavailableError):
            memory.ask_again()
        assert memory.unavailable is not None
        away.rename(disk)
        memory.ask_again()
        assert memory.unavailable is None
