"""A memory of a wiki: what an update from a newer dump keeps, parses and deletes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ragcore.errors import CorpusError, StoreError
from ragcore.registry.components import spec_from_dict
from ragcore.store.comparing import DocumentCounts
from ragcore.store.store import Store, UpdateInfo

TEXT = "The town of {} lies by the sea and lives by fishing. It has a harbour and a school."
OLD = "piece-old.xml"


def text_of(number: int) -> str:
    return TEXT.format(f"P{number}")


@pytest.fixture
def store(tmp_path: Path, dumps: Any) -> Store:
    """A memory of pages 1 to 5 and a list, from a piece of a wiki."""
    store = Store(tmp_path / "store")
    pages = [dumps.page(id_, f"P{id_}", text=text_of(id_)) for id_ in range(1, 6)]
    pages.append(dumps.page(6, "List of towns", text=f"* {text_of(1)}\n==Old==\n* {text_of(2)}"))
    spec = corpus_spec(dumps.write(OLD, *pages))
    bm25 = spec_from_dict("retriever", {"use": "bm25"})
    store.build("one", spec.build(), bm25, corpus_config=spec)
    return store


def corpus_spec(path: Path, **settings: Any) -> Any:
    return spec_from_dict("corpus", {"use": "wikipedia", "path": str(path), **settings})


def update(store: Store, path: Path, **settings: Any) -> tuple[UpdateInfo, Any]:
    """Update to another dump; return what the update says, and the corpus."""
    spec = corpus_spec(path, **settings)
    corpus = spec.build()
    return store.update(None, corpus, corpus_config=spec), corpus


def titles(store: Store) -> set[str]:
    with store.passages() as passages:
        return {passage.title for passage in passages}


def newer(dumps: Any) -> Path:
    """A piece in which page 1 redirects, page 2 is edited, page 3 is the same and others lack."""
    path: Path = dumps.write(
        "piece-new.xml",
        dumps.page(1, "P1", text="#REDIRECT [[P2]]", redirect="P2"),
        dumps.page(2, "P2", text=f"{text_of(2)} It is old.", timestamp="2024-10-01T00:00:00Z"),
        dumps.page(3, "P3", text=text_of(3)),
    )
    return path


@pytest.mark.parametrize(
    "settings",
    [{}, {"complete": False}, {"workers": 2}, {"faults": "stop"}, {"namespaces": [0, 4]}],
)
def test_settings_that_do_not_change_a_page_cost_nothing(
    store: Store, dumps: Any, settings: dict[str, Any]
) -> None:
    info, corpus = update(store, newer(dumps), **settings)
    assert info.documents == DocumentCounts(unchanged=1, edited=1, removed=1, left=3)
    assert corpus.counts.unchanged == 1
    assert titles(store) == {"P2", "P3", "P4", "P5", "List of towns"}


def test_a_layout_that_reads_no_lists_removes_them(store: Store, dumps: Any) -> None:
    info, _ = update(store, dumps.folder / OLD, layout="psgs")
    assert titles(store) == {"P1", "P2", "P3", "P4", "P5"}
    assert info.documents is not None
    assert (info.documents.removed, info.documents.left) == (1, 0)


def test_a_page_with_a_forgotten_passage_that_redirects_now_is_removed(
    store: Store, dumps: Any
) -> None:
    with store.passages() as passages:
        first = next(passage.id for passage in passages if passage.metadata["page"] == 6)
    store.forget([first])
    assert "List of towns" in titles(store)
    page = dumps.page(6, "List of towns", text="#REDIRECT [[P1]]", redirect="P1")
    update(store, dumps.write("piece.xml", page))
    assert "List of towns" not in titles(store)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.99])
def test_a_dump_that_is_cut_changes_nothing(store: Store, dumps: Any, cut: float) -> None:
    data = newer(dumps).read_bytes()
    path = dumps.pack("testwiki-20241020-pages-articles.xml", data[: int(len(data) * cut)])
    with pytest.raises(CorpusError, match=r"pages-articles\.xml"):
        update(store, path, complete=True)
    assert [version.name for version in store.versions()] == ["one"]
    assert titles(store) == {"P1", "P2", "P3", "P4", "P5", "List of towns"}


def test_an_older_dump_and_another_wiki_are_refused(store: Store, dumps: Any) -> None:
    page = dumps.page(1, "P1", text=text_of(1), timestamp="2020-01-01T00:00:00Z")
    with pytest.raises(StoreError, match="allow-older"):
        update(store, dumps.write("older.xml", page))
    with pytest.raises(StoreError, match="allow-other"):
        update(store, dumps.write("other.xml", page, database="otherwiki"))
    assert [version.name for version in store.versions()] == ["one"]
