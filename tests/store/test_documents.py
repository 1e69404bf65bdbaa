"""Test that a memory of a corpus that knows documents is updated document by document."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcore.contracts import KnownDocuments
from ragcore.embeddings.cache import Encodings
from ragcore.errors import CorpusError, EmptyCorpusError, StoreCorruptError, StoreError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.store.comparing import DocumentCounts
from ragcore.store.diff import Changes, read_changes, write_changes
from ragcore.store.documents import DocumentRecord, Documents, DocumentWriter
from ragcore.store.store import Store, UpdateInfo
from ragcore.types import Document, Passage
from tests.helpers.pages import Pages, page, pages_spec, write_pages
from tests.helpers.word_encoder import Vectors, WordEncoder, dense_part

OLD = [
    page(1, "Chad", "Chad is a country.", "Its capital is N'Djamena.", "It has a lake."),
    page(2, "Peru", "Peru is a country.", "Its capital is Lima."),
    page(3, "Togo", "Togo is a country."),
    page(4, "Burma", "Burma is a country."),
    page(5, "Mali", "Mali is a country.", "Its capital is Bamako."),
]


class Counting(WordEncoder):
    encoded: ClassVar[list[str]] = []

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        Counting.encoded.extend(passage.text for passage in passages)
        return super().encode_passages(passages)


def part() -> ComponentSpec[Any]:
    encoder = ComponentSpec("encoder", "counting", Counting, WordEncoder.Config())
    config = dense_part().config.model_copy(update={"encoder": encoder})
    return ComponentSpec("retriever", "dense", Dense, config)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    spec = pages_spec(write_pages(tmp_path / "old.jsonl", OLD))
    store.build("one", spec.build(), part(), corpus_config=spec)
    Counting.encoded.clear()
    return store


def changed(*pages: dict[str, Any], without: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Return the old pages, some replaced, and new ones after them."""
    new = {each["id"]: each for each in pages}
    stay = [new.pop(each["id"], each) for each in OLD if each["id"] not in without]
    return [*stay, *new.values()]


def update(
    store: Store, pages: list[dict[str, Any]], name: str | None = "two", **options: Any
) -> tuple[UpdateInfo, Pages]:
    """Update by a file of pages; options that an update does not have go into the file's head."""
    passed = {key: options.pop(key) for key in ("allow", "parent", "retriever") if key in options}
    spec = pages_spec(write_pages(store.folder.parent / "new.jsonl", pages, **options))
    corpus = spec.build()
    passed = {"retriever": part(), **passed}
    return store.update(name, corpus, corpus_config=spec, **passed), corpus


def texts(store: Store, version: str | None = None) -> list[str]:
    with store.passages(version) as passages:
        return sorted(f"{passage.title}: {passage.text}" for passage in passages)


def texts_of(pages: list[dict[str, Any]]) -> list[str]:
    return sorted(f"{each['title']}: {text}" for each in pages for text in each["text"].split("\n"))


def test_a_build_records_documents_and_what_they_are_of(store: Store) -> None:
    manifest = store.manifest("one")
    assert (manifest.documents, manifest.corpus_identity) == (5, "testwiki")
    assert manifest.corpus_date == "2026-01-01"
    documents = Documents(store.folder / "versions" / "one")
    assert [(each.id, list(each.numbers)) for each in documents] == [
        ("1", [0, 1, 2]),
        ("2", [3, 4]),
        ("3", [5]),
        ("4", [6]),
        ("5", [7, 8]),
    ]
    assert store.verify("one").passages == 9


