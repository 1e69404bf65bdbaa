"""Presentations are read slide by slide."""

from __future__ import annotations

import io
import random
import zipfile
from datetime import datetime

import pytest
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.opc.package import Part
from pptx.opc.packuri import PackURI
from pptx.oxml.ns import qn
from pptx.util import Inches
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.pptx import read_pptx

TITLE, CONTENT, TITLE_ONLY, BLANK = 0, 1, 5, 6


def saved(deck) -> bytes:
    file = io.BytesIO()
    deck.save(file)
    return file.getvalue()


def slide(deck, layout: int = BLANK, title: str = ""):
    added = deck.slides.add_slide(deck.slide_layouts[layout])
    if title:
        added.shapes.title.text = title
    return added


def text_box(shapes, text: str, left: float, top: float) -> None:
    box = shapes.add_textbox(Inches(left), Inches(top), Inches(2), Inches(1))
    box.text_frame.text = text


def blocks(data: bytes, limits: Limits = Limits()) -> list[tuple[int | None, str, str]]:  # noqa: B008
    document = read_pptx(data, limits)
    return [(b.page, b.kind, document.text[b.start : b.end]) for b in document.blocks]


def replaced(data: bytes, name: str, change) -> bytes:
    """Return an archive with one member's bytes changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            target.writestr(info.filename, change(content) if info.filename == name else content)
    return file.getvalue()


def test_titles_lists_and_notes_of_slides() -> None:
    deck = Presentation()
    first = slide(deck, TITLE, "Lakes of Chad")
    first.placeholders[1].text = "A talk"
    second = slide(deck, CONTENT, "Lake  Chad\x0bToday")
    frame = second.placeholders[1].text_frame
    frame.text = "It shrinks"
    nested = frame.add_paragraph()
    nested.text, nested.level = "since 1963", 1
    frame.add_paragraph().text = "Four countries share it"
    second.notes_slide.notes_text_frame.text = "Show the map.\nAsk."
    third = slide(deck, CONTENT, "One")
    third.placeholders[1].text = "Alone"
    data = saved(deck)
    assert blocks(data) == [
        (1, "heading", "Lakes of Chad"),
        (1, "paragraph", "A talk"),
        (2, "heading", "Lake Chad Today"),
        (2, "list", "- It shrinks\n  - since 1963\n- Four countries share it"),
        (2, "paragraph", "Show the map."),
        (2, "paragraph", "Ask."),
        (3, "heading", "One"),
        (3, "paragraph", "Alone"),
    ]
    document = read_pptx(data, Limits())
    assert {block.level for block in document.blocks if block.kind == "heading"} == {1}
    assert document.title == "Lakes of Chad"  # PowerPoint's own "PowerPoint Presentation" is none


def test_shapes_come_by_position_not_by_when_they_were_drawn() -> None:
    deck = Presentation()
    added = slide(deck)
    text_box(added.shapes, "bottom", 1, 5)
    text_box(added.shapes, "top right", 5, 1.0)
    text_box(added.shapes, "top left", 1, 1.05)
    group = added.shapes.add_group_shape()
    text_box(group.shapes, "group, low", 1, 4)
    text_box(group.shapes, "group, high", 1, 3)
    inner = group.shapes.add_group_shape()
    text_box(inner.shapes, "inner", 3, 3.5)
    assert [text for _, _, text in blocks(saved(deck))] == [
        "Slide 1",
        "top left",
        "top right",
        "group, high",
        "inner",
        "group, low",
        "bottom",
    ]


def test_numbers_of_slides_are_left_out() -> None:
    deck = Presentation()
    added = slide(deck, TITLE_ONLY, "Title")
    text_box(added.shapes, "17", 1, 6)
    text_box(added.shapes, "Text", 1, 5)
    number = added.shapes[1]._element
    properties = number.nvSpPr.nvPr
    placeholder = properties.makeelement(qn("p:ph"), {"type": "sldNum", "idx": "12"})
    properties.append(placeholder)
    assert [text for _, _, text in blocks(saved(deck))] == ["Title", "Text"]


def test_tables_have_a_row_a_line() -> None:
    deck = Presentation()
    added = slide(deck, TITLE_ONLY, "Rivers")
    inches = (Inches(1), Inches(2), Inches(4), Inches(2))
    table = added.shapes.add_table(3, 2, *inches).table
    for row, cells in enumerate([("River", "Length\nkm"), ("Chari", "1400"), ("Total", "")]):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    table.cell(2, 0).merge(table.cell(2, 1))
    assert blocks(saved(deck))[1:] == [(1, "table", "River | Length km\nChari | 1400\nTotal")]


def chart_deck() -> bytes:
    deck = Presentation()
    data = CategoryChartData()
    data.categories = ["1963", "2001"]
    data.add_series("Area", (25000, 1350.5))
    data.add_series("Depth", (None, 7))
    added = slide(deck, TITLE_ONLY, "Shrinking")
    frame = (Inches(1), Inches(2), Inches(4), Inches(3))
    chart = added.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *frame, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Lake Chad"
    return saved(deck)


def test_charts_are_tables() -> None:
    assert blocks(chart_deck())[1:] == [
        (1, "paragraph", "Lake Chad"),
        (1, "table", "| Area | Depth\n1963 | 25000\n2001 | 1350.5 | 7"),
    ]


def test_a_chart_of_a_billion_points_is_left_out(caplog) -> None:
    data = chart_deck()
    name = next(n for n in zipfile.ZipFile(io.BytesIO(data)).namelist() if "/chart" in n)
    bomb = replaced(
        data, name, lambda xml: xml.replace(b'ptCount val="2"', b'ptCount val="1000000000"')
    )
    assert bomb != data
    assert blocks(bomb) == [(1, "heading", "Shrinking")]
    assert "a chart of more than 10000 points is left out" in caplog.text


DIAGRAM = "http://schemas.openxmlformats.org/drawingml/2006/diagram"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"


def test_the_texts_of_diagrams_are_lists(caplog) -> None:
    """SmartArt, whose texts are in a part of their own."""
    deck = Presentation()
    added = slide(deck, TITLE_ONLY, "Cycle")
    points = "".join(
        f"<dgm:pt><dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t></dgm:pt>"
        for text in ("Rain", "River", " ", "Lake")
    )
    data = f'<dgm:dataModel xmlns:dgm="{DIAGRAM}" xmlns:a="{DRAWING}">{points}</dgm:dataModel>'
    name = PackURI("/ppt/diagrams/data1.xml")
    kind = "application/vnd.openxmlformats-officedocument.drawingml.diagramData+xml"
    part = Part(name, kind, deck.part.package, data.encode())
    relation = added.part.relate_to(part, DIAGRAM.replace("drawingml", "officeDocument") + "Data")
    inches = (Inches(1), Inches(2), Inches(4), Inches(2))
    frame = added.shapes.add_table(1, 1, *inches)._element
    graphic = frame.graphic.graphicData
    graphic.set("uri", DIAGRAM)
    graphic.remove(graphic[0])
    reference = graphic.makeelement(f"{{{DIAGRAM}}}relIds", {})
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    reference.set(f"{{{relations}}}dm", relation)
    graphic.append(reference)
    assert blocks(saved(deck))[1:] == [(1, "list", "- Rain\n- River\n- Lake")]
    reference.set(f"{{{relations}}}dm", "rId99")
    assert blocks(saved(deck))[1:] == []
    assert "the data of a diagram are missing" in caplog.text


def test_an_untitled_slide_is_no_part_of_the_one_before() -> None:
    deck = Presentation()
    slide(deck, TITLE_ONLY, "Named")
    text_box(slide(deck).shapes, "free text", 1, 1)
    slide(deck)  # an empty one has no heading
    assert blocks(saved(deck)) == [
        (1, "heading", "Named"),
        (2, "heading", "Slide 2"),
        (2, "paragraph", "free text"),
    ]


def test_properties() -> None:
    deck = Presentation()
    slide(deck, TITLE, "First slide")
    deck.core_properties.title = "Annual  report"
    deck.core_properties.author = "A. Author"
    deck.core_properties.modified = datetime(2024, 3, 1, 10, 0)
    deck.core_properties.created = datetime(2024, 2, 1, 10, 0)
    deck.core_properties.last_modified_by = "nobody"
    document = read_pptx(saved(deck), Limits())
    assert document.title == "Annual report"
    assert document.metadata == {
        "author": "A. Author",
        "created": "2024-02-01T10:00:00Z",
        "modified": "2024-03-01T10:00:00Z",
    }


def test_an_empty_deck_is_an_empty_document() -> None:
    assert read_pptx(saved(Presentation()), Limits()).text == ""


def test_limits_of_slides_and_characters() -> None:
    deck = Presentation()
    for _ in range(3):
        slide(deck, TITLE_ONLY, "x" * 100)
    with pytest.raises(UnreadableError, match="3 slides, more than 2"):
        read_pptx(saved(deck), Limits(pages=2))
    with pytest.raises(UnreadableError, match="slide 3: the text is longer than 250 characters"):
        read_pptx(saved(deck), Limits(characters=250))


def test_groups_within_groups_are_bounded() -> None:
    deck = Presentation()
    shapes = slide(deck).shapes
    for _ in range(30):
        shapes = shapes.add_group_shape().shapes
    text_box(shapes, "deep", 1, 1)
    data = saved(deck)
    assert blocks(data)[-1][2] == "deep"
    with pytest.raises(UnreadableError, match="nested too deeply"):
        read_pptx(data, Limits(depth=20))


def test_a_document_type_is_refused() -> None:
    deck = Presentation()
    slide(deck, TITLE_ONLY, "Title")
    data = replaced(
        saved(deck),
        "ppt/slides/slide1.xml",
        lambda xml: xml.replace(b"?>", b'?><!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/x">]>', 1),
    )
    with pytest.raises(UnreadableError, match="declares a document type"):
        read_pptx(data, Limits())


def test_other_office_files_are_refused() -> None:
    data = replaced(
        saved(Presentation()),
        "[Content_Types].xml",
        lambda xml: xml.replace(b"presentationml.presentation.main", b"spreadsheetml.sheet.main"),
    )
    with pytest.raises(UnreadableError, match="no PPTX file"):
        read_pptx(data, Limits())


def test_mutated_decks_are_read_or_refused() -> None:
    data = chart_deck()
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    wanted = [
        name
        for name in names
        if name.endswith((".rels", "slide1.xml", "presentation.xml", "core.xml", "chart1.xml"))
        or "chart" in name
        or name == "[Content_Types].xml"
    ]
    generator = random.Random(17)

    def mutate(content: bytes) -> bytes:
        mutated = bytearray(content)
        for _ in range(generator.randint(1, 3)):
            start = generator.randrange(len(mutated))
            if generator.random() < 0.5:
                mutated[start] = generator.choice(b'<>/"=09azAZ&;: ')
            else:
                end = start + generator.randrange(40)
                other = generator.randrange(len(mutated))
                mutated[start:end] = mutated[other : other + generator.randrange(40)]
        return bytes(mutated)

    read = 0
    reasons = []
    for _ in range(60):
        try:
            read_pptx(replaced(data, generator.choice(wanted), mutate), Limits())
            read += 1
        except UnreadableError as error:
            reasons.append(str(error))
    assert all(reasons)
    assert min(read, len(reasons)) > 0


def test_columns_of_text_boxes_are_read_one_after_the_other() -> None:
    deck = Presentation()
    shapes = slide(deck).shapes
    box = shapes.add_textbox(Inches(1), Inches(0), Inches(7), Inches(0.8))
    box.text_frame.text = "over both"
    for row in range(3):
        text_box(shapes, f"left {row}", 1, 1 + 1.2 * row)
        # A little lower, as shapes are that were placed by hand.
        text_box(shapes, f"right {row}", 5, 1.4 + 1.2 * row)
    box = shapes.add_textbox(Inches(1), Inches(6), Inches(7), Inches(1))
    box.text_frame.text = "below both"
    # A single shape below two is no column.
    shapes = slide(deck).shapes
    for text, left, top in (("a", 1, 1), ("b", 5, 1), ("c", 1, 3)):
        text_box(shapes, text, left, top)
    assert [text for _, _, text in blocks(saved(deck))] == [
        *("Slide 1", "over both", "left 0", "left 1", "left 2"),
        *("right 0", "right 1", "right 2", "below both"),
        *("Slide 2", "a", "b", "c"),
    ]


def test_what_is_hidden_is_left_out() -> None:
    deck = Presentation()
    slide(deck, TITLE_ONLY, "Hidden").element.set("show", "0")
    shown = slide(deck, TITLE_ONLY, "Shown")
    text_box(shown.shapes, "hidden shape", 1, 3)
    shown.shapes[-1].element.nvSpPr.cNvPr.set("hidden", "1")
    assert blocks(saved(deck)) == [(2, "heading", "Shown")]
