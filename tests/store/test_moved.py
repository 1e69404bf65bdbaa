"""Test that passages that moved in their document keep their vectors and get new metadata."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.contracts import KnownDocuments
from ragcore.disk.atomic import files_below
from ragcore.errors import CorpusError, StoreCorruptError
from ragcore.filters.expressions import read_where
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.store.comparing import DocumentCounts
from ragcore.store.diff import Changes, read_changes, write_changes
from ragcore.store.documents import Documents, NoDocuments
from ragcore.store.manifest import FORMAT, FORMAT_WITH_MOVED
from ragcore.store.store import Store, UpdateInfo
from ragcore.types import Document, Passage
from tests.helpers.pages import page, pages_spec, write_pages
from tests.helpers.rarity import Rarity
from tests.helpers.word_encoder import Vectors, WordEncoder, dense_part

OLD = [
    page(1, "Chad", "Chad is a country.", "Its capital is N'Djamena.", "It has a lake."),
    page(2, "Peru", "Peru is a country.", "Its capital is Lima."),
]
LOWER = page(1, "Chad", "", *OLD[0]["text"].split("\n"), revision=2)
"""The first page with an empty line at its head."""


class Counting(WordEncoder):
    encoded: ClassVar[list[str]] = []

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        Counting.encoded.extend(passage.text for passage in passages)
        return super().encode_passages(passages)


def part() -> ComponentSpec[Any]:
    encoder = ComponentSpec("encoder", "counting", Counting, WordEncoder.Config())
    config = dense_part().config.model_copy(update={"encoder": encoder})
    return ComponentSpec("retriever", "dense", Dense, config)


def pages_in(store: Store, pages: list[dict[str, Any]], **options: Any) -> ComponentSpec[Any]:
    """Return a corpus of pages whose passages tell their lines."""
    store.folder.parent.mkdir(exist_ok=True)
    file = write_pages(store.folder.parent / "pages.jsonl", pages)
    return pages_spec(file, lines=True, **options)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    spec = pages_in(store, OLD)
    store.build("one", spec.build(), part(), corpus_config=spec)
    Counting.encoded.clear()
    return store


def update(store: Store, name: str, pages: list[dict[str, Any]], **options: Any) -> UpdateInfo:
    spec = pages_in(store, pages, **options)
    return store.update(name, spec.build(), corpus_config=spec, retriever=part())


def metadata(store: Store, version: str | None = None) -> dict[str, dict[str, Any]]:
    with store.passages(version) as passages:
        return {each.text: dict(each.metadata) for each in passages}


def lines(store: Store, version: str | None = None) -> list[int]:
    return [each["line"] for each in metadata(store, version).values()]


def folder_of(store: Store, version: str) -> Path:
    return store.folder / "versions" / version


def test_a_line_at_the_head_moves_what_follows_and_encodes_nothing_of_it(store: Store) -> None:
    first = page(1, "Chad", "Before all.", *OLD[0]["text"].split("\n"), revision=2)
    info = update(store, "two", [first, OLD[1]])
    assert (info.added, info.changed, info.removed, info.moved) == (1, 0, 0, 3)
    assert Counting.encoded == ["Before all."]
    assert info.documents == DocumentCounts(unchanged=1, edited=1)
    assert info.encodings_saved == 5
    assert lines(store) == [2, 3, 4, 1, 2, 1]
    # What a passage that moved says of its revision is new as well.
    assert [each["revision"] for each in metadata(store).values()] == [2, 2, 2, 1, 1, 2]
    assert lines(store, "one") == [1, 2, 3, 1, 2]


def test_passages_that_only_moved_make_a_version_that_shares_the_rest(store: Store) -> None:
    info = update(store, "two", [LOWER, OLD[1]])
    assert not info.nothing_changed
    assert (info.added, info.changed, info.removed, info.moved) == (0, 0, 0, 3)
    assert (info.documents, Counting.encoded) == (DocumentCounts(unchanged=1, same_text=1), [])
    assert lines(store) == [2, 3, 4, 1, 2]
    one, two = folder_of(store, "one"), folder_of(store, "two")
    names = [path.relative_to(two).as_posix() for path in files_below(two)]
    shared = [name for name in names if (one / name).exists() and (one / name).samefile(two / name)]
    own = {"documents.arrow", "documents.npy", "manifest.json", "moved.arrow"}
    assert set(names) - set(shared) == own
    assert "retriever/index/vectors.npy" in shared
    assert store.verify("two").passages == 5
    # Again from the same pages: nothing changes.
    assert update(store, "three", [LOWER, OLD[1]]).nothing_changed
    # Back to the old lines.
    assert update(store, "three", OLD).moved == 3
    assert metadata(store) == metadata(store, "one")


def test_filters_and_searches_read_the_new_metadata(store: Store) -> None:
    update(store, "two", [LOWER, OLD[1]])
    with store.open(retriever=part()) as memory:
        assert memory.count(read_where({"line": 4})) == 1
        hits = memory.hits(["lake"], 5, where=read_where({"line": 4}))
        (row,) = hits.rows[hits.rows >= 0].tolist()
        assert memory.passages[row].text == "It has a lake."


def test_the_revision_alone_makes_no_new_metadata(store: Store) -> None:
    pages = [page(1, "Chad", *OLD[0]["text"].split("\n"), revision=7), OLD[1]]
    info = update(store, "two", pages)
    assert (info.moved, info.nothing_changed) == (0, False)
    assert not folder_of(store, "two").joinpath("moved.arrow").exists()
    assert metadata(store) == metadata(store, "one")
    assert store.manifest("two").format == FORMAT


def test_earlier_releases_do_not_read_a_version_with_passages_that_moved(store: Store) -> None:
    update(store, "two", [LOWER, OLD[1]])
    assert store.manifest("one").format == FORMAT == 1
    assert store.manifest("two").format == FORMAT_WITH_MOVED == 2
    # The first version without any is one that they read.
    with store.passages() as passages:
        chad = dict.fromkeys((each.id for each in passages if each.title == "Chad"), "here")
    store.update("three", Changes({}, chad), retriever=part())
    assert store.manifest("three").format == FORMAT
    assert "moved.arrow" not in store.manifest("three").files


def test_what_moved_earlier_goes_on_to_later_versions(store: Store) -> None:
    update(store, "two", [LOWER, OLD[1]])
    info = update(store, "three", [LOWER, OLD[1], page(3, "Togo", "Togo is a country.")])
    assert (info.added, info.moved) == (1, 0)
    assert lines(store) == [2, 3, 4, 1, 2, 1]
    two, three = (folder_of(store, name) / "moved.arrow" for name in ("two", "three"))
    assert two.samefile(three)
    assert store.manifest("two").files["moved.arrow"] == store.manifest("three").files[three.name]
    # By the ids of passages as well, here one that moved and one that did not.
    with store.passages() as passages:
        gone = [each.id for each in passages if "lake" in each.text or "Lima" in each.text]
    store.update("four", Changes({}, dict.fromkeys(gone, "here")), retriever=part())
    assert lines(store) == [2, 3, 1, 1]
    assert not two.samefile(folder_of(store, "four") / "moved.arrow")
    # One moves again, two stay where they are, and one is new.
    pages = [page(1, "Chad", "", *OLD[0]["text"].split("\n")[:2], "", "It has a lake.", revision=3)]
    info = update(store, "five", [*pages, OLD[1]])
    assert (info.added, info.moved) == (2, 0)
    moved = {"Its capital is N'Djamena.": 3, "It has a lake.": 5, "Chad is a country.": 2}
    assert {text: each["line"] for text, each in metadata(store).items()} == {
        **moved,
        "Peru is a country.": 1,
        "Its capital is Lima.": 2,
    }


def test_other_settings_of_the_corpus_compare_the_places_too(store: Store) -> None:
    # The keys are the same, and only a setting says that lines are told.
    spec = pages_spec(store.folder.parent / "pages.jsonl", lines=False)
    store.build("without", spec.build(), part(), corpus_config=spec)
    info = update(store, "with", OLD)
    assert (info.moved, info.changed, info.nothing_changed) == (5, 0, False)
    assert lines(store) == [1, 2, 3, 1, 2]
    assert metadata(store) == metadata(store, "one")


def test_a_version_without_documents_gets_the_new_metadata(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.build("one", list(pages_in(store, OLD).build()), part())
    assert (update(store, "two", [LOWER, OLD[1]]).moved, lines(store)) == (3, [2, 3, 4, 1, 2])


def rows(count: int, first_line: int = 1) -> list[Passage]:
    """Return passages that tell their lines, of a corpus that knows no documents."""
    return [
        Passage(
            f"r{number}", "", f"row {number}", {"path": "rows.csv", "line": number + first_line}
        )
        for number in range(count)
    ]


def test_rows_that_moved_in_their_file_keep_their_vectors(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.build("one", rows(20), part())
    Counting.encoded.clear()
    new = [Passage("new", "", "first", {"path": "rows.csv", "line": 1}), *rows(20, 2)]
    info = store.update("two", new, retriever=part())
    assert (info.added, info.changed, info.removed, info.moved) == (1, 0, 0, 20)
    assert Counting.encoded == ["first"]
    assert metadata(store) == {each.text: each.metadata for each in new}
    difference = store.diff("one", "two")
    assert (len(difference.added), len(difference.changed), len(difference.moved)) == (1, 0, 20)
    # What is more than a move is a change; where nothing moved, nothing is made.
    other = [Passage(each.id, "", each.text, {**each.metadata, "path": "b.csv"}) for each in new]
    assert store.update("three", other, retriever=part()).changed == 21
    assert store.update("four", other, retriever=part()).nothing_changed


def test_a_document_whose_passage_was_moved_by_hand_is_compared_again(store: Store) -> None:
    with store.passages("one") as passages:
        lake = next(each for each in passages if each.text == "It has a lake.")
    by_hand = Passage(lake.id, lake.title, lake.text, {**lake.metadata, "line": 9})
    info = store.update("two", Changes({lake.id: by_hand}, {}), retriever=part())
    assert (info.changed, info.moved) == (0, 1)
    assert metadata(store)["It has a lake."]["line"] == 9
    assert update(store, "three", OLD).moved == 1
    assert metadata(store) == metadata(store, "one")


def test_a_retriever_that_cannot_change_is_shared(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    rarity = ComponentSpec("retriever", "rarity", Rarity, Rarity.Config())
    spec = pages_in(store, OLD)
    store.build("one", spec.build(), rarity, corpus_config=spec)
    spec = pages_in(store, [LOWER, OLD[1]])
    assert store.update("two", spec.build(), corpus_config=spec, retriever=rarity).moved == 3
    assert lines(store) == [2, 3, 4, 1, 2]


def test_an_exported_version_has_them(store: Store, tmp_path: Path) -> None:
    update(store, "two", [LOWER, OLD[1]])
    store.export(tmp_path / "two.tar")
    other = Store(tmp_path / "other")
    other.import_version(tmp_path / "two.tar", activate=True, retriever=part())
    assert metadata(other) == metadata(store, "two")
    assert other.manifest().files == store.manifest("two").files
    assert other.manifest().format == FORMAT_WITH_MOVED
    other.export(tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_damaged_file_is_found_at_opening_and_by_an_update(store: Store) -> None:
    update(store, "two", [LOWER, OLD[1]])
    path = folder_of(store, "two") / "moved.arrow"
    content = path.read_bytes()
    position = content.index(b'"line": 3')
    path.write_bytes(content[:position] + b'"line": 9' + content[position + 9 :])
    with pytest.raises(StoreCorruptError, match=r"moved\.arrow has sha256"):
        store.open(retriever=part())
    with pytest.raises(StoreCorruptError, match=r"moved\.arrow has sha256"):
        update(store, "three", OLD)
    path.unlink()
    with pytest.raises(StoreCorruptError, match=r"moved\.arrow is missing"):
        store.open(retriever=part(), verify=False)


def test_a_passage_that_is_forgotten_leaves_the_metadata_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    corpus = Told(told("a", "1", "x", "y", at="early"), told("b", "1", "z", at="early"))
    store.build("one", corpus, part())
    corpus = Told(told("a", "2", "x", "y", at="zanzibar"), told("b", "2", "z", at="coast"))
    assert store.update("two", corpus, retriever=part()).moved == 3
    corpus = Told(told("a", "2", "x", "y", at="zanzibar"), told("c", "1", "new", at="coast"))
    store.update("three", corpus, retriever=part())
    assert {path.parent.name for path in holding(store, b"zanzibar")} == {"two", "three"}
    (forgotten,) = store.forget(["a-x"], version="four", retriever=part()).passages
    assert forgotten.metadata["mtime"] == "zanzibar"
    store.forget(["a"], everywhere=True, version="five", retriever=part())
    assert holding(store, b"zanzibar") == []
    assert {name: store.manifest(name).format for name in ("two", "three", "five")} == {
        "two": FORMAT_WITH_MOVED,
        "three": FORMAT,
        "five": FORMAT,
    }
    assert metadata(store, "two")["z"]["mtime"] == "coast"
    for version in store.versions():
        store.verify(version.name)
        store.open(version.name, retriever=part()).close()


def holding(store: Store, secret: bytes) -> list[Path]:
    return [path for path in files_below(store.folder) if secret in path.read_bytes()]


class Told:
    """A corpus of documents that are told to it."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"documents"})
    complete = True

    def __init__(self, *documents: Document) -> None:
        self._documents = documents

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        yield from self._documents

    def __iter__(self) -> Iterator[Passage]:
        for document in self._documents:
            yield from document.passages or ()