def test_only_what_changed_is_parsed_and_encoded(store: Store) -> None:
    pages = changed(
        page(1, "Chad", "Chad is a country.", "Its capital is big.", "It has a lake.", revision=2),
        page(2, "Peru", "Peru is a country.", "Its capital is Lima.", revision=2),
        page(4, "Myanmar", "Burma is a country.", revision=2),
        page(6, "Fiji", "Fiji is a country."),
        without=[3],
    )
    info, corpus = update(store, pages)
    assert corpus.parsed == ["1", "2", "4", "6"]
    assert sorted(Counting.encoded) == [
        "Burma is a country.",
        "Fiji is a country.",
        "Its capital is big.",
    ]
    assert info.documents == DocumentCounts(
        unchanged=1, same_text=1, edited=1, renamed=1, added=1, removed=1
    )
    # A paragraph that replaces another at its place is a change, as is a new title.
    assert (info.added, info.changed, info.removed, info.passages) == (1, 2, 1, 9)
    assert info.encodings_saved == 6
    # Two encoders, one of which had all its vectors from the cache.
    both = replace(info, added=2, changed=2, passages=10, encodings=Encodings(4, 4))
    assert both.encodings_saved == 8
    assert info.seconds > 0
    assert texts(store) == texts_of(pages)
    manifest = store.manifest("two")
    assert (manifest.documents, manifest.parent) == (5, "one")
    assert store.verify("two").passages == 9
    # The files that only stay are shared.
    one, two = (store.folder / "versions" / name / "passages.arrow" for name in ("one", "two"))
    assert one.samefile(two)


def test_an_update_by_the_same_pages_makes_no_version(store: Store) -> None:
    info, corpus = update(store, OLD, date="2026-02-01")
    assert info.nothing_changed
    assert (info.name, info.documents) == ("one", DocumentCounts(unchanged=5))
    assert not corpus.parsed
    assert [each.name for each in store.versions()] == ["one"]


def test_a_null_edit_encodes_nothing_and_is_not_parsed_again(store: Store) -> None:
    pages = changed(page(3, "Togo", "Togo is a country.", revision=9))
    info, _ = update(store, pages)
    assert not info.nothing_changed
    assert (info.documents, Counting.encoded) == (DocumentCounts(unchanged=4, same_text=1), [])
    assert (info.added, info.changed, info.removed) == (0, 0, 0)
    again, corpus = update(store, pages, "three")
    assert again.nothing_changed
    assert not corpus.parsed
    # The passage names a revision that has its text.
    with store.passages("two") as passages:
        (togo,) = (each for each in passages if each.title == "Togo")
    assert togo.metadata["revision"] == 1


def test_metadata_other_than_revision_and_place_change_a_passage(store: Store) -> None:
    class Numbered(Pages):
        def _passages(self, page: dict[str, Any]) -> Iterator[Passage]:
            for number, passage in enumerate(super()._passages(page)):
                metadata = {**passage.metadata, "paragraph": number}
                yield Passage(passage.id, passage.title, passage.text, metadata)

    def numbered(pages: list[dict[str, Any]]) -> tuple[Numbered, ComponentSpec[Any]]:
        path = write_pages(store.folder.parent / "numbered.jsonl", pages)
        spec = ComponentSpec("corpus", "numbered", Numbered, Pages.Config(path=path))
        return spec.build(), spec

    corpus, spec = numbered([page(1, "Chad", "a", "b")])
    store.build("numbered", corpus, part(), corpus_config=spec)
    corpus, spec = numbered([page(1, "Chad", "new", "a", "b", revision=2)])
    info = store.update("later", corpus, corpus_config=spec, retriever=part())
    assert (info.added, info.changed) == (1, 2)
    with store.passages("later") as passages:
        numbers = {each.text: each.metadata["paragraph"] for each in passages}
    assert numbers == {"new": 0, "a": 1, "b": 2}


def test_a_page_that_moves_keeps_its_id_and_its_redirect_is_new(store: Store) -> None:
    pages = changed(page(4, "Myanmar", "Burma is a country."), page(9, "Burma"))
    info, _ = update(store, pages)
    assert info.documents == DocumentCounts(unchanged=4, renamed=1)
    assert (info.added, info.changed, info.removed) == (0, 1, 0)
    assert "Burma: Burma is a country." not in texts(store)
    assert "Myanmar: Burma is a country." in texts(store)
    # Recorded without a passage, so that it is not parsed again.
    assert update(store, pages, "three")[1].parsed == []
    back = changed(page(9, "Burma", "Now about a book."), page(4, "Myanmar", "Burma is a country."))
    assert update(store, back, "four")[0].documents == DocumentCounts(unchanged=5, added=1)


def test_a_piece_deletes_only_what_it_covers(store: Store) -> None:
    piece = [page(2, "Peru", "Peru is large.", revision=2)]
    info, _ = update(store, piece, complete=False)
    assert info.documents == DocumentCounts(edited=1, left=4)
    assert texts(store) == texts_of([each for each in OLD if each["id"] != 2] + piece)
    info, _ = update(store, piece, "three", complete=False, range=[2, 3])
    assert info.documents == DocumentCounts(unchanged=1, removed=1, left=3)
    assert not any(text.startswith("Togo") for text in texts(store))
    assert store.manifest("three").documents == 4


