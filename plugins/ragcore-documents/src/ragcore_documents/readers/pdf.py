"""PDF: the text of each page as paragraphs, with the outline's headings.

PDFium finds the characters and their lines; `pdf_layout` joins lines to paragraphs by where they
stand. A PDF has no structure that can be relied on: tables are lines, and a file that was scanned
has no text.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from ragcore.corpora.structure import DocumentText, TextBuilder
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.pdf_layout import (
    HYPHEN,
    Line,
    Outline,
    Words,
    common_gaps,
    find_headings,
    page_blocks,
    prominent_title,
)
from ragcore_documents.readers.pdf_running import drop_running
from ragcore_documents.readers.properties import pdf_date, property_title, short
from ragcore_documents.readers.titles import lone_heading

__all__ = ["read_pdf"]

_LOG: Final = logging.getLogger(__name__)

# PDFium has state of the whole process; calls from two threads at once crash it.
_PDFIUM: Final = threading.Lock()

_MOST_HEADINGS: Final = 20_000
_DEEPEST_OUTLINE: Final = 15
_MOST_PAGES: Final = 10

_LIGATURES: Final = {
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}
# PDFium marks hyphens at lines' ends by U+0002 or U+FFFE; other controls are no text.
_CLEAN: Final = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " "),
    **_LIGATURES,
    0x02: HYPHEN,
    0xAD: None,
}


def read_pdf(data: bytes, limits: Limits) -> DocumentText:
    """Read a PDF.

    Running headers and footers and page numbers are left out. Headings are those of the outline
    that are found on their pages. A file without text gives an empty document and a warning that
    says why; so do pages that are images among others with text.

    Args:
        data: of the file.
        limits: of its pages and text.

    Raises:
        UnreadableError: It is encrypted, damaged, or larger than the limits.
    """
    with _PDFIUM:
        document = _open(data)
        try:
            return _read(document, limits)
        finally:
            document.close()


def _open(data: bytes) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
            raise UnreadableError(
                "encrypted: it opens only with a password; save a copy without one"
            ) from error
        reason = "it does not begin with %PDF" if b"%PDF" not in data[:1024] else "no page is found"
        raise UnreadableError(
            f"damaged, or no PDF ({reason}); open it in a viewer and print it to a new PDF"
        ) from error


def _read(document: pdfium.PdfDocument, limits: Limits) -> DocumentText:
    count = len(document)
    if count > limits.pages:
        raise UnreadableError(
            f"it has {count:,} pages by its own account, more than {limits.pages:,}; split it"
        )
    pages: list[list[Line]] = []
    heights: list[float] = []
    unreadable = []
    images = []
    left = limits.characters
    for number in range(count):
        try:
            page = document[number]
        except pdfium.PdfiumError:
            unreadable.append(number + 1)
            pages.append([])
            heights.append(0.0)
            continue
        try:
            lines, height = _page_lines(page, left, number + 1)
            if not lines and _has_image(page):
                images.append(number + 1)
        finally:
            page.close()
        left -= sum(len(line.text) + 1 for line in lines)
        pages.append(lines)
        heights.append(height)
    if len(unreadable) == count:
        raise UnreadableError(
            f"damaged: none of its {count:,} pages can be read; open it in a viewer and print it "
            "to a new PDF"
        )
    if unreadable:
        shown = _numbers(unreadable)
        _LOG.warning("PDF: %d of %d pages cannot be read: %s", len(unreadable), count, shown)
    metadata = _metadata(document)
    title = property_title(metadata.pop("title", "")) or property_title(
        prominent_title(pages[0], pages).replace(HYPHEN, "")
    )
    if not any(pages):
        images_only = "its pages are images without text; recognise it (OCR) and read the result"
        _LOG.warning("PDF: %s", images_only if images else "its pages have no text")
        return TextBuilder().build(title, metadata)
    if images:
        _LOG.warning("PDF: %s", _without_text(images, count))
    pages = find_headings(drop_running(pages, heights), list(_outline(document)))
    gaps = common_gaps(pages)
    words = Words(pages)
    builder = TextBuilder()
    for number, lines in enumerate(pages, start=1):
        for block in page_blocks(lines, gaps, words):
            builder.add(block.kind, block.text, level=block.level, page=number)
    return builder.build(title or lone_heading(tuple(builder)), metadata)


def _page_lines(page: pdfium.PdfPage, left: int, number: int) -> tuple[list[Line], float]:
    """Return the lines of a page in reading order, and the page's height."""
    try:
        text_page = page.get_textpage()
    except pdfium.PdfiumError:
        _LOG.warning("PDF: page %d has no text that can be read", number)
        return [], 0.0
    try:
        if text_page.count_chars() > left:
            raise UnreadableError(f"page {number}: its text is longer than the limit; split it")
        return list(_lines(text_page)), page.get_height()
    finally:
        text_page.close()