def told(name: str, key: str, *texts: str, at: object) -> Document:
    passages = (Passage(f"{name}-{text}", name, text, {"mtime": at}) for text in texts)
    return Document(name, key, tuple(passages))


@pytest.mark.parametrize("value", [float("nan"), {1}, "\ud83d", [[]] * 3 + [object()]])
def test_metadata_that_cannot_be_written_are_refused(tmp_path: Path, value: object) -> None:
    store = Store(tmp_path / "store")
    store.build("one", Told(told("a", "1", "x", at=1)), part())
    with pytest.raises(CorpusError, match="passage 'a-x': its metadata"):
        store.update("two", Told(told("a", "2", "x", at=value)), retriever=part())
    assert [path.name for path in (store.folder / "versions").iterdir()] == ["one"]


@pytest.mark.parametrize(
    ("old", "new", "moved"), [(1, "1", 1), ([1, 2], (1, 2), 0), ([1, 2], [1, 3], 1), (None, 0, 1)]
)
def test_places_are_compared_as_they_are_stored(
    tmp_path: Path, old: object, new: object, moved: int
) -> None:
    store = Store(tmp_path / "store")
    store.build("one", Told(told("a", "1", "x", at=old)), part())
    corpus = Told(told("a", "2", "x", at=new))
    assert store.update("two", corpus, retriever=part()).moved == moved
    assert metadata(store)["x"] == {"mtime": json.loads(json.dumps(new))}


