"""The corpus: its passages and their sources, what an update reads again, and what it reports."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from ragcore_documents.corpus import Documents
from ragcore_documents.reading import Job, Task, read_file

from ragcore.contracts import supports
from ragcore.contracts.corpus import DocumentCorpus
from ragcore.corpora.splitting import SplitConfig
from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.store.comparing import DocumentCounts
from ragcore.store.store import Store
from ragcore.testing import CorpusSuite
from ragcore.testing.tokenizing import WordTokenizer
from ragcore.types import Document, Source
from tests.helpers.document_files import docx, epub, pdf, pptx

WHEN = 1_700_000_000


class Known(dict[str, str]):
    """The documents of a memory."""

    def key(self, document_id: str) -> str | None:
        return self.get(document_id)


def corpus_of(path: Path, **settings: Any) -> Documents:
    return Documents(Documents.Config(path=path, **settings))


def documents_of(corpus: Documents, known: Known | None = None) -> dict[str, Document]:
    return {document.id: document for document in corpus.documents(known or Known())}


def known_from(corpus: Documents) -> Known:
    return Known({id_: document.key for id_, document in documents_of(corpus).items()})


def write(folder: Path, name: str, content: str | bytes, when: int = WHEN) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (when, when))
    return path


def page(title: str, *paragraphs: str) -> str:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return f"<html><head><title>{title}</title></head><body>{body}</body></html>"


class TestDocuments(CorpusSuite):
    @pytest.fixture
    def component(self, tmp_path: Path) -> ComponentSpec:
        folder = tmp_path / "notes"
        for number in range(12):
            text = f"The lake number {number} is deep."
            write(folder, f"{number % 3}/n{number}.md", f"# Lake {number}\n\n{text}\n")
        config = Documents.Config(path=folder, workers=1)
        return ComponentSpec("corpus", "documents", Documents, config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one document of each type."""
    folder = tmp_path / "folder"
    write(
        folder,
        "notes.md",
        "---\ntitle: The lake\nauthor: A. Writer\nline: 99\n---\n\n"
        "# Shore\n\n"
        "The shore is sandy.\n\n## North\n\nReeds grow there.\n",
    )
    write(folder, "page.html", page("A web page", "The mountain is high."))
    write(folder, "paper.pdf", pdf([["The river is long."], ["The delta is wide."]]))
    write(folder, "letter.docx", docx([("Heading1", "Dear reader"), ("", "The wood is dark.")]))
    write(folder, "talk.pptx", pptx([("Opening", "The desert is dry."), ("End", "Rain falls.")]))
    write(folder, "manual.rst", "Manual\n======\n\nThe valley is green.\n")
    write(folder, "book.epub", epub("A book", [("One", "The island is small.")]))
    write(folder, "sub/README.txt", "The coast is rocky.\n")
    return folder


def sources(corpus: Documents) -> dict[str, Source]:
    return {passage.text.split("\n")[-1]: Source.of(passage) for passage in corpus}


def test_each_type_says_where_its_passages_are_from(folder: Path) -> None:
    by_text = sources(corpus_of(folder, split={"by": "headings", "size": 5}))
    told = {
        text: (source.title, source.path, source.page, source.line, source.heading)
        for text, source in by_text.items()
    }
    assert told["The shore is sandy."] == ("The lake", "notes.md", None, 9, "Shore")
    assert told["Reeds grow there."] == ("The lake", "notes.md", None, 11, "Shore > North")
    assert told["The mountain is high."] == ("A web page", "page.html", None, None, None)
    assert told["The river is long."] == ("paper", "paper.pdf", 1, None, None)
    assert told["The delta is wide."] == ("paper", "paper.pdf", 2, None, None)
    assert told["The wood is dark."][1:] == ("letter.docx", None, None, "Dear reader")
    assert told["The desert is dry."][1:4] == ("talk.pptx", 1, None)
    assert told["Rain falls."][1:4] == ("talk.pptx", 2, None)
    assert told["The valley is green."][1:] == ("manual.rst", None, 1, "Manual")
    assert told["The island is small."] == ("A book", "book.epub", None, None, "One")
    assert told["The coast is rocky."] == ("sub", "sub/README.txt", None, 1, None)


