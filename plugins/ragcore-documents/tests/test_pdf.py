"""PDFs are read page by page, with headings of their outline and without running headers."""

from __future__ import annotations

import logging
import random
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.pdf import read_pdf

from tests.helpers.pdf_writer import (
    FIRST,
    LAKE,
    LAKE_TEXT,
    OUTLINES,
    PAGES,
    RIVER,
    Placed,
    blocks,
    content,
    lines,
    objects_of,
    pdf,
    stream,
    written,
)


def chapter(number: int, header: str, footer: str) -> list[Placed]:
    return [
        (72, 760, 9, header),
        *lines(f"Text {number} begins here."),
        (300, 40, 9, footer),
    ]


def test_running_headers_and_numbers_of_pages_are_left_out() -> None:
    pages = [chapter(n, "Lakes of Africa", f"Page {n} of 6") for n in range(1, 7)]
    pages[3] = [(72, 749, 9, "Only here"), *pages[3]]
    text = [text for _, _, text in blocks(pdf(pages))]
    assert text == [
        "Text 1 begins here.",
        "Text 2 begins here.",
        "Text 3 begins here.",
        "Only here",
        "Text 4 begins here.",
        "Text 5 begins here.",
        "Text 6 begins here.",
    ]


def test_chapters_in_headers_are_left_out_with_the_pages_number() -> None:
    pages = [chapter(n, f"Chapter {n // 3}: Lakes {n + 12}", "") for n in range(1, 9)]
    pages[0] = [*lines("Text 1 begins here."), (300, 40, 9, "13")]
    assert [text for _, _, text in blocks(pdf(pages))] == [
        f"Text {n} begins here." for n in range(1, 9)
    ]


def test_headers_of_left_and_right_pages_differ() -> None:
    pages = [chapter(n, "Lakes" if n % 2 else "A. Author", "") for n in range(1, 13)]
    assert [text for _, _, text in blocks(pdf(pages))] == [
        f"Text {n} begins here." for n in range(1, 13)
    ]


def test_what_does_not_repeat_as_a_header_does_stays() -> None:
    few = [chapter(n, "Lakes of Africa", str(n)) for n in range(1, 5)]
    assert sum("Lakes of Africa" in text for _, _, text in blocks(pdf(few))) == 4
    half = [chapter(n, "Lakes" if n < 4 else f"Other {'abc'[n - 4]}", "") for n in range(1, 7)]
    assert sum("Lakes" in text for _, _, text in blocks(pdf(half))) == 3
    # Numbers that do not count the pages are data.
    measured = [chapter(n, f"Depth {n * n} m", "") for n in range(1, 9)]
    assert sum("Depth" in text for _, _, text in blocks(pdf(measured))) == 8


def test_headings_are_those_of_the_outline() -> None:
    pages = [
        [*lines("1 Lakes", top=730, size=16), *lines(*LAKE)],
        [
            *lines("1.1 Rivers that flow into", "Lake Chad", top=730, size=13, leading=15),
            *lines(*RIVER),
        ],
    ]
    outline = [(0, "Lakes", 1), (1, "1.1  Rivers that flow into Lake Chad", 2), (1, "Lost", 2)]
    document = read_pdf(pdf(pages, outline=outline), Limits())
    assert [(b.page, b.level, b.heading) for b in document.blocks] == [
        (1, 1, "1 Lakes"),
        (1, 0, ""),
        (2, 2, "1.1 Rivers that flow into Lake Chad"),
        (2, 0, ""),
    ]
    assert document.title == "1 Lakes"


def test_a_title_in_the_text_is_no_heading_where_a_larger_one_is() -> None:
    page = [*lines("Lake Chad", top=720, size=9), *lines("Lake Chad", top=690, size=14)]
    document = read_pdf(pdf([page], outline=[(0, "Lake Chad", 1)]), Limits())
    assert [(b.kind, b.level) for b in document.blocks] == [("paragraph", 0), ("heading", 1)]


