"""Tell the type of a document: by its first bytes, then by the suffix of its name.

Knows signatures and suffixes; knows nothing of readers. A file whose name promises a type that its
bytes deny is read as what it is, or refused with a reason.
"""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from pathlib import PurePosixPath
from typing import Final, Literal, get_args

from ragcore_documents.readers.limits import UnreadableError

__all__ = ["TYPES", "DocumentType", "may_be_document", "suffix_of", "type_of"]

DocumentType = Literal["markdown", "html", "pdf", "docx", "pptx", "rst", "epub", "text"]
TYPES: Final[tuple[DocumentType, ...]] = get_args(DocumentType)

_SUFFIXES: Final[dict[str, DocumentType]] = {
    ".docx": "docx",
    ".docm": "docx",
    ".epub": "epub",
    ".htm": "html",
    ".html": "html",
    ".markdown": "markdown",
    ".md": "markdown",
    ".mdown": "markdown",
    ".mkd": "markdown",
    ".pdf": "pdf",
    ".pptm": "pptx",
    ".pptx": "pptx",
    ".rest": "rst",
    ".rst": "rst",
    ".text": "text",
    ".txt": "text",
    ".xhtml": "html",
}
_TEXT_NAMES: Final = frozenset(
    {
        "authors",
        "changelog",
        "changes",
        "contributing",
        "copying",
        "faq",
        "history",
        "install",
        "license",
        "news",
        "notice",
        "readme",
        "todo",
    }
)
"""Names that texts have without a suffix."""

_PLAIN: Final = frozenset({"markdown", "html", "rst", "text"})
_HEAD: Final = 1024
"""Bytes within which a PDF's signature may stand, as its readers take it."""

_LOOKED_AT: Final = 8192
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What reading a damaged or encrypted archive raises."""

_HTML: Final = (b"<!doctype html", b"<html")


def suffix_of(id_: str) -> str:
    """Return the suffix of a name in small letters; "" where it has none."""
    return PurePosixPath(id_).suffix.lower()


def may_be_document(id_: str) -> bool:
    """Return whether a file's name lets it be a document: by its suffix, or since it has none."""
    suffix = suffix_of(id_)
    return suffix in _SUFFIXES or not suffix


def type_of(id_: str, data: bytes) -> DocumentType | None:
    """Return the type of a document; None where a file without a suffix is none.

    Args:
        id_: its path, of which the suffix counts.
        data: all of its bytes.

    Raises:
        UnreadableError: its bytes are not what its name promises, nor another type that is read.
    """
    expected = _SUFFIXES.get(suffix_of(id_))
    if expected not in ("markdown", "rst", "text") or data.startswith(b"%PDF-"):
        head = data[:_HEAD]
        if b"%PDF-" in head:
            return "pdf"
    if data.startswith(_ZIP):
        return _packed(data, expected)
    if data.startswith(_OLE):
        if expected is None:
            return None
        raise UnreadableError(
            "an Office file of the old format (.doc, .ppt), or one with a password: save it as "
            ".docx or .pptx without a password"
        )
    start = data[:_LOOKED_AT]
    if start.removeprefix(_MARKS[0]).lstrip()[:16].lower().startswith(_HTML) and (
        expected not in _PLAIN
    ):
        return "html"
    if expected is None:
        is_text = PurePosixPath(id_).name.lower() in _TEXT_NAMES and b"\0" not in start
        return "text" if is_text else None
    if expected not in _PLAIN:
        raise UnreadableError(
            f"it is no {expected} file, as its name says: it begins with the bytes "
            f"{data[:8]!r}: give it the suffix of what it is, or exclude it"
        )
    if b"\0" in start and not start.startswith(_MARKS):
        raise UnreadableError(
            f"a binary file, though its name ends in {suffix_of(id_)}: it has a zero byte: rename "
            "it, or exclude it"
        )
    return expected


def _packed(data: bytes, expected: DocumentType | None) -> DocumentType | None:
    """Return the type of a ZIP archive by what it holds."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = set(archive.namelist())
            is_epub = "mimetype" in names and _begins(archive, "mimetype", b"application/epub+zip")
    except _DAMAGED as error:
        if expected is None:
            return None
        raise UnreadableError(
            f"a damaged archive ({error}): restore it from a backup, or exclude it"
        ) from None
    if is_epub:
        return "epub"
    if "word/document.xml" in names or any(name.startswith("word/document") for name in names):
        return "docx"
    if any(name.startswith("ppt/slides/") for name in names) or "ppt/presentation.xml" in names:
        return "pptx"
    if expected is None:
        return None
    raise UnreadableError(
        f"a ZIP archive that holds no {expected} document: give it the suffix of what it is, or "
        "exclude it"
    )


def _begins(archive: zipfile.ZipFile, name: str, content: bytes) -> bool:
    with archive.open(name) as member:
        return member.read(len(content)) == content