def test_an_update_answers_as_a_build_of_the_same_passages(tmp_path: Path) -> None:
    paragraph = st.sampled_from("abcdef").map(lambda letter: f"about {letter}")
    body = st.tuples(st.sampled_from("TU"), st.lists(paragraph, max_size=4))
    wiki = st.dictionaries(st.integers(1, 6), body, min_size=1).filter(
        lambda pages: any(paragraphs for _, paragraphs in pages.values())
    )
    folders = iter(tmp_path / str(number) for number in range(1000))

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.lists(wiki, min_size=2, max_size=4))
    def check(states: list[dict[int, tuple[str, list[str]]]]) -> None:
        folder = next(folders)
        folder.mkdir()
        updated, built = Store(folder / "updated"), Store(folder / "built")
        for number, state in enumerate(states):
            pages = [
                page(key, title, *paragraphs, revision=number)
                for key, (title, paragraphs) in state.items()
            ]
            spec = pages_spec(write_pages(folder / f"{number}.jsonl", pages))
            if number:
                changes = {"corpus_config": spec, "retriever": dense_part()}
                info = updated.update(f"v{number}", spec.build(), **changes)
                if info.nothing_changed:
                    continue
            else:
                updated.build("v0", spec.build(), dense_part(), corpus_config=spec)
            with updated.passages() as passages:
                expected = {each.id: (each.title, each.text) for each in passages}
                in_order = list(passages)
            assert expected == {each.id: (each.title, each.text) for each in spec.build()}
            # The documents' numbers lead to their passages, in the order of the page.
            documents = Documents(updated.folder / "versions" / updated.current())
            with updated.passages() as passages:
                kept = passages.kept
                for record in documents:
                    rows = np.searchsorted(kept, record.numbers) if kept is not None else None
                    rows = record.numbers if rows is None else rows.tolist()
                    shown = [each.text for each in passages.take(rows)]
                    assert shown == [each for each in dict(state)[int(record.id)][1] if each]
            built.build(f"v{number}", in_order, dense_part())
            memories = [each.open(retriever=dense_part()) for each in (updated, built)]
            results = [memory.hits(["about a", "T c"], 3) for memory in memories]
            assert np.array_equal(results[0].rows, results[1].rows)
            assert np.array_equal(results[0].scores, results[1].scores)
            for memory in memories:
                memory.close()

    check()


def test_other_settings_of_the_corpus_compare_every_document(store: Store) -> None:
    spec = pages_spec(write_pages(store.folder.parent / "same.jsonl", OLD), prefix="~ ")
    corpus = spec.build()
    info = store.update("two", corpus, corpus_config=spec, retriever=part())
    assert len(corpus.parsed) == 5
    assert (info.changed, info.documents) == (9, DocumentCounts(edited=5))
    assert all(": ~ " in text for text in texts(store))


