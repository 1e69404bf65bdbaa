"""Test a store: building, opening, listing; faults while building and faults on disk."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragcore.errors import (
    ComponentError,
    CorpusError,
    EmptyCorpusError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnknownVersionError,
    VersionExistsError,
)
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.store.diff import Changes, changes_to
from ragcore.store.manifest import FORMAT, FORMAT_WITH_STORE, Manifest, _spelled
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.word_encoder import dense_part


def numbered(count: int, mark: str = "v") -> list[Passage]:
    return [
        Passage(f"{mark}{n}", f"title{n}", f"text{n} of {mark}", {"n": n}) for n in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "stores" / "s")
    store.build("one", numbered(30, "a"), dense_part())
    return store


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_built_is_opened(store: Store) -> None:
    memory = store.open(retriever=dense_part(), temperature=0.5, verify=True)
    assert (memory.version, len(memory), memory.temperature) == ("one", 30, 0.5)
    assert list(memory.passages) == numbered(30, "a")
    hits = memory.hits(["title7 text7"], 1)
    assert memory.passages.take(hits.rows[0].tolist()) == [numbered(8, "a")[7]]


def test_a_store_holds_several_versions(store: Store) -> None:
    store.build("two", numbered(5, "b"), dense_part(), activate=False)
    assert [(v.name, v.passages, v.retriever, v.current) for v in store.versions()] == [
        ("one", 30, "dense", True),
        ("two", 5, "dense", False),
    ]
    assert store.current() == "one"
    store.activate("two")
    assert store.current() == "two"
    assert len(store.open(retriever=dense_part())) == 5
    assert len(store.open("one", retriever=dense_part())) == 30


def test_a_list_gives_the_size_of_a_version(store: Store) -> None:
    files = contents(store.folder / "versions" / "one")
    files.pop("manifest.json")
    assert store.versions()[0].bytes == sum(map(len, files.values()))


def test_a_manifest_describes_its_version(store: Store) -> None:
    store.build("two", numbered(3), dense_part(seed=4), corpus_config={"use": "jsonl", "path": "x"})
    manifest = Manifest.read(store.folder / "versions" / "two")
    assert (manifest.format, manifest.name, manifest.passages) == (FORMAT, "two", 3)
    assert manifest.retriever == dense_part(seed=4).to_dict()
    assert manifest.corpus == {"use": "jsonl", "path": "x"}
    assert manifest.fingerprint == "words(seed=4,d=32)"
    assert manifest.created.endswith("+00:00")
    files = contents(store.folder / "versions" / "two")
    assert {*manifest.files, "manifest.json"} == set(files)


def test_progress_is_reported(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    Store(tmp_path).build(
        "one", numbered(25), dense_part(), batch=10, progress=lambda *step: seen.append(step)
    )
    assert seen[:3] == [("passages", 10, 25), ("passages", 20, 25), ("passages", 25, 25)]
    assert {stage for stage, _, _ in seen[3:]} == {"files"}
    assert seen[-1][1] == seen[-1][2]


def test_a_new_store_has_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    assert (store.versions(), store.current()) == ([], None)
    assert not store.folder.exists()
    with pytest.raises(UnknownVersionError, match=r"no current version.*ragcore memory build"):
        store.open()


def test_an_unknown_version_is_named_with_those_there_are(store: Store) -> None:
    for method in (store.open, store.verify, store.activate):
        with pytest.raises(UnknownVersionError, match="no version 'nope'; versions: one"):
            method("nope")
    for outside in ("../one", "", ".", "a/b"):
        with pytest.raises(UnknownVersionError):
            store.open(outside)
    assert store.current() == "one"


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "é", "a\n", "x" * 129])
def test_a_version_has_a_plain_name(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be a version's name"):
        store.build(name, numbered(1), dense_part())


def test_a_version_never_changes(store: Store) -> None:
    before = contents(store.folder)
    with pytest.raises(VersionExistsError, match="already has a version 'one'"):
        store.build("one", numbered(5, "b"), dense_part())
    assert contents(store.folder) == before


# Faults while building


def stopping(passages: list[Passage], error: BaseException) -> Iterator[Passage]:
    yield from passages
    raise error


@pytest.mark.parametrize(
    "error", [CorpusError("line 700"), KeyboardInterrupt(), ZeroDivisionError()]
)
@pytest.mark.parametrize("after", [0, 700])
def test_a_corpus_that_fails_leaves_no_trace(
    store: Store, error: BaseException, after: int
) -> None:
    before = contents(store.folder)
    with pytest.raises(type(error)):
        store.build("two", stopping(numbered(after), error), dense_part())
    # What was encoded stays for the next build, and nothing else.
    remaining = {
        name: data for name, data in contents(store.folder).items() if ".scratch-" not in name
    }
    assert remaining == before
    names = [path.name for path in (store.folder / "versions").iterdir()]
    assert [name[:9] for name in sorted(names)] == [".scratch-", "one"][not after :]
    assert store.current() == "one"


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ([], "gave no passage"),
        ([Passage("a", "", "x"), Passage("b", "T", " \n")], r"passage 2 .*'b'.*empty text"),
        ([Passage("", "T", "x")], r"passage 1 .*empty id"),
        ([*numbered(600), Passage("v3", "Again", "x")], r"passage 601 .*'Again'.* 'v3'.*unique"),
    ],
)
def test_passages_that_cannot_be_stored_are_named(
    store: Store, passages: list[Passage], message: str
) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        store.build("two", passages, dense_part())
    assert isinstance(caught.value, EmptyCorpusError) == (not passages)
    assert [version.name for version in store.versions()] == ["one"]


class Yielding:
    """A corpus of a plugin with a common mistake: what it yields, or what `__iter__` returns."""

    class Config(ComponentConfig):
        pass

    def __init__(self, items: list[Any], *, as_list: bool = False) -> None:
        self._items = items
        self._as_list = as_list

    def __iter__(self) -> Any:
        return self._items if self._as_list else iter(self._items)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (
            Yielding([*numbered(2), ("a", "T", "x")]),
            r"^corpus 'letters' yielded a tuple where a ragcore\.Passage is expected \(item 3\)",
        ),
        (Yielding([None]), "^corpus 'letters' yielded None where"),
        (Yielding([Passage(7, "T", "x")]), "a Passage whose id is an int where text"),
        (Yielding([Passage("a", "T", None)]), "text is None where .* id 'a'"),
        (Yielding([Passage("a", "T", "x", [1])]), "metadata is a list where"),
        (
            Yielding(numbered(2), as_list=True),
            "^corpus 'letters': its __iter__ returned a list where an iterator is expected",
        ),
    ],
)
def test_what_is_no_passage_is_named_with_its_corpus(
    store: Store, corpus: Yielding, message: str
) -> None:
    named: ComponentSpec[Any] = ComponentSpec("corpus", "letters", Yielding, Yielding.Config())
    with pytest.raises(CorpusError, match=message):
        store.build("two", corpus, dense_part(), corpus_config=named)
    with pytest.raises(CorpusError, match=message.replace("corpus 'letters'", "the corpus")):
        store.update("two", lambda passages: changes_to(passages, corpus), retriever=dense_part())
    assert [version.name for version in store.versions()] == ["one"]


def test_a_retriever_that_loses_rows_is_refused(store: Store) -> None:
    class Forgetful(Dense):
        def add(self, rows: np.ndarray, passages: Iterable[Passage]) -> None:
            super().add(rows[1:], list(passages)[1:])

    part = ComponentSpec("retriever", "forgetful", Forgetful, dense_part().config)
    with pytest.raises(ComponentError, match="'forgetful' holds 29 rows after 30"):
        store.build("two", numbered(30), part)


def test_a_build_removes_orphans_but_not_a_running_build(store: Store) -> None:
    abandoned = store.folder / "versions" / ".building-two-0000"
    abandoned.mkdir()
    (abandoned / "passages.arrow").write_bytes(b"half")

    def inner() -> Iterator[Passage]:
        assert not abandoned.exists()
        yield from numbered(3, "outer")
        # A second build, while the first is running.
        store.build("three", numbered(4, "inner"), dense_part())

    store.build("two", inner(), dense_part())
    assert [(v.name, v.passages) for v in store.versions()] == [
        ("one", 30),
        ("three", 4),
        ("two", 3),
    ]
    assert store.current() == "two"


def test_of_two_builds_of_a_name_the_later_is_refused_before_it_reads_a_passage(
    store: Store, tmp_path: Path
) -> None:
    read: list[str] = []

    def never() -> Iterator[Passage]:
        read.append("read")
        yield from numbered(3, "later")

    def first() -> Iterator[Passage]:
        yield from numbered(20, "first")
        later = [
            lambda: store.build("two", never(), dense_part()),
            lambda: store.update(
                "two", lambda passages: changes_to(passages, never()), retriever=dense_part()
            ),
            lambda: store.import_version(tmp_path / "one.tar", "two"),
        ]
        for make in later:
            with pytest.raises(VersionExistsError, match="'two' is being made by another program"):
                make()
        # Names that begin alike are others.
        store.build("two-0123abcd", numbered(2), dense_part(), activate=False)

    store.export(tmp_path / "one.tar")
    store.build("two", first(), dense_part())
    assert read == []
    assert list(store.open("two", retriever=dense_part()).passages) == numbered(20, "first")
    assert len(store.versions()) == 3


def test_of_builds_of_a_name_from_several_threads_one_succeeds(store: Store) -> None:
    start = threading.Barrier(4)
    outcomes: list[str] = []

    def build(mark: str) -> None:
        start.wait(60)
        try:
            store.build("two", numbered(20, mark), dense_part())
            outcomes.append(mark)
        except VersionExistsError:
            outcomes.append("refused")

    threads = [threading.Thread(target=build, args=(mark,)) for mark in "wxyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner, *refused = sorted(outcomes, key=len)
    assert refused == ["refused"] * 3
    assert list(store.open("two", retriever=dense_part()).passages) == numbered(20, winner)


def test_versions_without_a_name_are_named_for_the_day_and_counted(store: Store) -> None:
    names: list[str] = []

    def passages() -> Iterator[Passage]:
        yield from numbered(3)
        # While the first of the day is not there yet.
        names.append(store.build(None, numbered(2), dense_part()).name)

    before = date.today().isoformat()
    first = store.build(None, passages(), dense_part()).name
    if date.today().isoformat() == before:
        changes = Changes({"new": Passage("new", "", "new")}, {})
        third = store.update(None, changes, retriever=dense_part()).name
        assert (first, names[0], third) == (before, f"{before}-2", f"{before}-3")


def test_a_name_that_reads_as_an_option_is_refused(store: Store) -> None:
    for name in ("--help", "-1"):
        with pytest.raises(StoreError, match="cannot be a version's name"):
            store.build(name, numbered(2), dense_part())


def test_building_holds_no_more_passages_than_a_batch(tmp_path: Path) -> None:
    class Counting(Dense):
        """Holds nothing, so that only the store's own memory is measured."""

        def add(self, rows: np.ndarray, passages: Iterable[Passage]) -> None:
            self.rows = int(rows[-1]) + 1

        def __len__(self) -> int:
            return self.rows

        def save(self, folder: Path) -> None:
            pass

    part = ComponentSpec("retriever", "counting", Counting, dense_part().config)
    text = "word " * 2000
    tracemalloc.start()
    Store(tmp_path).build(
        "one", (Passage(str(n), "", f"{text}{n}") for n in range(2500)), part, batch=100
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "versions" / "one" / "passages.arrow").stat().st_size > 25_000_000
    assert peak < 10_000_000


