"""PDFs that tests write line by line, and the blocks that are read of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragcore_documents.readers.limits import Limits
from ragcore_documents.readers.pdf import read_pdf

__all__ = [
    "FIRST",
    "LAKE",
    "LAKE_TEXT",
    "OUTLINES",
    "PAGES",
    "Placed",
    "RIVER",
    "RIVER_TEXT",
    "blocks",
    "content",
    "lines",
    "objects_of",
    "pdf",
    "stream",
    "written",
]


Placed = tuple[float, float, float, str]  # left, bottom, size, text
Block = tuple[int | None, str, str]

CATALOG, PAGES, FONT, INFO, OUTLINES, FIRST = 1, 2, 3, 4, 5, 6


def literal(text: str) -> bytes:
    return b"(" + re.sub(rb"([\\()])", rb"\\\1", text.encode("cp1252")) + b")"


def content(lines: Sequence[Placed]) -> bytes:
    operations = [
        b"BT /F1 %g Tf %g %g Td " % (size, left, bottom) + literal(text) + b" Tj ET"
        for left, bottom, size, text in lines
    ]
    return b"\n".join(operations)


def stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), more, data)


def written(objects: dict[int, bytes], trailer: bytes = b"") -> bytes:
    """Write objects with a table of where they are."""
    file = bytearray(b"%PDF-1.7\n")
    places = {}
    for number, body in objects.items():
        places[number] = len(file)
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(file)
    size = max(objects) + 1
    file += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        file += (
            b"%010d 00000 n \n" % places[number] if number in places else b"0000000000 65535 f \n"
        )
    file += b"trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R %s >>\n" % (
        size,
        CATALOG,
        INFO,
        trailer,
    )
    file += b"startxref\n%d\n%%%%EOF\n" % start
    return bytes(file)


def objects_of(
    pages: Sequence[Sequence[Placed] | bytes],
    *,
    outline: Sequence[tuple[int, str, int]] = (),
    info: bytes = b"",
) -> dict[int, bytes]:
    """Make the objects of a PDF.

    Args:
        pages: lines of each, or its content.
        outline: (level from 0, title, page from 1) of each entry, of at most two levels.
        info: entries of the document's information.
    """
    numbers = [FIRST + 2 * n for n in range(len(pages))]
    kids = b" ".join(b"%d 0 R" % number for number in numbers)
    objects = {
        CATALOG: b"<< /Type /Catalog /Pages %d 0 R /Outlines %d 0 R >>" % (PAGES, OUTLINES),
        PAGES: b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        FONT: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        INFO: b"<< %s >>" % info,
    }
    for number, page in zip(numbers, pages, strict=True):
        objects[number] = (
            b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 %d 0 R >> >> >>" % (PAGES, number + 1, FONT)
        )
        objects[number + 1] = stream(page if isinstance(page, bytes) else content(page))
    first = FIRST + 2 * len(pages)
    objects.update(outline_objects(outline, numbers, first))
    return objects


def outline_objects(
    outline: Sequence[tuple[int, str, int]], pages: Sequence[int], first: int
) -> dict[int, bytes]:
    parents: dict[int, int] = {}
    children: dict[int, list[int]] = {OUTLINES: []}
    above = {-1: OUTLINES}
    for index, (level, _, _) in enumerate(outline):
        number = first + index
        parents[number] = above[level - 1]
        children[parents[number]].append(number)
        children[number] = []
        above[level] = number
    objects = {}
    for number, inner in children.items():
        entry = b"<< "
        if inner:
            entry += b"/First %d 0 R /Last %d 0 R /Count %d " % (inner[0], inner[-1], len(inner))
        if number != OUTLINES:
            _, title, page = outline[number - first]
            siblings = children[parents[number]]
            at = siblings.index(number)
            entry += b"/Title %s /Dest [%d 0 R /Fit] /Parent %d 0 R " % (
                literal(title),
                pages[page - 1],
                parents[number],
            )
            if at + 1 < len(siblings):
                entry += b"/Next %d 0 R " % siblings[at + 1]
            if at:
                entry += b"/Prev %d 0 R " % siblings[at - 1]
        objects[number] = entry + b">>"
    return objects


def pdf(pages: Sequence[Sequence[Placed] | bytes], **more) -> bytes:
    return written(objects_of(pages, **more))


def lines(
    *texts: str, left: float = 72, top: float = 700, size: float = 10, leading: float = 12
) -> list[Placed]:
    return [(left, top - leading * n, size, text) for n, text in enumerate(texts) if text]


def blocks(data: bytes) -> list[Block]:
    document = read_pdf(data, Limits())
    return [(b.page, b.kind, document.text[b.start : b.end]) for b in document.blocks]


LAKE = [
    "Lake Chad lies in the far west of Chad and borders on the north-east of",
    "Nigeria. Its size changes with the rains, since it is shallow and has no",
    "outlet.",
]
RIVER = [
    "The river Chari brings nine tenths of its water. It rises in the Central",
    "African Republic and flows north.",
]
LAKE_TEXT = " ".join(LAKE)
RIVER_TEXT = " ".join(RIVER)
