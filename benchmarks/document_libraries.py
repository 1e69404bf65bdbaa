"""The text of a document by its library alone, as quickly as that library gives it.

What ragcore's readers add is left out: main content instead of navigation, headings, tables and
lists as blocks, lines and pages, bounds for hostile files. The least that an extractor can cost.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from time import process_time
from typing import Any, Final

import mammoth
import pptx
import pypdfium2
import turbohtml
from docutils.core import publish_doctree
from markdown_it import MarkdownIt
from ragcore_documents.detect import DocumentType, type_of
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.reading import reader_of

__all__ = ["reader_shares"]

_MARKDOWN: Final = MarkdownIt("commonmark").enable("table").disable("inline")
_RST: Final = {
    "report_level": 5,
    "halt_level": 5,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _html(data: bytes) -> str:
    return turbohtml.parse(_text(data)).to_text()


def _rst(data: bytes) -> str:
    return publish_doctree(_text(data), settings_overrides=dict(_RST)).astext()


def _pdf(data: bytes) -> str:
    document = pypdfium2.PdfDocument(data)
    try:
        return "\n".join(page.get_textpage().get_text_range() for page in document)
    finally:
        document.close()


def _docx(data: bytes) -> str:
    return turbohtml.parse(mammoth.convert_to_html(BytesIO(data)).value).to_text()


def _pptx(data: bytes) -> str:
    slides = pptx.Presentation(BytesIO(data)).slides
    shapes = (shape for slide in slides for shape in slide.shapes if shape.has_text_frame)
    return "\n".join(shape.text_frame.text for shape in shapes)


def _epub(data: bytes) -> str:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith(("html", "htm"))]
        return "\n".join(_html(archive.read(name)) for name in names)


_LIBRARIES: Final[dict[DocumentType, Callable[[bytes], Any]]] = {
    "docx": _docx,
    "epub": _epub,
    "html": _html,
    "markdown": lambda data: _MARKDOWN.parse(_text(data)),
    "pdf": _pdf,
    "pptx": _pptx,
    "rst": _rst,
    "text": _text,
}


def reader_shares(paths: Iterable[str]) -> list[str]:
    """Say of each type, and of all, what CPU time libraries alone and ragcore's readers take.

    Both take turns at each file, in this process; the first file of a type is read twice.

    Args:
        paths: of documents; those that a reader or a library refuses are left out.
    """
    alone: defaultdict[str, float] = defaultdict(float)
    readers: defaultdict[str, float] = defaultdict(float)
    for path in paths:
        data = Path(path).read_bytes()
        try:
            kind = type_of(path, data)
            if kind is None:
                continue
            library, reader = _LIBRARIES[kind], reader_of(kind)
            if kind not in alone:
                library(data)
                reader(data, Limits())
            started = process_time()
            library(data)
            between = process_time()
            reader(data, Limits())
            ended = process_time()
        except UnreadableError:
            continue
        alone[kind] += between - started
        readers[kind] += ended - between
    rows = [(kind, alone[kind], readers[kind]) for kind in sorted(alone)]
    rows.append(("all", sum(alone.values()), sum(readers.values())))
    return [
        f"{kind}: library {library:.2f} s, reader {reader:.2f} s, ratio {library / reader:.2f}"
        for kind, library, reader in rows
    ]
