"""Test that what is forgotten is gone: from the current version, or from every file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragcore.disk import atomic
from ragcore.disk.atomic import exchange
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.diff import Changes
from ragcore.store.documents import Documents
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.pages import page, pages_spec, write_pages
from tests.helpers.word_encoder import dense_part

PAGES = [
    page(1, "Chad", "its capital is ndjamena", "it keeps a zanzibar secret"),
    page(2, "Peru", "its capital is lima", "it has mountains", "and a coast"),
    page(3, "Togo", "its capital is lome"),
]
EDITED = page(1, "Chad", "its capital is ndjamena", "nothing of the zanzibar kind", revision=2)
REMOVED = [EDITED, *PAGES[1:]]


def bm25() -> ComponentSpec[Any]:
    return spec_from_dict("retriever", {"use": "bm25", "stemmer": None, "stopwords": None})


def hybrid() -> ComponentSpec[Any]:
    return ComponentSpec(
        "retriever", "hybrid", Hybrid, Hybrid.Config(retrievers=[bm25(), dense_part()])
    )


def updated(folder: Path, part: ComponentSpec[Any]) -> Store:
    """Return a store whose version two hides a passage of version one."""
    store = Store(folder / "store")
    for name, pages in (("one", PAGES), ("two", REMOVED)):
        spec = pages_spec(write_pages(folder / f"{name}.jsonl", pages))
        if name == "one":
            store.build(name, spec.build(), part, corpus_config=spec)
        else:
            store.update(name, spec.build(), corpus_config=spec, retriever=part)
    return store


def files_with(store: Store, word: str) -> set[str]:
    files = (path for path in (store.folder / "versions").rglob("*") if path.is_file())
    return {path.name for path in files if word.encode() in path.read_bytes()}


def texts(store: Store, version: str) -> list[str]:
    with store.passages(version) as passages:
        return [passage.text for passage in passages]


@pytest.mark.parametrize("part", [dense_part, bm25, hybrid])
def test_nothing_of_it_is_in_any_file(part: Callable[[], Any], tmp_path: Path) -> None:
    store = updated(tmp_path, part())
    assert files_with(store, "zanzibar")
    forgotten = store.forget(["1"], everywhere=True, version="three", retriever=part())
    assert (forgotten.version, store.current()) == ("three", "three")
    assert forgotten.rewritten == ("one", "three", "two")
    assert (forgotten.left, forgotten.in_use) == ((), ())
    assert {passage.text for passage in forgotten.passages} == {
        "its capital is ndjamena",
        "it keeps a zanzibar secret",
        "nothing of the zanzibar kind",
    }
    assert files_with(store, "zanzibar") == files_with(store, "ndjamena") == set()
    rest = [text for each in PAGES[1:] for text in each["text"].split("\n")]
    for name in ("one", "two", "three"):
        assert texts(store, name) == rest
        assert store.verify(name).passages == 4
        assert [each.id for each in Documents(store.folder / "versions" / name)] == ["2", "3"]
        with store.passages(name) as passages, store.open(name, retriever=part()) as memory:
            other = Store(tmp_path / f"built-{name}")
            other.build("built", list(passages), part())
            with other.open(retriever=part()) as expected:
                for k in (1, 3):
                    hits, right = (
                        each.hits(["capital coast", "zanzibar"], k) for each in (memory, expected)
                    )
                    assert np.array_equal(hits.rows, right.rows)
                    assert np.array_equal(hits.scores, right.scores)
    folders = [path.name for path in (store.folder / "versions").iterdir()]
    assert sorted(folders) == ["one", "three", "two"]
    # What was shared is shared, and the versions can be updated.
    one, two = (store.folder / "versions" / name / "passages.arrow" for name in ("one", "two"))
    assert one.samefile(two)
    spec = pages_spec(write_pages(tmp_path / "four.jsonl", REMOVED[1:]))
    assert store.update("four", spec.build(), corpus_config=spec, retriever=part()).nothing_changed


def test_vectors_are_erased_without_encoding_the_others(tmp_path: Path) -> None:
    store = updated(tmp_path, dense_part())
    path = store.folder / "versions" / "one" / "retriever" / "index" / "vectors.npy"
    before = np.load(path)
    store.forget(["1"], everywhere=True, retriever=dense_part())
    after = np.load(path)
    assert (len(before), len(after)) == (6, 4)
    assert all(any(np.array_equal(new, old) for old in before) for new in after)


def test_other_versions_have_it_unless_all_are_rewritten(tmp_path: Path) -> None:
    store = updated(tmp_path, bm25())
    with store.passages("two") as passages:
        lima = next(each.id for each in passages if "lima" in each.text)
    forgotten = store.forget([lima], retriever=bm25())
    assert forgotten.rewritten == ()
    assert set(forgotten.left) == {"one", "two", forgotten.version}
    assert "its capital is lima" not in texts(store, str(forgotten.version))
    assert "its capital is lima" in texts(store, "two")
    # It is in no current version any more, and can be forgotten everywhere all the same.
    again = store.forget([lima], everywhere=True)
    assert (again.version, again.left) == (None, ())
    assert files_with(store, "lima") == set()
    # The page is compared again, since its key no longer stands for its passages.
    assert Documents(store.folder / "versions" / "two").key("2") == ""


def test_a_version_that_a_program_has_open_stays(tmp_path: Path) -> None:
    store = updated(tmp_path, bm25())
    with store.open("one", retriever=bm25()) as memory:
        forgotten = store.forget(["1"], everywhere=True, retriever=bm25())
        assert (forgotten.left, forgotten.in_use) == (("one",), ("one",))
        assert len(memory.passages) == 6
        assert store.verify("one").passages == 6
    assert store.forget(["1"], everywhere=True, retriever=bm25()).left == ()
    assert files_with(store, "zanzibar") == set()


def test_versions_without_the_passages_are_not_touched(tmp_path: Path) -> None:
    store = updated(tmp_path, dense_part())
    store.build("other", [Passage("x", "", "a"), Passage("y", "", "b")], dense_part())
    manifest = (store.folder / "versions" / "other" / "manifest.json").read_bytes()
    forgotten = store.forget(["1"], everywhere=True, retriever=dense_part())
    assert (forgotten.version, forgotten.rewritten) == (None, ("one", "two"))
    assert (store.folder / "versions" / "other" / "manifest.json").read_bytes() == manifest


def test_files_without_the_passages_stay_shared(tmp_path: Path) -> None:
    store = updated(tmp_path, dense_part())
    with store.passages("two") as passages:
        kind = next(each.id for each in passages if "kind" in each.text)
    one, two = (store.folder / "versions" / name / "passages.arrow" for name in ("one", "two"))
    before = one.stat().st_ino
    forgotten = store.forget([kind], everywhere=True, version="three", retriever=dense_part())
    assert forgotten.rewritten == ("three", "two")
    assert one.stat().st_ino == two.stat().st_ino == before
    # Version one has its other passage of the page still.
    assert files_with(store, "kind") == set()
    assert files_with(store, "zanzibar") == {"passages.arrow"}


def test_faults_change_nothing(tmp_path: Path) -> None:
    store = updated(tmp_path, bm25())
    with pytest.raises(CorpusError, match="no version has a document or a passage with the id '9'"):
        store.forget(["1", "9"], everywhere=True)
    with pytest.raises(EmptyCorpusError, match="all 6 passages"):
        store.forget(["1", "2", "3"])
    with pytest.raises(EmptyCorpusError, match="version 'one' has no other passage"):
        store.forget(["1", "2", "3"], everywhere=True)
    store.build("alone", [Passage("secret", "", "a zanzibar word")], bm25(), activate=False)
    store.update(
        "more", Changes({"x": Passage("x", "", "x")}, {}), parent="alone", retriever=bm25()
    )
    with pytest.raises(EmptyCorpusError, match="version 'alone' has no other passage"):
        store.forget(["secret"], everywhere=True, version="without")
    assert texts(store, "alone") == ["a zanzibar word"]
    assert [each.name for each in store.versions()] == ["alone", "more", "one", "two"]


def test_folders_change_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    exchange(one, other)
    assert ((one / "file").read_text(), (other / "file").read_text()) == ("other", "one")
    # As on a system without the call.
    monkeypatch.setattr(atomic, "_EXCHANGE", 1 << 20)
    exchange(one, other)
    assert ((one / "file").read_text(), (other / "file").read_text()) == ("one", "other")
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "absent")
    assert (one / "file").read_text() == "one"


def test_a_document_without_passages_is_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    spec = pages_spec(tmp_path / "pages.jsonl")
    write_pages(tmp_path / "pages.jsonl", [page(7_777_777, "Empty"), *PAGES])
    store.build("one", spec.build(), dense_part(), corpus_config=spec)
    write_pages(tmp_path / "pages.jsonl", [page(1, "Chad", revision=2), *PAGES[1:]])
    store.update("two", spec.build(), retriever=dense_part(), corpus_config=spec)
    # Version two knows page 1 without passages, version one page 7777777.
    assert store.forget(["7777777"], retriever=dense_part()).left == ("one",)
    forgotten = store.forget(["7777777", "1"], everywhere=True, retriever=dense_part())
    assert (forgotten.version, forgotten.rewritten, forgotten.left) == (None, ("one", "two"), ())
    assert files_with(store, "7777777") == files_with(store, "zanzibar") == set()
    for name in ("one", "two"):
        recorded = Documents(store.folder / "versions" / name)
        assert [each.id for each in recorded] == ["2", "3"]
        assert store.verify(name).passages == 4


@pytest.mark.parametrize("name", [".trash-old-0123abcd", ".building-one-0123abcd"])
def test_what_killed_processes_have_left_goes_too(tmp_path: Path, name: str) -> None:
    store = updated(tmp_path, bm25())
    versions = store.folder / "versions"
    shutil.copytree(versions / "one", versions / name)
    store.forget(["1"], everywhere=True, retriever=bm25())
    assert files_with(store, "zanzibar") == set()
    # Killed after the last exchange: no version has the page, and its files go all the same.
    shutil.copytree(versions / "one", versions / name)
    with pytest.raises(CorpusError, match="no version has"):
        store.forget(["1"], everywhere=True, retriever=bm25())
    assert not (versions / name).exists()