def test_a_version_without_documents_gets_them_by_an_update(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    spec = pages_spec(write_pages(tmp_path / "old.jsonl", OLD))
    store.build("one", list(spec.build()), part())
    assert store.manifest("one").documents is None
    Counting.encoded.clear()
    pages = changed(page(3, "Togo", "Togo is small.", revision=2))
    info, corpus = update(store, pages)
    assert len(corpus.parsed) == 5
    assert Counting.encoded == ["Togo is small."]
    assert (info.added, info.changed, info.removed) == (1, 0, 1)
    assert texts(store) == texts_of(pages)
    assert update(store, pages, "three")[1].parsed == []


def test_changes_by_id_make_documents_be_compared_again(store: Store) -> None:
    with store.passages("one") as passages:
        lake, capital = (each for each in passages if "lake" in each.text or "Lima" in each.text)
    edited = Passage(capital.id, capital.title, "Its capital is old.", capital.metadata)
    extra = Passage("extra", "", "A passage of no page.")
    changes = Changes({edited.id: edited, extra.id: extra}, {lake.id: "here"})
    store.update("two", changes, retriever=part())
    assert store.manifest("two").documents == 5
    info, corpus = update(store, OLD, "three")
    assert corpus.parsed == ["1", "2"]
    assert texts(store) == texts_of(OLD)
    assert info.documents is not None
    assert (info.documents.unchanged, info.documents.edited) == (3, 2)
    # Where nothing of a document changes, the file is shared.
    store.update("four", Changes({extra.id: extra}, {}), retriever=part())
    files = (store.folder / "versions" / name / "documents.arrow" for name in ("three", "four"))
    assert next(files).samefile(next(files))


def test_a_diff_pairs_a_document_s_passages_by_position(store: Store) -> None:
    pages = changed(
        page(1, "Chad", "Before all.", "Chad is a country.", "Its capital is big.", revision=2),
        page(2, "Peru", "Peru is a country.", "Its capital is Lima.", revision=2),
        page(4, "Myanmar", "Burma is a country.", revision=2),
        page(6, "Fiji", "Fiji is a country."),
        without=[3],
    )
    update(store, pages)
    spec = pages_spec(store.folder.parent / "new.jsonl")
    store.build("built", spec.build(), part(), corpus_config=spec)
    for version in ("two", "built"):
        differences = store.diff("one", version)
        assert [each.text for each in differences.added] == ["Before all.", "Fiji is a country."]
        assert [each.text for each in differences.removed] == [
            "It has a lake.",
            "Togo is a country.",
        ]
        assert [(old.text, new.text) for old, new in differences.changed] == [
            ("Its capital is N'Djamena.", "Its capital is big."),
            ("Burma is a country.", "Burma is a country."),
        ]
        assert differences.documents == DocumentCounts(
            unchanged=1, same_text=1, edited=1, renamed=1, added=1, removed=1
        )
    # Both have the same passages, though one names older revisions.
    assert store.diff("two", "built").documents == DocumentCounts(unchanged=5)
    # The changes of a diff make the one version the other.
    write_changes(store.folder / "changes.jsonl", store.diff("one", "built"))
    changes = read_changes(store.folder / "changes.jsonl")
    store.update("again", changes, parent="one", retriever=part())
    assert texts(store, "again") == texts_of(pages)
    assert store.diff("again", "built").added == ()


def test_another_wiki_is_refused_unless_allowed(store: Store) -> None:
    with pytest.raises(StoreError, match=r"from 'testwiki', and the corpus is 'other'.*--allow-o"):
        update(store, OLD[:1], wiki="other")
    assert [each.name for each in store.versions()] == ["one"]
    info, _ = update(store, [OLD[0]], wiki="other", allow=["other"])
    assert (info.passages, store.manifest().corpus_identity) == (3, "other")


def test_what_is_refused_is_not_read_first(store: Store) -> None:
    path = write_pages(store.folder.parent / "new.jsonl", [page(9, "x", "y")], date="2020-01-01")
    corpus = pages_spec(path).build()
    with pytest.raises(StoreError, match="which is older"):
        store.update("two", corpus, retriever=part(), corpus_config=pages_spec(path))
    assert corpus.parsed == []


def test_documents_are_exported_and_imported(store: Store) -> None:
    file = store.folder.parent / "one.tar"
    store.export(file, "one")
    other = Store(store.folder.parent / "other")
    other.import_version(file, activate=True, retriever=part())
    assert other.manifest().corpus_identity == "testwiki"
    spec = pages_spec(write_pages(store.folder.parent / "new.jsonl", OLD[1:]))
    corpus = spec.build()
    info = other.update("two", corpus, corpus_config=spec, retriever=part())
    assert (info.documents, corpus.parsed) == (DocumentCounts(unchanged=4, removed=1), [])


def test_an_older_corpus_is_refused_unless_allowed(store: Store) -> None:
    with pytest.raises(StoreError, match=r"of 2026-01-01, and this one is of 2025-12-31.*older"):
        update(store, OLD[:4], date="2025-12-31")
    # The time of the same day is not older.
    assert update(store, OLD, date="2026-01-01T09:00:00Z")[0].nothing_changed
    info, _ = update(store, OLD[:4], date="2025-12-31", allow=["older"])
    assert (info.removed, store.manifest().corpus_date) == (2, "2025-12-31")


def test_many_deletions_are_refused_unless_allowed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    pages = [page(number, f"t{number}", f"text {number}") for number in range(60)]
    spec = pages_spec(write_pages(tmp_path / "old.jsonl", pages))
    store.build("one", spec.build(), part(), corpus_config=spec)
    Counting.encoded.clear()
    with pytest.raises(StoreError, match=r"13 of the 60 documents .*--allow-deletions"):
        update(store, [*pages[13:], page(99, "new", "new")])
    assert not Counting.encoded
    assert [path.name for path in (store.folder / "versions").iterdir()] == ["one"]
    assert update(store, pages[12:])[0].removed == 12
    assert update(store, pages[40:], "three", allow=["deletions"])[0].removed == 28


def test_refused_deletions_count_the_documents_that_are_there_under_another_id(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store")
    # Pages 0 and 1 have the same text.
    pages = [page(number, f"t{number}", f"text {max(number, 1)}", "end") for number in range(40)]
    spec = pages_spec(write_pages(tmp_path / "old.jsonl", pages))
    store.build("one", spec.build(), part(), corpus_config=spec)
    moved = [{**each, "id": 100 + each["id"], "title": "elsewhere"} for each in pages]
    edited = [page(201, "t1", "text 1"), page(202, "t2", "other", "end")]
    refused = r"20 of the 40 documents .* delete them; 15 new documents have the same text"
    with pytest.raises(StoreError, match=refused):
        # A copy of a page that stays is no renamed one.
        update(store, [*pages[20:], *moved[5:20], page(300, "", "text 39", "end"), *edited])
    # Two are missing, so two of three are these.
    twice = [moved[1], {**moved[1], "id": 400}, {**moved[1], "id": 401}]
    with pytest.raises(StoreError, match=r"delete them; 2 new documents"):
        update(store, [*pages[20:], *twice])
    with pytest.raises(StoreError, match=r"would delete them: check"):
        update(store, [*pages[20:], *edited])
    assert update(store, [*pages[20:], *moved[:20]], allow=["deletions"])[0].removed == 40


def test_many_deletions_of_passages_without_documents_are_refused_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    pages = [page(number, f"t{number}", f"text {number}") for number in range(60)]
    spec = pages_spec(write_pages(tmp_path / "old.jsonl", pages))
    # As earlier releases did: no record of documents.
    store.build("one", list(spec.build()), part())
    with pytest.raises(StoreError, match=r"59 of the 60 passages without a document"):
        update(store, pages[:1])
    assert update(store, pages[:1], allow=["deletions"])[0].removed == 59


class Faulty(Pages):
    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        documents = list(super().documents(known))
        fault = self.config.prefix
        first = Passage("p", "t", "text")
        yield from documents
        if fault == "twice":
            yield documents[0]
        elif fault == "unknown":
            yield Document("9", "key", None)
        elif fault == "key":
            yield Document("9", "", (first,))
        elif fault == "id":
            yield Document(9, "key", (first,))  # type: ignore[arg-type]
        elif fault == "type":
            yield first  # type: ignore[misc]
        elif fault == "inside":
            yield Document("9", "key", (first, first))
        elif fault == "empty":
            yield Document("9", "key", (Passage("p", "t", " "),))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("twice", "the document '1' twice|has the id '1-"),
        ("unknown", "document '9' without passages"),
        ("key", "the key of document 6 .* is empty"),
        ("id", r"the id of document 6 \(id 9\) is an int"),
        ("type", "yielded a Passage where a ragcore.types.Document"),
        ("inside", "document '9' has the passage id 'p' twice|id 'p', which an earlier"),
        ("empty", "empty text"),
    ],
)
def test_a_faulty_corpus_leaves_nothing(
    store: Store, fault: str, message: str, tmp_path: Path
) -> None:
    path = write_pages(tmp_path / "faulty.jsonl", OLD)
    spec = ComponentSpec("corpus", "faulty", Faulty, Pages.Config(path=path, prefix=fault))
    with pytest.raises(CorpusError, match=message):
        store.build("two", spec.build(), part(), corpus_config=spec)
    for config in (spec, None):
        with pytest.raises(CorpusError, match=message):
            store.update("two", spec.build(), corpus_config=config, retriever=part())
    assert [path.name for path in (store.folder / "versions").iterdir()][:1] == ["one"]
    assert [each.name for each in store.versions()] == ["one"]