# Faults on disk


def flip(path: Path, offset: int) -> None:
    """Flip a bit of the byte at an offset; a second call restores it."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("version", ["one", "two"])
def test_a_flipped_bit_in_any_file_is_named(store: Store, version: str) -> None:
    changes = Changes({"b0": Passage("b0", "", "new text")}, {"a3": "here"})
    store.update("two", changes, retriever=dense_part())
    folder = store.folder / "versions" / version
    assert len(contents(folder)) == {"one": 5, "two": 11}[version]
    for name, data in contents(folder).items():
        for offset in {0, len(data) // 3, len(data) // 2, len(data) - 1}:
            flip(folder / name, offset)
            with pytest.raises(StoreCorruptError, match=name):
                store.verify(version)
            with pytest.raises(StoreCorruptError, match=name):
                store.open(version, retriever=dense_part())
            flip(folder / name, offset)
    assert store.verify(version).name == version


def test_no_byte_of_a_manifest_changes_unnoticed(store: Store) -> None:
    path = store.folder / "versions" / "one" / "manifest.json"
    for offset in range(path.stat().st_size):
        flip(path, offset)
        with pytest.raises(StoreCorruptError, match=r"manifest\.json"):
            Manifest.read(path.parent)
        flip(path, offset)


def test_opening_notices_a_missing_or_shortened_file(store: Store) -> None:
    folder = store.folder / "versions" / "one"
    for name, data in contents(folder).items():
        (folder / name).write_bytes(data[:-1])
        with pytest.raises(StoreCorruptError, match=name):
            store.open(retriever=dense_part())
        (folder / name).unlink()
        with pytest.raises(StoreCorruptError, match=f"{name} is missing"):
            store.open(retriever=dense_part())
        (folder / name).write_bytes(data)


def test_all_damaged_files_are_named_together(store: Store) -> None:
    folder = store.folder / "versions" / "one"
    (folder / "passages.arrow").unlink()
    (folder / "retriever" / "dense.json").write_bytes(b"")
    with pytest.raises(StoreCorruptError, match=r"passages\.arrow is missing; .*dense\.json has 0"):
        store.verify("one")


def test_a_renamed_version_is_refused(store: Store) -> None:
    (store.folder / "versions" / "one").rename(store.folder / "versions" / "other")
    with pytest.raises(StoreCorruptError, match="holds the version 'one'"):
        store.open("other", retriever=dense_part())


def test_a_later_format_is_refused(store: Store) -> None:
    path = store.folder / "versions" / "one" / "manifest.json"
    fields = json.loads(path.read_bytes())
    del fields["sha256"]
    path.write_bytes(_spelled({**fields, "format": FORMAT_WITH_STORE + 1}))
    with pytest.raises(StoreError, match=r"format 4; .* reads formats 1 to 3: upgrade"):
        store.open(retriever=dense_part())


@pytest.mark.parametrize("text", ["", "../one\n", "one\ntwo\n", "\x00"])
def test_a_broken_current_is_named(store: Store, text: str) -> None:
    (store.folder / "CURRENT").write_text(text)
    with pytest.raises(StoreCorruptError, match=r"CURRENT holds .* activate one of one"):
        store.open(retriever=dense_part())
    store.activate("one")
    assert store.current() == "one"


# Another retriever than it was built with


@pytest.mark.parametrize("other", [{"seed": 1}, {"dim": 16}])
def test_another_encoder_is_refused_naming_both(store: Store, other: dict[str, int]) -> None:
    other_spec = dense_part(**other)
    named = f"words(seed={other.get('seed', 0)},d={other.get('dim', 32)})"
    with pytest.raises(MemoryMismatchError) as caught:
        store.open(retriever=other_spec)
    for text in ("'one'", "words(seed=0,d=32)", named, "memory.retriever.encoder"):
        assert text in str(caught.value)


def test_another_retriever_is_refused_naming_both(store: Store) -> None:
    other = ComponentSpec("retriever", "other", Dense, dense_part().config)
    with pytest.raises(MemoryMismatchError, match=r"'dense', but .* 'other': rebuild"):
        store.open(retriever=other)


def test_an_index_of_another_name_is_refused(store: Store) -> None:
    config = dense_part().config
    index = ComponentSpec("index", "other", Exact, Exact.Config())
    other = ComponentSpec("retriever", "dense", Dense, config.model_copy(update={"index": index}))
    with pytest.raises(MemoryMismatchError, match=r"index 'exact', but .* 'other'"):
        store.open(retriever=other)
