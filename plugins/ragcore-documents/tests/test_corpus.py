"""The corpus: its passages, their sources, and its settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ragcore_documents.corpus import Documents

from ragcore.contracts import supports
from ragcore.contracts.corpus import DocumentCorpus
from ragcore.errors import CorpusError
from ragcore.registry.components import ComponentSpec
from ragcore.testing import CorpusSuite
from ragcore.testing.tokenizing import WordTokenizer
from ragcore.types import Source
from tests.helpers.document_folders import (
    corpus_of,
    documents_of,
    known_from,
    memory_of,
    write,
)


class TestDocuments(CorpusSuite):
    @pytest.fixture
    def component(self, tmp_path: Path) -> ComponentSpec:
        folder = tmp_path / "notes"
        for number in range(12):
            text = f"The lake number {number} is deep."
            write(folder, f"{number % 3}/n{number}.md", f"# Lake {number}\n\n{text}\n")
        config = Documents.Config(path=folder, workers=1)
        return ComponentSpec("corpus", "documents", Documents, config)


def sources(corpus: Documents) -> dict[str, Source]:
    return {passage.text.split("\n")[-1]: Source.of(passage) for passage in corpus}


def test_each_type_says_where_its_passages_are_from(folder: Path) -> None:
    sources_by_text = sources(corpus_of(folder, split={"by": "headings", "size": 5}))
    by_text = {
        text: (source.title, source.path, source.page, source.line, source.heading)
        for text, source in sources_by_text.items()
    }
    assert by_text["The shore is sandy."] == ("The lake", "notes.md", None, 9, "Shore")
    assert by_text["Reeds grow there."] == ("The lake", "notes.md", None, 11, "Shore > North")
    assert by_text["The mountain is high."] == ("A web page", "page.html", None, None, None)
    assert by_text["The river is long."] == ("paper", "paper.pdf", 1, None, None)
    assert by_text["The delta is wide."] == ("paper", "paper.pdf", 2, None, None)
    assert by_text["The wood is dark."][1:] == ("letter.docx", None, None, "Dear reader")
    assert by_text["The desert is dry."][1:4] == ("talk.pptx", 1, None)
    assert by_text["Rain falls."][1:4] == ("talk.pptx", 2, None)
    assert by_text["The valley is green."][1:] == ("manual.rst", None, 1, "Manual")
    assert by_text["The island is small."] == ("A book", "book.epub", None, None, "One")
    assert by_text["The coast is rocky."] == ("sub", "sub/README.txt", None, 1, None)


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


def test_a_folder_becomes_a_memory_that_answers_with_sources(folder: Path, tmp_path: Path) -> None:
    store, _ = memory_of(folder, tmp_path)
    with store.open() as memory:
        hits = memory.hits(["which valley is green"], k=1)
        (passage,) = memory.passages.take(hits.rows[0])
    source = Source.of(passage)
    assert (source.path, source.heading, source.line) == ("manual.rst", "Manual", 1)


def test_types_of_further_suffixes_are_a_setting(folder: Path) -> None:
    write(folder, "app.LOG", "The server began.")
    write(folder, "more.adoc", "= Title")
    write(folder, "LICENSE.MIT", "Permission is granted.")
    known = known_from(corpus_of(folder))
    assert "LICENSE.MIT" in known
    documents = documents_of(corpus_of(folder, types={".Log": "text"}), known)
    assert {id_ for id_, each in documents.items() if each.passages} == {"app.LOG"}
    documents = documents_of(corpus_of(folder, types={".rst": "text"}), known)
    assert {id_ for id_, each in documents.items() if each.passages} == {"manual.rst"}


@pytest.mark.parametrize("suffix", ["log", ".", "*.log", ".tar.gz", ""])
def test_what_is_no_suffix_is_an_error(suffix: str, folder: Path) -> None:
    with pytest.raises(ValueError, match="no suffix of a file's name"):
        corpus_of(folder, types={suffix: "text"})


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.rst", "README"])
def test_texts_are_read_in_any_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    write(tmp_path, name, "Grass grows on the shore of the great lake.".encode(encoding))
    (passage,) = corpus_of(tmp_path, workers=1)
    assert passage.text == "Grass grows on the shore of the great lake."


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
