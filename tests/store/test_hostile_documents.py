"""Test updates by corpora that know documents and are broken, lie, or tell little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ragcore.contracts import KnownDocuments
from ragcore.errors import CorpusError, StoreError
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.store.comparing import DocumentCounts
from ragcore.store.diff import Changes
from ragcore.store.documents import DocumentRecord, Documents, DocumentWriter
from ragcore.store.store import Store
from ragcore.types import Document, Passage
from tests.helpers.pages import Pages, page, pages_spec, write_pages

OLD = [
    page(1, "Chad", "Chad is a country.", "It has a lake."),
    page(2, "Peru", "Peru is a country."),
    page(3, "Togo", "Togo is a country.", "Its capital is Lome."),
]


def bm25() -> ComponentSpec[Any]:
    return spec_from_dict("retriever", {"use": "bm25", "stemmer": None, "stopwords": None})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    spec = pages_spec(write_pages(tmp_path / "old.jsonl", OLD))
    store.build("one", spec.build(), bm25(), corpus_config=spec)
    return store


def ids(store: Store) -> list[str]:
    with store.passages() as passages:
        return [passage.id.partition("-")[0] for passage in passages]


class Moved(Pages):
    """A piece of a wiki in which page 3, which the memory may know, is no article any more."""

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        yield from super().documents(known)
        assert known.key("4") is None
        if known.key("3") is not None:
            yield Document("3", "redirect", ())


@pytest.mark.parametrize("prefix", ["", "~ "])
def test_a_page_that_is_no_article_any_more_goes_in_a_piece(store: Store, prefix: str) -> None:
    path = write_pages(store.folder.parent / "new.jsonl", OLD[:1], complete=False)
    spec = ComponentSpec("corpus", "pages", Moved, Pages.Config(path=path, prefix=prefix))
    # Other settings: the version's keys do not count, but that it has the page does.
    store.update("two", spec.build(), corpus_config=spec, retriever=bm25())
    assert sorted(ids(store)) == ["1", "1", "2"]


def test_it_goes_where_its_passages_were_changed_by_a_file(store: Store) -> None:
    with store.passages() as passages:
        lome = next(each.id for each in passages if "Lome" in each.text)
    store.update("two", Changes({}, {lome: "here"}), retriever=bm25())
    path = write_pages(store.folder.parent / "new.jsonl", OLD[:1], complete=False)
    spec = ComponentSpec("corpus", "pages", Moved, Pages.Config(path=path))
    store.update("three", spec.build(), corpus_config=spec, retriever=bm25())
    assert ids(store) == ["1", "1", "2"]


class Told:
    """A corpus of documents that are told to it."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"documents"})
    complete = True

    def __init__(self, *documents: Document, identity: str = "", date: str = "") -> None:
        self._documents = documents
        self.identity = identity
        self.date = date

    def documents(self, known: KnownDocuments) -> Iterator[Document]:
        yield from self._documents

    def __iter__(self) -> Iterator[Passage]:
        for document in self._documents:
            yield from document.passages or ()


def told(name: str, key: str, *texts: str) -> Document:
    passages = (Passage(f"{name}-{text}", name, text) for text in texts)
    return Document(name, key, tuple(passages))


@pytest.mark.parametrize(
    ("passages", "kind"),
    [
        ((passage for passage in [Passage("p", "", "text")]), "a generator"),
        ({"p": Passage("p", "", "text")}, "a dict"),
        ("text", "a str"),
        (5, "an int"),
    ],
)
def test_passages_that_are_no_tuple_are_refused(store: Store, passages: Any, kind: str) -> None:
    corpus = Told(told("a", "k", "text"), Document("b", "k", passages))
    message = rf"the passages of document 2 \(id 'b'\) are {kind}: expected a tuple"
    with pytest.raises(CorpusError, match=message):
        store.build("two", corpus, bm25())
    with pytest.raises(CorpusError, match=message):
        store.update("two", corpus, retriever=bm25(), allow=["other"])
    assert [version.name for version in store.versions()] == ["one"]


def test_long_ids_do_not_fill_a_batch(tmp_path: Path) -> None:
    with DocumentWriter(tmp_path) as writer:
        for number in range(12):
            writer.write(DocumentRecord(f"{number}{'x' * (1 << 20)}", "key", [number]))
    documents = Documents(tmp_path)
    assert documents.position(f"11{'x' * (1 << 20)}") == 11
    assert [len(batch[0]) for batch in documents._columns] == [4, 4, 4]


def test_documents_exchange_their_passages(store: Store) -> None:
    store.build("a", Told(told("a", "1", "x", "y"), told("b", "1", "z")), bm25())
    first, second = told("a", "1", "x", "y").passages, told("b", "1", "z").passages
    exchanged = Told(Document("a", "2", second), Document("b", "2", first))
    info = store.update("b", exchanged, retriever=bm25())
    # The titles went along, so both count as renamed.
    assert info.documents == DocumentCounts(renamed=2)
    recorded = Documents(store.folder / "versions" / "b")
    with store.passages() as passages:
        numbers = [each.numbers for each in recorded]
        contents = [[each.id for each in passages.take(passages.rows(part))] for part in numbers]
    assert contents == [["b-z"], ["a-x", "a-y"]]


@pytest.mark.parametrize("date", ["soon", "20 November", "2026-13-01", "9" * 100])
def test_a_date_that_is_none_is_not_recorded(store: Store, date: str) -> None:
    with pytest.raises(CorpusError, match=rf"its date is '{date[:80]}': expected .* ISO 8601"):
        store.build("two", Told(told("a", "1", "x"), date=date), bm25())
    with pytest.raises(CorpusError, match=r"expected .* ISO 8601"):
        store.update("two", Told(told("a", "1", "x"), date=date), retriever=bm25())


@pytest.mark.parametrize(
    ("date", "other", "is_older"),
    [
        ("2026-01-01T00:30:00+02:00", "2025-12-31T23:00:00Z", False),
        ("2025-12-31T23:00:00Z", "2026-01-01T00:30:00+02:00", True),
        ("2026-01-01T12:00:00", "2026-01-01T11:59:59Z", True),
        ("2026-01-01", "2026-01-01T00:00:00Z", False),
        ("2026-01-01T12:00:00Z", "2026-01-01", False),
        ("2026-01-02T12:00:00Z", "2026-01-01", True),
    ],
)
def test_times_are_compared_across_zones(
    store: Store, date: str, other: str, is_older: bool
) -> None:
    store.build("a", Told(told("a", "1", "x"), date=date), bm25())
    newer = Told(told("a", "2", "y"), date=other)
    if is_older:
        with pytest.raises(StoreError, match="which is older"):
            store.update("b", newer, retriever=bm25())
    else:
        assert store.update("b", newer, retriever=bm25()).name == "b"


def test_what_a_corpus_does_not_tell_stays_recorded(store: Store) -> None:
    store.build("a", Told(told("a", "1", "x"), identity="enwiki", date="2026-01-01"), bm25())
    store.update("b", Told(told("a", "2", "y")), retriever=bm25())
    manifest = store.manifest("b")
    assert (manifest.corpus_identity, manifest.corpus_date) == ("enwiki", "2026-01-01")
    with pytest.raises(StoreError, match="built from 'enwiki', and the corpus is 'dewiki'"):
        store.update("c", Told(told("a", "3", "z"), identity="dewiki"), retriever=bm25())