def test_a_passage_with_the_id_of_another_document_is_refused(store: Store) -> None:
    class Colliding(Pages):
        def documents(self, known: KnownDocuments) -> Iterator[Document]:
            yield from super().documents(known)
            with store.passages("one") as passages:
                yield Document("9", "key", (Passage(passages[5].id, "t", "text"),))

    corpus = Colliding(Pages.Config(path=write_pages(store.folder.parent / "c.jsonl", OLD)))
    with pytest.raises(CorpusError, match="which a passage of another document has"):
        store.update("two", corpus, retriever=part(), corpus_config=pages_spec(corpus.config.path))


def test_a_corpus_without_a_page_is_refused(store: Store) -> None:
    with pytest.raises(EmptyCorpusError, match="all 9 passages"):
        update(store, [])


def test_damaged_documents_are_not_used(store: Store) -> None:
    for name in ("documents.arrow", "documents.npy"):
        path = store.folder / "versions" / "one" / name
        content = path.read_bytes()
        path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
        with pytest.raises(StoreCorruptError, match=f"{name} has sha256"):
            update(store, OLD[:4])
        path.write_bytes(content)
    assert update(store, OLD[:4])[0].documents == DocumentCounts(unchanged=4, removed=1)


def test_a_known_document_that_is_given_twice_is_refused(store: Store) -> None:
    pages = [*OLD, OLD[2]]
    with pytest.raises(CorpusError, match="gave the document '3' twice"):
        update(store, pages)
    assert [each.name for each in store.versions()] == ["one"]


