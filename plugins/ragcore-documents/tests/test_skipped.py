"""What cannot be read or has no text, and what is said of it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from ragcore.errors import CorpusError, EmptyCorpusError
from ragcore.store.store import Store
from tests.helpers.document_files import docx
from tests.helpers.document_folders import (
    WHEN,
    corpus_of,
    documents_of,
    memory_of,
    page,
    write,
)


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
        "1 without text (1 text), 3 skipped (1 .docx, 1 .pdf, 1 .txt)"
    )
    assert [line.partition(":")[0] for line in lines[1:4]] == [
        "skipped binary.txt",
        "skipped cut.docx",
        "skipped fake.pdf",
    ]
    assert lines[4] == "without text: empty.txt"
    assert lines[-2:] == [
        "not of a type that is read: 1 without a suffix, 1 .py, 1 .so",
        "left out: 1 hidden",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: {line}" for line in lines
    ]
    assert corpus.complete
    assert corpus.covers("gone.pdf")


def test_at_most_twenty_files_without_text_are_named(folder: Path) -> None:
    for number in range(22):
        write(folder, f"empty/{number:02}.txt", " ")
    corpus = corpus_of(folder, include=["empty/"])
    documents_of(corpus)
    (line,) = [line for line in corpus.summary() if line.startswith("without text")]
    assert line.startswith("without text: empty/00.txt, empty/01.txt, ")
    assert line.endswith("empty/19.txt and 2 more")


def test_equal_notes_are_one_line(folder: Path) -> None:
    for number in range(5):
        write(folder, f"n{number}.md", "---\ntitle: a\nx: [\n---\n\nText.")
    write(folder, "toml.md", "+++\na = 1\nb = \n+++\n\nText.")
    corpus = corpus_of(folder, include=["n?.md", "toml.md"])
    documents_of(corpus)
    first, second, _ = corpus.summary()[1:]
    assert first.startswith("n0.md, n1.md, n2.md and 2 more: front matter, line 4: ")
    assert second == "toml.md: front matter, line 3: Invalid value; it is read as text"
    assert corpus.report.noted == 6


def test_at_most_twenty_skipped_files_are_named(folder: Path) -> None:
    for number in range(25):
        write(folder, f"bad/{number:02}.pdf", "no PDF")
    corpus = corpus_of(folder)
    documents_of(corpus)
    lines = [line for line in corpus.summary() if line.startswith("skipped")]
    assert len(lines) == 21
    assert lines[-1] == "skipped 5 more"


def test_on_error_stop_names_the_file_and_what_to_do(folder: Path, tmp_path: Path) -> None:
    path = write(folder, "fake.pdf", "plain")
    with pytest.raises(CorpusError) as caught:
        memory_of(folder, tmp_path, on_error="stop")
    assert str(caught.value).startswith(f"{path}: its name ends in .pdf, and it is no PDF")
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
    assert [id_ for id_, each in documents.items() if not each.passages] == ["bomb.docx"]
    ((name, reason),) = corpus.report.reasons
    assert name == "bomb.docx"
    assert "exclude" in reason or "raise" in reason


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no document in it or below it: expected Markdown"),
        ({"a.py": "x", "b.py": "y"}, r"2 \.py; if these are texts, set types: \{\.py: text\}"),
        ({".a.md": "x"}, "left out by settings: 1 hidden"),
        ({"a.pdf": "no"}, r"no document in it can be read: .*a\.pdf: its name ends in \.pdf"),
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


def test_a_binary_file_without_a_suffix_is_no_document_however_large(folder: Path) -> None:
    with (folder / "image").open("wb") as stream:
        stream.truncate(3 << 20)
    corpus = corpus_of(folder, max_mib=2, on_error="stop")
    documents_of(corpus)
    assert (corpus.report.other, corpus.complete) == ({"": 1}, True)
    write(folder, "paper", b"%PDF-1.7".ljust(3 << 20))
    with pytest.raises(CorpusError, match="paper: it has 3 MiB, more than 2"):
        documents_of(corpus)


def test_the_commands_print_what_was_read_and_skipped(folder: Path, tmp_path: Path) -> None:
    write(folder, "fake.pdf", "plain")
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        "ragcore: 1\nmemory:\n  store: store\n  retriever: {use: bm25}\n"
        "  corpus: {use: documents, path: folder}\n"
    )
    skipped = "skipped fake.pdf: its name ends in .pdf, and it is no PDF file"
    built = ragcore("memory", "build", pipeline)
    assert "files: 8 read (1 docx," in built
    assert skipped in built
    (folder / "talk.pptx").unlink()
    updated = ragcore("memory", "update", pipeline)
    assert "files: 0 read, 7 unchanged, 1 skipped (1 .pdf)" in updated
    assert skipped in updated
    same = ragcore("memory", "update", pipeline)
    assert same.startswith("nothing changed")
    assert skipped in same
    write(folder, "page.html", page("Edited", "The hill is low."), WHEN + 1)
    row = json.loads(ragcore("memory", "update", pipeline, "--json"))
    assert row["summary"][0] == "files: 1 read (1 html), 6 unchanged, 1 skipped (1 .pdf)"


def ragcore(*arguments: str | Path) -> str:
    """Run a command; return what it prints."""
    command = [sys.executable, "-m", "ragcore", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_file_s_name_forges_no_line_of_the_report(folder: Path) -> None:
    write(folder, "bad\nskipped forged.pdf", "plain")
    write(folder, "odd\u2028files: 9 read.md", "---\npath: x\n---\ntext")
    write(folder, "other.a\nfiles: 9 read", "plain")
    corpus = corpus_of(folder)
    list(corpus)
    text = "\n".join(corpus.report.lines())
    assert "skipped bad\ufffdskipped forged.pdf: its name ends in .pdf" in text
    assert "odd\ufffdfiles: 9 read.md: metadata left out: path" in text
    assert "1 .a\ufffdfiles: 9 read" in text
