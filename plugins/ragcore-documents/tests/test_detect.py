"""The type of a document: by its bytes, then by its name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_documents.detect import (
    LOOKED_AT,
    TYPES,
    DocumentType,
    begins_as_document,
    may_be_document,
    type_of,
)
from ragcore_documents.readers.limits import UnreadableError

from tests.helpers.document_files import docx, epub, packed, pdf, pptx

PDF = pdf([["A page."]])
DOCX = docx([("", "A text.")])
PPTX = pptx([("Title", "A text.")])
EPUB = epub("Title", [("One", "A text.")])
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.pdf", PDF, "pdf"),
        ("a.docx", PDF, "pdf"),
        ("a.md", PDF, "pdf"),
        ("a.pdf", b"\r\n junk \n" + PDF, "pdf"),
        ("paper", PDF, "pdf"),
        ("a.pdf", DOCX, "docx"),
        ("a.PPTX", PPTX, "pptx"),
        ("a.docx", PPTX, "pptx"),
        ("a.zip", EPUB, "epub"),
        ("a.epub", EPUB, "epub"),
        ("a.pdf", b"\n <!DOCTYPE html><p>Not found</p>", "html"),
        ("page", b"\xef\xbb\xbf<HTML><p>x", "html"),
        ("a.md", b"<html> in Markdown", "markdown"),
        ("a.txt", b"%PDF is how they begin", "text"),
        ("about-pdf.md", b"# Files\nThey begin with %PDF-1.7.", "markdown"),
        ("a.TXT", "Größe".encode("utf-16"), "text"),
        ("README", b"Read this.", "text"),
        ("docs/Changelog", b"1.0", "text"),
        ("Makefile", b"all:\n", None),
        ("program", b"\x7fELF\0\0", None),
        ("README", b"\0\1", None),
        ("README", b"\x7fELF\0\0", None),
        ("README", "Größe".encode("utf-16-be"), "text"),
        ("README", ("é😀" * 5000).encode("utf-16"), "text"),
        ("a.md", "# Größe".encode("utf-32-be"), "markdown"),
        ("LICENSE.MIT", b"Permission is granted.", "text"),
        ("LICENSE-APACHE", b"Permission is granted.", "text"),
        ("README.Debian", b"Read this.", "text"),
        ("README.Debian", b"\x7fELF\0\0", None),
        ("changes.py", b"x = 1", None),
        ("archive", packed({"a.txt": "x"}), None),
        ("old", OLE, None),
        ("a.xhtml", b"<?xml version='1.0'?><html/>", "html"),
        ("a.rst", b"Title\n=====\n", "rst"),
    ],
)
def test_bytes_count_more_than_names(name: str, data: bytes, expected: str | None) -> None:
    assert type_of(name, data) == expected


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.pdf", b"plain text", r"its name ends in .pdf, and it is no PDF file: .*b'plain te'"),
        ("a.docx", packed({"xl/workbook.xml": "x"}), "holds no DOCX document"),
        ("a.docx", DOCX[: len(DOCX) // 2], "damaged"),
        ("a.docx", b"PK\x03\x04" + b"PK\x01\x02" * 200_000, "more than 10,000 members"),
        ("a.docx", OLE, "with a password: save it as .docx"),
        ("a.epub", packed({"mimetype": "application/vnd.oasis.opendocument.text"}), "no EPUB"),
    ],
)
def test_a_name_that_promises_what_the_bytes_are_not_is_an_error(
    name: str, data: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableError, match=reason):
        type_of(name, data)


def test_names_without_a_suffix_may_be_documents_and_others_by_their_suffix() -> None:
    names = ["a.md", "A.PDF", "README", "x/y.htm", "a.py", "a.docx.bak", ".md", "v1.2"]
    assert [name for name in names if may_be_document(name, {})] == [*names[:4], ".md"]
    assert may_be_document("a.PY", {".py": "text"})


def test_types_of_suffixes_are_added_or_others() -> None:
    types: dict[str, DocumentType] = {".log": "text", ".txt": "markdown"}
    assert type_of("a.LOG", b"It began.", types) == "text"
    assert type_of("a.txt", b"# Title", types) == "markdown"
    assert type_of("a.log", PDF, types) == "pdf"


@pytest.mark.parametrize("data", [PDF, DOCX, EPUB, b"\n<!DOCTYPE html><p>x"])
def test_a_name_without_a_suffix_is_told_by_its_first_bytes(data: bytes) -> None:
    assert begins_as_document("paper", data[:LOOKED_AT])
    assert not begins_as_document("paper", b"\x7fELF")
    assert not begins_as_document("Makefile", b"")


@given(
    st.sampled_from(["a.md", "a.pdf", "a.docx", "a", "a.html", "README"]), st.binary(), st.data()
)
def test_any_bytes_have_a_type_or_a_reason(name: str, data: bytes, draw: st.DataObject) -> None:
    base = draw.draw(st.sampled_from([b"", PDF, DOCX, EPUB, OLE, b"PK\x03\x04"]))
    cut = draw.draw(st.integers(0, len(base)))
    kind: str | None = None
    with contextlib.suppress(UnreadableError):
        kind = type_of(name, base[:cut] + data + base[cut + len(data) :])
    assert kind is None or kind in TYPES
