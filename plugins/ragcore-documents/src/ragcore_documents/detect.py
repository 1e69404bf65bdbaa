"""Tell the type of a document: by its first bytes, then by the suffix of its name.

Knows signatures and suffixes; knows nothing of readers. A file whose name promises a type that its
bytes deny is read as what it is, or refused with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final, Literal, get_args

from ragcore_documents.readers.limits import Limits, UnreadableError

__all__ = [
    "LOOKED_AT",
    "TYPES",
    "DocumentType",
    "begins_as_document",
    "may_be_document",
    "promised_type",
    "suffix_of",
    "type_of",
]

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
"""Names that texts have without a suffix, or, in capitals, with more behind: `LICENSE-MIT`."""

_PLAIN: Final = frozenset({"markdown", "html", "rst", "text"})
_HEAD: Final = 1024
"""Bytes within which a PDF's signature may stand, as its readers take it."""

LOOKED_AT: Final = 8192
"""Bytes by which a file whose name promises no type is told."""

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_EPUB: Final = b"application/epub+zip"
_HTML: Final = (b"<!doctype html", b"<html")
_NAMES: Final[dict[DocumentType, str]] = {
    "markdown": "Markdown",
    "html": "HTML",
    "pdf": "PDF",
    "docx": "DOCX",
    "pptx": "PPTX",
    "rst": "reStructuredText",
    "epub": "EPUB",
    "text": "text",
}
"""Types as errors name them."""


def suffix_of(id_: str) -> str:
    """Return the suffix of a name in small letters; "" where it has none."""
    return PurePosixPath(id_).suffix.lower()


def promised_type(id_: str, types: Mapping[str, DocumentType]) -> DocumentType | None:
    """Return the type that the suffix of a file's name promises; None where it promises none.

    Args:
        id_: its path.
        types: of further suffixes, or other ones than those that are known.
    """
    suffix = suffix_of(id_)
    return types.get(suffix) or _SUFFIXES.get(suffix)


def may_be_document(id_: str, types: Mapping[str, DocumentType]) -> bool:
    """Return whether a file's name lets it be a document; arguments as for `promised_type`."""
    return not suffix_of(id_) or promised_type(id_, types) is not None or _names_text(id_)


def begins_as_document(id_: str, start: bytes) -> bool:
    """Return whether a file whose name promises no type may be a document by its first bytes.

    Args:
        id_: its path.
        start: its first `LOOKED_AT` bytes, or all.
    """
    return (
        b"%PDF-" in start[:_HEAD]
        or start.startswith(_ZIP)
        or _begins_html(start)
        or (_names_text(id_) and _is_text(start))
    )


def type_of(
    id_: str, data: bytes, types: Mapping[str, DocumentType] | None = None
) -> DocumentType | None:
    """Return the type of a document; None where a file whose name promises none is none.

    Whether the bytes of a text can be decoded is left to its reader.

    Args:
        id_: its path, of which the suffix counts.
        data: all of its bytes.
        types: as for `promised_type`.

    Raises:
        UnreadableError: its bytes are not what its name promises, nor another type that is read.
    """
    expected = promised_type(id_, types or {})
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
    start = data[:LOOKED_AT]
    if expected not in _PLAIN and _begins_html(start):
        return "html"
    if expected is None:
        return "text" if _names_text(id_) and _is_text(start) else None
    if expected not in _PLAIN:
        raise UnreadableError(
            f"its name ends in {suffix_of(id_)}, and it is no {_NAMES[expected]} file: it begins "
            f"with the bytes {data[:8]!r}: give it the suffix of what it is, or exclude it"
        )
    return expected


def _names_text(id_: str) -> bool:
    """Return whether texts have this name."""
    name = PurePosixPath(id_).name
    first = re.split("[-_]", PurePosixPath(name).stem, maxsplit=1)[0]
    return name.lower() in _TEXT_NAMES or (first.isupper() and first.lower() in _TEXT_NAMES)


def _begins_html(start: bytes) -> bool:
    return start.removeprefix(_UTF8_MARK).lstrip()[:16].lower().startswith(_HTML)


def _is_text(start: bytes) -> bool:
    """Return whether bytes are the start of a text: zero bytes are in UTF-16 and UTF-32 alone."""
    if b"\0" not in start:
        return True
    from ragcore_documents.readers.encoding import decode

    ends = (len(start), len(start) - 2) if len(start) >= LOOKED_AT else (len(start),)
    for end in ends:  # the last character may be cut
        try:
            decode(start[:end])
        except UnreadableError:
            continue
        return True
    return False


def _packed(data: bytes, expected: DocumentType | None) -> DocumentType | None:
    """Return the type of a ZIP archive by what it holds."""
    from ragcore_documents.readers.archives import Archive

    try:
        archive = Archive(data, Limits(), "ZIP" if expected is None else _NAMES[expected])
        is_epub = "mimetype" in archive and archive.read("mimetype").startswith(_EPUB)
    except UnreadableError:
        if expected is None:
            return None
        raise
    if is_epub:
        return "epub"
    if any(name.startswith("word/document") for name in archive.names):
        return "docx"
    if any(name.startswith(("ppt/slides/", "ppt/presentation.xml")) for name in archive.names):
        return "pptx"
    if expected is None:
        return None
    raise UnreadableError(
        f"a ZIP archive that holds no {_NAMES[expected]} document: give it the suffix of what it "
        "is, or exclude it"
    )