def test_a_diff_tells_what_moved(store: Store, tmp_path: Path) -> None:
    first = page(1, "Chad", "Before all.", *OLD[0]["text"].split("\n"), revision=2)
    update(store, "two", [first, OLD[1]])
    differences = store.diff("one", "two")
    assert [each.text for each in differences.added] == ["Before all."]
    assert (differences.removed, differences.changed) == ((), ())
    assert [(old.metadata["line"], new.metadata["line"]) for old, new in differences.moved] == [
        (1, 2),
        (2, 3),
        (3, 4),
    ]
    # The changes of a diff make the one version the other.
    write_changes(tmp_path / "changes.jsonl", differences)
    changes = read_changes(tmp_path / "changes.jsonl")
    store.update("three", changes, parent="one", retriever=part())
    assert metadata(store, "three") == metadata(store, "two")
    assert store.diff("two", "three").moved == ()


PARAGRAPH = st.sampled_from(["", "about a", "about b", "about c", "about d"])
PAGES = st.dictionaries(
    st.integers(1, 4), st.tuples(st.sampled_from("TU"), st.lists(PARAGRAPH, max_size=6)), min_size=1
).filter(lambda pages: any(any(paragraphs) for _, paragraphs in pages.values()))


def test_an_update_has_the_passages_of_a_build(tmp_path: Path) -> None:
    """Whatever is edited: ids, titles, texts, metadata, filters and rankings are a build's."""
    folders = iter(tmp_path / str(number) for number in range(1000))

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(PAGES, st.booleans()), min_size=2, max_size=5))
    def check(states: list[tuple[dict[int, tuple[str, list[str]]], bool]]) -> None:
        folder = next(folders)
        folder.mkdir()
        updated, built = Store(folder / "updated"), Store(folder / "built")
        expected: dict[str, Passage] = {}
        for revision, (state, deletes) in enumerate(states, 1):
            spec = pages_in(updated, [page(n, *_flat(state[n]), revision=revision) for n in state])
            new = {each.id: each for each in spec.build()}
            moved = [name for name in new if _moves(expected.get(name), new[name])]
            expected = {name: _merged(expected.get(name), new[name]) for name in new}
            if revision == 1:
                updated.build("v1", spec.build(), dense_part(), corpus_config=spec)
            else:
                info = updated.update(
                    f"v{revision}", spec.build(), corpus_config=spec, retriever=dense_part()
                )
                assert info.moved == len(moved)
            if deletes and len(expected) > 1:
                removed = expected.pop(min(expected)).id
                updated.update(None, Changes({}, {removed: "here"}), retriever=dense_part())
            with updated.passages() as passages:
                in_order = list(passages)
                assert {each.id: each for each in in_order} == expected
                assert [passages[row] for row in range(len(passages))] == in_order
                together = [each for batch in passages.metadata() for each in batch]
                assert together == [each.metadata for each in in_order]
                # Each document leads to its passages, in its order.
                for record in Documents(folder_of(updated, str(updated.current()))):
                    rows = passages.rows(record.numbers)
                    places = [each.metadata["line"] for each in passages.take(rows)]
                    assert places == sorted(places)
            manifest = updated.manifest()
            assert (manifest.format == FORMAT_WITH_MOVED) == ("moved.arrow" in manifest.files)
            names = {path.name for path in files_below(folder_of(updated, manifest.name))}
            assert names == {Path(name).name for name in manifest.files} | {"manifest.json"}
            version = built.build(None, in_order, dense_part()).name
            with (
                updated.open(retriever=dense_part()) as memory,
                built.open(version, retriever=dense_part()) as right,
            ):
                for where in (None, read_where({"line": 2})):
                    results = [
                        each.hits(["about a", "U c"], 4, where=where) for each in (memory, right)
                    ]
                    assert np.array_equal(results[0].rows, results[1].rows)
                    assert np.array_equal(results[0].scores, results[1].scores)

    check()