def test_metadata_are_the_document_s_own_and_its_location(folder: Path) -> None:
    (passage,) = [each for each in corpus_of(folder) if "Reeds" in each.text]
    metadata = dict(passage.metadata)
    start, end = metadata.pop("span")
    text = (folder / "notes.md").read_text()
    assert text[start:end] == passage.text
    assert metadata == {
        "author": "A. Writer",
        "path": "notes.md",
        "heading": "Shore > North",
        "line": 11,
        "mtime": "2023-11-14T22:13:20Z",
    } | ({"title": "The lake"} if "title" in metadata else {})
    assert passage.id.startswith("notes.md-")


def test_a_line_put_before_a_document_changes_one_passage(folder: Path) -> None:
    paragraphs = [f"Paragraph {n} is about the lake and tells of its {n} fish." for n in range(80)]
    text = "\n\n".join(["# Lake", *paragraphs[:40], "## Shore", *paragraphs[40:]])
    path = write(folder, "long.md", text)
    settings = {"include": ["long.md"], "split": {"by": "headings", "size": 60}}
    before = [passage.id for passage in corpus_of(folder, **settings)]
    path.write_text(f"A new line.\n\n{text}")
    after = [passage.id for passage in corpus_of(folder, **settings)]
    assert len(before) > 10
    assert len(set(after) - set(before)) <= 2


def test_it_knows_its_documents(folder: Path) -> None:
    corpus = corpus_of(folder)
    assert isinstance(corpus, DocumentCorpus)
    assert supports(corpus, DocumentCorpus)
    assert corpus.capabilities == {"documents"}
    assert corpus_of(folder, split={"by": "tokens"}).capabilities == {"documents", "tokenizer"}
    assert not corpus.complete
    assert list(corpus.summary()) == []
    assert list(documents_of(corpus)) == [
        "book.epub",
        "letter.docx",
        "manual.rst",
        "notes.md",
        "page.html",
        "paper.pdf",
        "sub/README.txt",
        "talk.pptx",
    ]
    assert corpus.complete
    assert corpus.covers("gone.md")


def test_titles_fall_back_on_the_name_of_the_file_or_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lakes"
    for name in ("README", "index.html", "sub/Index.txt", "sub/deep.water.txt", "readme-old.txt"):
        write(folder, name, "Some text.")
    titles = {passage.metadata["path"]: passage.title for passage in corpus_of(folder)}
    assert titles == {
        "README": "lakes",
        "index.html": "lakes",
        "readme-old.txt": "readme-old",
        "sub/Index.txt": "sub",
        "sub/deep.water.txt": "deep.water",
    }
    (passage,) = corpus_of(folder / "README")
    assert (passage.title, passage.metadata["path"]) == ("lakes", "README")


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
    assert outcome.mtime_ns == (when if is_settled else 0)


def test_a_file_that_was_only_touched_keeps_its_key(folder: Path) -> None:
    known = known_from(corpus_of(folder))
    os.utime(folder / "notes.md", (WHEN + 60, WHEN + 60))
    corpus = corpus_of(folder)
    documents = documents_of(corpus, known)
    assert {id_: each.key for id_, each in documents.items()} == known
    assert all(each.passages is None for each in documents.values())
    assert corpus.report.unchanged == 8


def test_other_settings_give_other_keys(folder: Path) -> None:
    known = known_from(corpus_of(folder))
    same = corpus_of(folder, workers=2, hidden=True, seconds=30, max_mib=7, exclude=["*.zip"])
    assert known_from(same) == known
    other = documents_of(corpus_of(folder, split={"by": "words", "size": 50}), known)
    assert all(other[id_].key != key and other[id_].passages for id_, key in known.items())
    (folder / "sub").rename(folder / "bus")  # the title of README.txt
    write(folder, "notes.md", (folder / "notes.md").read_text() + "More.\n")
    assert documents_of(corpus_of(folder), known)["notes.md"].passages


# What an update of a memory does.


def memory_of(folder: Path, tmp_path: Path, **settings: Any) -> tuple[Store, Any]:
    spec = spec_from_dict("corpus", {"use": "documents", "path": str(folder), **settings})
    store = Store(tmp_path / "store")
    bm25 = spec_from_dict("retriever", {"use": "bm25"})
    store.build("one", spec.build(), bm25, corpus_config=spec)
    return store, spec