def test_properties() -> None:
    info = (
        b"/Title (Microsoft Word - The lakes) /Author (A. Author) /Keywords (water, fish)"
        b"/CreationDate (D:20240301100000+01'00') /ModDate (nonsense) /Producer (x)"
    )
    document = read_pdf(pdf([lines(*LAKE)], info=info), Limits())
    assert document.title == "The lakes"
    assert document.metadata == {
        "author": "A. Author",
        "keywords": "water, fish",
        "created": "2024-03-01T10:00:00+01:00",
    }


def test_the_largest_text_of_the_first_page_is_the_title() -> None:
    page = [
        *lines("Lakes of the", "Sahel", top=740, size=20, leading=24),
        *lines(*LAKE, top=680),
    ]
    info = b"/Title (lakes-final2.doc)"
    assert read_pdf(pdf([page], info=info), Limits()).title == "Lakes of the Sahel"
    twice = [*page, *lines("Other", top=500, size=20)]
    assert read_pdf(pdf([twice]), Limits()).title == ""


def test_an_encrypted_file_is_told() -> None:
    data = written(
        objects_of([lines(*LAKE)]),
        b"/ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>"
        % (b"41" * 32, b"42" * 32),
    )
    with pytest.raises(UnreadableError, match=r"^encrypted: it opens only with a password"):
        read_pdf(data, Limits())


def test_a_file_without_text_is_empty_and_says_why(caplog) -> None:
    document = read_pdf(scanned([[]], 1), Limits())
    assert document.text == ""
    assert "images without text; recognise it (OCR)" in caplog.text
    document = read_pdf(pdf([[]]), Limits())
    assert (document.text, document.metadata) == ("", {})
    assert "its pages have no text" in caplog.text


def scanned(pages: Sequence[Sequence[Placed] | bytes], *numbers: int) -> bytes:
    """Write a PDF of which these pages, from 1, are images."""
    image = b"q 600 0 0 700 0 0 cm /I Do Q"
    objects = objects_of(
        [image if number in numbers else page for number, page in enumerate(pages, 1)]
    )
    for number in numbers:
        index = FIRST + 2 * (number - 1)
        objects[index] = objects[index].replace(b"/Font", b"/XObject << /I 99 0 R >> /Font")
    objects[99] = stream(
        bytes(3),
        b"/Type /XObject /Subtype /Image /Width 1 /Height 1 "
        b"/ColorSpace /DeviceRGB /BitsPerComponent 8",
    )
    return written(objects)


def test_pages_that_are_images_among_others_are_named(caplog) -> None:
    page = lines(*LAKE)
    document = read_pdf(scanned([page, page], 2), Limits())
    assert LAKE_TEXT in document.text
    assert caplog.messages == ["PDF: page 2 of 2 is an image without text: it needs OCR"]
    caplog.clear()
    # An empty page is no image.
    read_pdf(scanned([page, [], *[page] * 12], 3, 4), Limits())
    assert caplog.messages == ["PDF: pages 3, 4 of 14 are images without text: they need OCR"]
    caplog.clear()
    read_pdf(scanned([page] * 13, *range(2, 14)), Limits())
    assert "pages 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … of 13 are images" in caplog.text


def test_a_broken_table_of_objects_is_made_again() -> None:
    data = re.sub(rb"startxref\n\d+", b"startxref\n7", pdf([lines(*LAKE)]))
    assert blocks(data) == [(1, "paragraph", LAKE_TEXT)]
    cut = pdf([lines(*LAKE)]).partition(b"xref\n0")[0]
    assert blocks(cut + b"trailer << /Root 1 0 R >>") == [(1, "paragraph", LAKE_TEXT)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin with %PDF"),
        (b"<html></html>", "does not begin with %PDF"),
        (b"%PDF-1.7\n", "no page is found"),
        (pdf([lines(*LAKE)])[:300], "no page is found"),
        (pdf([]), "no page is found"),
    ],
)
def test_what_is_no_pdf_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_pdf(data, Limits())