def _flat(body: tuple[str, list[str]]) -> list[str]:
    title, paragraphs = body
    return [title, *paragraphs]


def _same(old: Passage | None, new: Passage) -> bool:
    return old is not None and (old.title, old.text) == (new.title, new.text)


def _moves(old: Passage | None, new: Passage) -> bool:
    return old is not None and _same(old, new) and old.metadata["line"] != new.metadata["line"]


def _merged(old: Passage | None, new: Passage) -> Passage:
    """Return the passage of a new version: the old one where it stays at its place."""
    return old if old is not None and _same(old, new) and not _moves(old, new) else new


def test_an_update_that_moves_everything_holds_little_of_it(tmp_path: Path) -> None:
    """Documents in another order, whose passages all move: 24 bytes for each, and some batches."""
    count, each = 600, 20
    long = "x" * 500

    class Files(Told):
        def __init__(self, shift: int) -> None:
            super().__init__()
            self._shift = shift

        def documents(self, known: KnownDocuments) -> Iterator[Document]:
            shift = self._shift
            for name in reversed(range(count)) if shift else range(count):
                passages = [
                    Passage(f"{name}-{n}", "", f"text {n}", {"line": n + shift, "section": long})
                    for n in range(each)
                ]
                yield Document(str(name), str(shift), tuple(passages))

        def __iter__(self) -> Iterator[Passage]:
            for document in self.documents(NoDocuments()):
                yield from document.passages or ()

    store, small = Store(tmp_path / "store"), dense_part(dim=1)
    store.build("one", Files(0), small)
    tracemalloc.start()
    info = store.update("two", Files(3), retriever=small)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert info.moved == count * each
    with store.passages() as passages:
        places = [(passage.id, passage.metadata["line"]) for passage in passages]
    assert places == [(f"{name}-{n}", n + 3) for name in range(count) for n in range(each)]
    assert folder_of(store, "two").joinpath("moved.arrow").stat().st_size > 6_000_000
    assert peak < 8_000_000
    # Some of them move again, and the others stay as they are.
    store.update("three", Files(4), retriever=small)
    with store.passages() as passages:
        assert {passage.metadata["line"] for passage in passages} == set(range(4, each + 4))