def test_known_documents_are_read_in_another_process(tmp_path: Path) -> None:
    with DocumentWriter(tmp_path) as writer:
        for number in range(10_000):
            writer.write(DocumentRecord(f"d{number}", f"k{number}", [number]))
    pickled = tmp_path / "pickled"
    pickled.write_bytes(pickle.dumps(Documents(tmp_path)))
    assert pickled.stat().st_size < 500
    code = (
        "import pickle, sys; known = pickle.load(open(sys.argv[1], 'rb')); "
        "print(all(known.key(f'd{n}') == f'k{n}' for n in range(10_000)), known.key('e'), "
        "known.key('\\ud800'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(pickled)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["True", "None", "None"], done.stderr


def test_an_update_holds_neither_the_old_documents_nor_the_new(tmp_path: Path) -> None:
    """Comparing twenty times as many pages takes less than 400 bytes for each one more."""

    class Many(Pages):
        count = 0

        @property
        def identity(self) -> str:
            return "many"

        date, complete = "", True

        def documents(self, known: KnownDocuments) -> Iterator[Document]:
            for number in range(self.count):
                name = str(number)
                text = f"text of page {number} " + "and many more words " * 40
                if known.key(name) == "k":
                    yield Document(name, "k", None)
                else:
                    yield Document(name, "k", (Passage(name, "title", text),))

    def peak(count: int) -> int:
        store = Store(tmp_path / str(count))
        corpus = Many(Pages.Config(path=tmp_path))
        corpus.count = count
        bm25 = dense_part(dim=1)
        store.build("one", corpus, bm25)
        corpus.count = count - 1
        tracemalloc.start()
        store.update("two", corpus, retriever=bm25)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small, large = peak(500), peak(10_000)
    assert large - small < 400 * 9_500


def test_an_interrupted_update_does_not_encode_again(store: Store) -> None:
    pages = changed(*(page(number, f"t{number}", f"text {number}") for number in range(10, 50)))

    class Interrupted(Counting):
        def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
            if len(Counting.encoded) >= 24:
                raise KeyboardInterrupt
            return super().encode_passages(passages)

    def small_batches(encoder: type[WordEncoder]) -> ComponentSpec[Any]:
        encoder_spec = ComponentSpec("encoder", "counting", encoder, WordEncoder.Config())
        changes = {"encoder": encoder_spec, "batch_size": 4}
        return ComponentSpec("retriever", "dense", Dense, part().config.model_copy(update=changes))

    with pytest.raises(KeyboardInterrupt):
        update(store, pages, retriever=small_batches(Interrupted))
    assert [each.name for each in store.versions()] == ["one"]
    update(store, pages, retriever=small_batches(Counting))
    assert len(Counting.encoded) == 40
    assert sorted(path.name for path in (store.folder / "versions").iterdir()) == ["one", "two"]
