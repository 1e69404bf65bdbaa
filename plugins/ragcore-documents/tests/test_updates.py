"""What an update of a folder's memory reads again, and what it keeps."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ragcore_documents.reading import Job, Task, read_file

from ragcore.corpora.splitting import SplitConfig
from ragcore.store.comparing import DocumentCounts
from ragcore.store.store import Store
from tests.helpers.document_files import pdf
from tests.helpers.document_folders import (
    WHEN,
    Known,
    corpus_of,
    documents_of,
    known_from,
    known_from_known,
    memory_of,
    page,
    paths,
    write,
)


@pytest.mark.parametrize("workers", [1, 2])
def test_files_of_the_same_time_and_size_are_not_opened(folder: Path, workers: int) -> None:
    known = known_from(corpus_of(folder))
    # Other content of the same length: only who opens the file can tell.
    path = folder / "page.html"
    write(folder, "page.html", bytes(path.stat().st_size))
    write(folder, "new.html", page("New", "The pond is new."))
    corpus = corpus_of(folder, workers=workers)
    documents = documents_of(corpus, known)
    assert [id_ for id_, each in documents.items() if each.passages is not None] == ["new.html"]
    assert {id_: documents[id_].key for id_ in known} == known
    assert (corpus.report.unchanged, dict(corpus.report.read)) == (8, {"html": 1})


def test_a_file_that_was_only_touched_is_opened_once(folder: Path) -> None:
    known = known_from(corpus_of(folder))
    os.utime(folder / "notes.md", (WHEN + 60, WHEN + 60))
    corpus = corpus_of(folder)
    documents = documents_of(corpus, known)
    (id_,) = [id_ for id_, each in documents.items() if each.key != known[id_]]
    assert id_ == "notes.md"
    times = {passage.metadata["mtime"] for passage in documents[id_].passages or ()}
    assert times == {"2023-11-14T22:14:20Z"}
    assert (corpus.report.unchanged, corpus.report.touched) == (7, 1)
    assert corpus.summary()[0].endswith("1 of them with another time alone, 7 unchanged")
    again = Known({id_: each.key for id_, each in documents.items()})
    write(folder, id_, bytes((folder / id_).stat().st_size), WHEN + 60)
    assert known_from_known(folder, again) == again


def test_a_file_of_the_same_second_and_content_keeps_its_key(folder: Path) -> None:
    known = known_from(corpus_of(folder))
    os.utime(folder / "notes.md", ns=(WHEN * 10**9 + 7, WHEN * 10**9 + 7))
    assert known_from_known(folder, known) == known


def test_other_settings_give_other_keys(folder: Path) -> None:
    known = known_from(corpus_of(folder))
    same = corpus_of(folder, workers=2, hidden=True, seconds=30, max_mib=7, exclude=["*.zip"])
    assert known_from(same) == known
    other = documents_of(corpus_of(folder, split={"by": "words", "size": 50}), known)
    assert all(other[id_].key != key and other[id_].passages for id_, key in known.items())
    (folder / "sub").rename(folder / "bus")  # the title of README.txt
    write(folder, "notes.md", (folder / "notes.md").read_text() + "More.\n")
    assert documents_of(corpus_of(folder), known)["notes.md"].passages


def test_an_update_after_ten_edits_reads_ten_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for number in range(60):
        write(folder, f"{number % 4}/n{number}.html", page(f"N{number}", f"Text {number}."))
    store, spec = memory_of(folder, tmp_path)
    for number in range(0, 60, 6):
        write(folder, f"{number % 4}/n{number}.html", page(f"N{number}", "New text."), WHEN + 1)
    corpus = spec.build()
    info = store.update(None, corpus, corpus_config=spec)
    assert info.documents == DocumentCounts(unchanged=50, edited=10)
    assert (info.added, info.changed, info.removed) == (0, 10, 0)
    assert corpus.report.read.total() == 10


def test_an_update_by_the_same_folder_makes_no_version(folder: Path, tmp_path: Path) -> None:
    store, spec = memory_of(folder, tmp_path)
    assert store.update(None, spec.build(), corpus_config=spec).nothing_changed


def test_passages_of_touched_files_stay_with_the_new_time(folder: Path, tmp_path: Path) -> None:
    store, spec = memory_of(folder, tmp_path)
    for path in folder.rglob("*.*"):
        os.utime(path, (WHEN + 99, WHEN + 99))
    info = store.update(None, spec.build(), corpus_config=spec)
    assert (info.added, info.changed, info.removed) == (0, 0, 0)
    assert info.moved == info.passages
    assert info.documents == DocumentCounts(same_text=8)
    with store.passages() as passages:
        assert {each.metadata["mtime"] for each in passages} == {"2023-11-14T22:14:59Z"}
    corpus = spec.build()
    assert store.update(None, corpus, corpus_config=spec).nothing_changed
    assert corpus.report.read.total() == 0


def test_a_file_that_was_skipped_is_not_tried_again_unless_something_changes(
    folder: Path, tmp_path: Path
) -> None:
    path = write(folder, "bad.pdf", b"%PDF-1.7\nno more")
    store, spec = memory_of(folder, tmp_path)
    reasons = reasons_of(store, spec)
    assert set(reasons) == {"bad.pdf"}
    # A good file of the same time and size: only who opens the file can tell.
    good = pdf([["The stream is short."]])
    write(folder, "bad.pdf", b"%PDF-1.7\nno more".ljust(len(good)))
    reasons = reasons_of(store, spec)
    write(folder, "bad.pdf", good)
    assert reasons_of(store, spec) == reasons
    assert store.update(None, spec.build(), corpus_config=spec).nothing_changed
    os.utime(path, (WHEN + 1, WHEN + 1))
    info = store.update(None, spec.build(), corpus_config=spec)
    assert (info.added, info.documents) == (1, DocumentCounts(unchanged=8, added=1))


def test_a_skipped_file_is_tried_again_with_other_settings(folder: Path, tmp_path: Path) -> None:
    write(folder, "bad.pdf", b"%PDF-1.7\nno more")
    known = known_from(corpus_of(folder))
    assert known_from_known(folder, known) == known
    for settings in ({"seconds": 61}, {"memory_gib": 3}, {"split": {"by": "sentences"}}):
        documents = documents_of(corpus_of(folder, **settings), known)
        assert documents["bad.pdf"].passages == ()
        assert documents["bad.pdf"].key != known["bad.pdf"]


def reasons_of(store: Store, spec: Any) -> dict[str, str]:
    """Update a memory; return what was skipped, and why."""
    corpus = spec.build()
    store.update(None, corpus, corpus_config=spec)
    return dict(corpus.report.reasons)


def test_renamed_and_deleted_files_leave_the_memory(folder: Path, tmp_path: Path) -> None:
    store, spec = memory_of(folder, tmp_path)
    (folder / "page.html").rename(folder / "renamed.html")
    (folder / "talk.pptx").unlink()
    info = store.update(None, spec.build(), corpus_config=spec)
    assert info.documents == DocumentCounts(unchanged=6, added=1, removed=2)
    assert {"renamed.html"} <= paths(store).keys()
    assert not paths(store).keys() & {"page.html", "talk.pptx"}


def test_a_file_that_cannot_be_read_now_keeps_its_passages(folder: Path, tmp_path: Path) -> None:
    store, spec = memory_of(folder, tmp_path)
    before = paths(store)
    write(folder, "paper.pdf", b"%PDF-1.7\nno more", WHEN + 1)
    write(folder, "page.html", page("Edited", "The hill is low."), WHEN + 1)
    (folder / "manual.rst").unlink()
    corpus = spec.build()
    info = store.update(None, corpus, corpus_config=spec)
    after = paths(store)
    assert after["paper.pdf"] == before["paper.pdf"]
    assert after["page.html"] != before["page.html"]
    assert "manual.rst" not in after
    assert info.documents == DocumentCounts(unchanged=5, renamed=1, removed=1, left=1)
    ((skipped, _),) = corpus.report.reasons
    assert skipped == "paper.pdf"
    # Once it is whole again, it is read again.
    write(folder, "paper.pdf", pdf([["The stream is short."]]), WHEN + 2)
    assert store.update(None, spec.build(), corpus_config=spec).documents == DocumentCounts(
        unchanged=6, edited=1
    )


def test_a_folder_that_cannot_be_looked_into_keeps_its_passages(
    folder: Path, tmp_path: Path
) -> None:
    write(folder, "more/a.txt", "Some text.")
    store, spec = memory_of(folder, tmp_path, symlinks=True)
    before = paths(store)
    (folder / "more").rename(tmp_path / "more")
    # A link that is not followed: nobody knows whether its files are there still.
    (folder / "sub").rename(tmp_path / "sub")
    (folder / "sub").symlink_to(tmp_path / "sub")
    write(folder, "subs.txt", "No file of the folder sub.")
    corpus = spec.build()
    info = store.update(None, corpus, corpus_config=spec)
    assert info.documents == DocumentCounts(unchanged=7, added=1, removed=1, left=1)
    after = paths(store)
    assert after["sub/README.txt"] == before["sub/README.txt"]
    assert "more/a.txt" not in after
    assert corpus.report.reasons[0][0] == "sub"


def test_a_file_that_may_change_again_within_a_tick_of_its_clock_is_read_again(
    tmp_path: Path,
) -> None:
    # A time to come, so that no wait of the test makes it old.
    when = int(time.time()) + 3600
    write(tmp_path, "a.md", "The lake is deep.", when)
    known = known_from(corpus_of(tmp_path))
    assert documents_of(corpus_of(tmp_path), known)["a.md"].passages is None
    write(tmp_path, "a.md", "The lake is cold.", when)
    (passage,) = documents_of(corpus_of(tmp_path), known)["a.md"].passages or ()
    assert passage.text == "The lake is cold."


@pytest.mark.parametrize(
    ("ago", "is_settled"),
    # Whole seconds are those of a clock that may have no others.
    [(-1, False), (0, False), (4, True), (1.0000001, True)],
)
def test_a_time_counts_if_a_later_change_has_another(
    tmp_path: Path, ago: float, is_settled: bool
) -> None:
    path = write(tmp_path, "a.md", "text")
    when = int(time.time()) * 10**9 - int(ago * 10**9)
    os.utime(path, ns=(when, when))
    job = Job(SplitConfig(by="words"), None, 1 << 20, 1 << 30)
    outcome = read_file(Task("a.md", str(path), "a", ""), job)
    assert outcome.mtime_ns == (when if is_settled else when ^ 1)