def test_pages_that_cannot_be_read_are_a_warning(caplog) -> None:
    """As where the tree of pages has itself as a branch."""
    objects = objects_of([lines(*LAKE)])
    objects[PAGES] = b"<< /Type /Pages /Kids [2 0 R 6 0 R 2 0 R] /Count 3 >>"
    assert blocks(written(objects)) == [(1, "paragraph", LAKE_TEXT)]
    assert "2 of 3 pages cannot be read: 2, 3" in caplog.text
    objects[PAGES] = b"<< /Type /Pages /Kids [9 0 R 8 0 R] /Count 2 >>"
    with pytest.raises(UnreadableError, match=r"none of its 2 pages can be read|no page is found"):
        read_pdf(written(objects), Limits())


def test_limits_of_pages_and_characters() -> None:
    data = pdf([lines(*LAKE)] * 3)
    with pytest.raises(UnreadableError, match="3 pages by its own account, more than 2"):
        read_pdf(data, Limits(pages=2))
    with pytest.raises(UnreadableError, match="page 2: its text is longer than the limit"):
        read_pdf(data, Limits(characters=200))


def test_an_outline_that_goes_in_a_ring_ends() -> None:
    objects = objects_of([lines(*LAKE)])
    objects[OUTLINES] = b"<< /First 50 0 R >>"
    objects[50] = b"<< /Title (x) /Next 50 0 R /First 50 0 R /Dest [6 0 R /Fit] >>"
    assert blocks(written(objects)) == [(1, "paragraph", LAKE_TEXT)]


def test_a_bomb_of_spaces_is_an_empty_page() -> None:
    objects = objects_of([[]])
    packed = zlib.compress(zlib.compress(b" " * 50_000_000))
    objects[FIRST + 1] = stream(packed, b"/Filter [/FlateDecode /FlateDecode]")
    data = written(objects)
    assert len(data) < 2_000
    assert read_pdf(data, Limits()).text == ""


def test_forms_within_forms_are_bounded_by_the_text() -> None:
    objects = objects_of([b"/X0 Do"])
    for depth in range(5):
        inner = b"/X%d Do " % (depth + 1) * 10 if depth < 4 else content(lines(*LAKE))
        objects[100 + depth] = stream(
            inner,
            b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] "
            b"/Resources << /Font << /F1 3 0 R >> /XObject << /X%d %d 0 R >> >>"
            % (depth + 1, 101 + depth),
        )
    objects[FIRST] = objects[FIRST].replace(b"/Font", b"/XObject << /X0 100 0 R >> /Font")
    with pytest.raises(UnreadableError, match="page 1: its text is longer than the limit"):
        read_pdf(written(objects), Limits(characters=100_000))


def test_threads_wait_for_each_other() -> None:
    files = [pdf([lines(*LAKE, f"Number {n}.")] * 20) for n in range(8)]
    alone = [read_pdf(data, Limits()) for data in files]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda data: read_pdf(data, Limits()), files)) == alone


def test_mutated_files_are_read_or_refused(caplog) -> None:
    caplog.set_level(logging.CRITICAL)
    data = pdf([lines(*LAKE), lines(*RIVER)], outline=[(0, "Lake", 1)], info=b"/Title (The lake)")
    generator = random.Random(17)
    pieces = [b"", b"0", b"-1", b"9999999999", b"<<", b"[", b"R", b"null", b"6 0 R", b"\xff"]
    read = 0
    reasons = []
    for _ in range(400):
        mutated = bytearray(data)
        for _ in range(generator.randint(1, 12)):
            start = generator.randrange(len(mutated))
            mutated[start : start + generator.randrange(20)] = generator.choice(pieces)
        try:
            read_pdf(bytes(mutated), Limits())
            read += 1
        except UnreadableError as error:
            reasons.append(str(error))
    assert all(reasons)
    assert min(read, len(reasons)) > 5