def _lines(text_page: pdfium.PdfTextPage) -> Iterator[Line]:
    text = text_page.get_text_range()
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    loose = pdfium_c.FS_RECTF()
    start = 0
    for row in text.split("\r\n"):
        content = row.strip()
        if content:
            first_index = start + len(row) - len(row.lstrip())
            last_index = start + len(row.rstrip()) - 1
            first = pdfium_c.FPDFText_GetCharIndexFromTextIndex(text_page, first_index)
            last = pdfium_c.FPDFText_GetCharIndexFromTextIndex(text_page, last_index)
            pdfium_c.FPDFText_GetCharBox(text_page, first, left, right, bottom, top)
            from_left = left.value
            pdfium_c.FPDFText_GetCharBox(text_page, last, left, right, bottom, top)
            to_right = right.value
            # The loose box has the font's height, so that all characters of a line have its bottom.
            pdfium_c.FPDFText_GetLooseCharBox(text_page, first, loose)
            first_bottom = loose.bottom
            pdfium_c.FPDFText_GetLooseCharBox(text_page, last, loose)
            size = max(
                pdfium_c.FPDFText_GetFontSize(text_page, first),
                pdfium_c.FPDFText_GetFontSize(text_page, last),
            )
            cleaned = " ".join(content.translate(_CLEAN).split())
            if cleaned:
                yield Line(cleaned, from_left, to_right, first_bottom, loose.bottom, size)
        start += len(row) + 2


def _outline(document: pdfium.PdfDocument) -> Iterator[Outline]:
    for bookmark in islice(document.get_toc(max_depth=_DEEPEST_OUTLINE), _MOST_HEADINGS):
        title = short(bookmark.get_title())
        destination = bookmark.get_dest()
        page = destination.get_index() if destination is not None else None
        if title and page is not None:
            yield Outline(title, bookmark.level + 1, page)


def _metadata(document: pdfium.PdfDocument) -> dict[str, Any]:
    properties = {
        "title": document.get_metadata_value("Title"),
        "author": short(document.get_metadata_value("Author")),
        "subject": short(document.get_metadata_value("Subject")),
        "keywords": short(document.get_metadata_value("Keywords")),
        "created": pdf_date(document.get_metadata_value("CreationDate")),
        "modified": pdf_date(document.get_metadata_value("ModDate")),
    }
    return {name: value for name, value in properties.items() if value}


def _has_image(page: pdfium.PdfPage) -> bool:
    try:
        images = page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=2)
        return next(iter(images), None) is not None
    except pdfium.PdfiumError:
        return False


def _without_text(images: Sequence[int], count: int) -> str:
    """Name the pages that are images, such as the scanned ones of a file."""
    if len(images) == 1:
        return f"page {images[0]} of {count} is an image without text: it needs OCR"
    return f"pages {_numbers(images)} of {count} are images without text: they need OCR"


def _numbers(pages: Sequence[int]) -> str:
    return ", ".join(map(str, pages[:_MOST_PAGES])) + (", …" if len(pages) > _MOST_PAGES else "")
