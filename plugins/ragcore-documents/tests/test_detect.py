"""The type of a document: by its bytes, then by its name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragcore_documents.detect import TYPES, may_be_document, type_of
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
        ("a.pdf", b"plain text", r"it is no pdf file.*b'plain te'"),
        ("a.docx", packed({"xl/workbook.xml": "x"}), "holds no docx document"),
        ("a.docx", DOCX[: len(DOCX) // 2], "a damaged archive"),
        ("a.docx", OLE, "with a password: save it as .docx"),
        ("a.md", b"text\0binary", r"a binary file, though its name ends in \.md"),
        ("a.epub", packed({"mimetype": "application/vnd.oasis.opendocument.text"}), "no epub"),
    ],
)
def test_a_name_that_promises_what_the_bytes_are_not_is_an_error(
    name: str, data: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableError, match=reason):
        type_of(name, data)


def test_names_without_a_suffix_may_be_documents_and_others_by_their_suffix() -> None:
    names = ["a.md", "A.PDF", "README", "x/y.htm", "a.py", "a.docx.bak", ".md", "v1.2"]
    assert [name for name in names if may_be_document(name)] == [*names[:4], ".md"]


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