def paths(store: Store) -> dict[str, set[str]]:
    """Return the ids of a memory's passages by the path of their document."""
    with store.passages() as passages:
        result: dict[str, set[str]] = {}
        for passage in passages:
            result.setdefault(passage.metadata["path"], set()).add(passage.id)
        return result


def test_a_folder_becomes_a_memory_that_answers_with_sources(folder: Path, tmp_path: Path) -> None:
    store, _ = memory_of(folder, tmp_path)
    with store.open() as memory:
        (result,) = memory.search("which valley is green", 1)
    (source,) = result.sources
    assert (source.path, source.heading, source.line) == ("manual.rst", "Manual", 1)


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
    for path in folder.rglob("*.*"):
        os.utime(path, (WHEN + 99, WHEN + 99))
    assert store.update(None, spec.build(), corpus_config=spec).nothing_changed


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


# What cannot be read, and what is said of it.


def bad_files(folder: Path) -> None:
    write(folder, "binary.txt", b"a\0b")
    write(folder, "cut.docx", docx([("", "A text.")])[:300])
    write(folder, "fake.pdf", "plain")
    write(folder, "empty.txt", "")
    write(folder, "setup.py", "x = 1")
    write(folder, "lib.so", b"\x7fELF")
    write(folder, "Makefile", "all:\n")
    write(folder, ".hidden.md", "hidden")


def test_the_report_counts_types_and_names_what_was_skipped(folder: Path, caplog: Any) -> None:
    bad_files(folder)
    corpus = corpus_of(folder)
    with caplog.at_level(logging.INFO, "ragcore_documents"):
        documents_of(corpus)
    lines = list(corpus.summary())
    assert lines[0] == (
        "files: 9 read (1 docx, 1 epub, 1 html, 1 markdown, 1 pdf, 1 pptx, 1 rst, 2 text), "
        "1 without text, 3 skipped"
    )
    assert [line.partition(":")[0] for line in lines[1:4]] == [
        "skipped binary.txt",
        "skipped cut.docx",
        "skipped fake.pdf",
    ]
    assert lines[-2:] == [
        "not of a type that is read: 1 without a suffix, 1 .py, 1 .so",
        "left out: 1 hidden",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: {line}" for line in lines
    ]
    assert not corpus.complete
    assert not corpus.covers("fake.pdf")
    assert corpus.covers("gone.pdf")


def test_at_most_twenty_skipped_files_are_named(folder: Path) -> None:
    for number in range(25):
        write(folder, f"bad/{number:02}.pdf", "no PDF")
    corpus = corpus_of(folder)
    documents_of(corpus)
    lines = [line for line in corpus.summary() if line.startswith("skipped")]
    assert len(lines) == 21
    assert lines[-1] == "skipped 5 more"


def test_a_file_s_name_forges_no_line_of_the_report(folder: Path) -> None:
    write(folder, "bad\nskipped forged.pdf", "plain")
    write(folder, "odd\u2028files: 9 read.md", "---\npath: x\n---\ntext")
    write(folder, "other.a\nfiles: 9 read", "plain")
    corpus = corpus_of(folder)
    list(corpus)
    text = "\n".join(corpus.report.lines())
    assert "skipped bad\ufffdskipped forged.pdf: it is no pdf file" in text
    assert "odd\ufffdfiles: 9 read.md: metadata left out: path" in text
    assert "1 .a\ufffdfiles: 9 read" in text


def test_on_error_stop_names_the_file_and_what_to_do(folder: Path, tmp_path: Path) -> None:
    path = write(folder, "fake.pdf", "plain")
    with pytest.raises(CorpusError) as caught:
        memory_of(folder, tmp_path, on_error="stop")
    assert str(caught.value).startswith(f"{path}: it is no pdf file")
    assert str(caught.value).endswith("or exclude it; on_error: skip goes on without it")
    assert Store(tmp_path / "store").versions() == []


def test_a_file_over_the_size_is_not_opened(folder: Path) -> None:
    with (folder / "sparse.txt").open("wb") as stream:
        stream.truncate(3 << 20)
    corpus = corpus_of(folder, max_mib=2)
    documents_of(corpus)
    assert corpus.report.reasons == [
        ("sparse.txt", "it has 3.0 MiB, more than 2: raise max_mib, or exclude it")
    ]


def bomb() -> bytes:
    """A Word document of a few hundred kB that unpacks to a text of 300 MB."""
    whole = docx([("", "MARK")])
    stream = BytesIO()
    with (
        zipfile.ZipFile(BytesIO(whole)) as source,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name == "word/document.xml":
                content = content.replace(b"MARK", b"lake " * 60_000_000)
            target.writestr(name, content)
    return stream.getvalue()


def test_a_zip_bomb_is_ended_by_its_limits_and_the_rest_is_read(folder: Path) -> None:
    write(folder, "bomb.docx", bomb())
    corpus = corpus_of(folder, memory_gib=0.5, seconds=30, workers=1)
    documents = documents_of(corpus)
    assert len(documents) == 8
    ((name, reason),) = corpus.report.reasons
    assert name == "bomb.docx"
    assert "exclude" in reason or "raise" in reason


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no document in it or below it; read are Markdown"),
        ({"a.py": "x", "b.py": "y"}, "there are 2 .py"),
        ({".a.md": "x"}, "left out are 1 hidden"),
        ({"a.pdf": "no"}, r"no document in it can be read: .*a\.pdf: it is no pdf file"),
    ],
)
def test_a_folder_without_a_document_is_an_error(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in files.items():
        write(folder, name, text)
    with pytest.raises(EmptyCorpusError, match=message):
        list(corpus_of(folder))


def test_a_path_that_nothing_can_have_or_that_is_a_pipe_is_an_error(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.md"
    os.mkfifo(pipe)
    for path, reason in (
        (tmp_path / ("x" * 300), "not a usable path: File name too long"),
        (tmp_path / "missing", "no such file or folder"),
        (pipe, "neither a folder nor a file"),
    ):
        with pytest.raises(CorpusError, match=reason):
            list(corpus_of(path))


def test_a_script_without_a_main_guard_can_read_a_folder(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from ragcore_documents.corpus import Documents\n"
        f"corpus = Documents(Documents.Config(path={str(folder)!r}, workers=2))\n"
        "print(len({passage.metadata['path'] for passage in corpus}))\n"
    )
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.stdout, result.stderr) == ("8\n", "")


def test_a_split_by_tokens_needs_a_tokenizer(folder: Path) -> None:
    with pytest.raises(CorpusError, match="no tokenizer was given"):
        list(corpus_of(folder, split={"by": "tokens"}))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_split_by_tokens_leaves_none_to_be_cut(folder: Path, workers: int) -> None:
    write(folder, "long.txt", "\n\n".join(f"Paragraph {n} of the lake is long." for n in range(50)))
    corpus = corpus_of(folder, split={"by": "tokens"}, workers=workers)
    corpus.use_tokenizer(WordTokenizer(30))
    passages = list(corpus)
    lengths = [len(f"{passage.title} {passage.text}".split()) for passage in passages]
    assert 20 < max(lengths) <= 30


def test_a_size_beyond_the_encoder_s_is_an_error_before_a_file_is_read(folder: Path) -> None:
    corpus = corpus_of(folder, split={"by": "tokens", "size": 40})
    corpus.use_tokenizer(WordTokenizer(30))
    with pytest.raises(CorpusError, match=r"split\.size is 40 tokens"):
        list(corpus)


def test_the_commands_print_what_was_read_and_skipped(folder: Path, tmp_path: Path) -> None:
    write(folder, "fake.pdf", "plain")
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        "ragcore: 1\nmemory:\n  store: store\n  retriever: {use: bm25}\n"
        "  corpus: {use: documents, path: folder}\n"
    )
    skipped = "skipped fake.pdf: it is no pdf file, as its name says"
    built = ragcore("memory", "build", pipeline)
    assert "files: 8 read (1 docx," in built
    assert skipped in built
    (folder / "talk.pptx").unlink()
    updated = ragcore("memory", "update", pipeline)
    assert "files: 0 read, 7 unchanged, 1 skipped" in updated
    assert skipped in updated
    same = ragcore("memory", "update", pipeline)
    assert same.startswith("nothing changed")
    assert skipped in same
    write(folder, "page.html", page("Edited", "The hill is low."), WHEN + 1)
    row = json.loads(ragcore("memory", "update", pipeline, "--json"))
    assert row["summary"][0] == "files: 1 read (1 html), 6 unchanged, 1 skipped"


def ragcore(*arguments: str | Path) -> str:
    """Run a command; return what it prints."""
    command = [sys.executable, "-m", "ragcore", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
