"""Word documents are read by the meaning of their styles."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from datetime import datetime

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.shared import Inches
from ragcore_documents.readers.docx import read_docx
from ragcore_documents.readers.limits import Limits, UnreadableError

Block = tuple[str, int, str]


def saved(document) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def blocks(data: bytes) -> list[Block]:
    text = read_docx(data, Limits())
    return [(b.kind, b.level, text.text[b.start : b.end]) for b in text.blocks]


def changed(data: bytes, changes: dict[str, bytes | None], **edits) -> bytes:
    """Return an archive with members replaced, added or (None) removed, or edited by functions."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w") as target:
        members = {info.filename: source.read(info) for info in source.infolist()}
        members.update(changes)
        for name, content in members.items():
            if content is not None:
                edit = edits.get(name.rpartition("/")[2].partition(".")[0])
                target.writestr(name, edit(content) if edit else content)
    return file.getvalue()


def body(xml: str) -> bytes:
    """Make a document whose body is this XML, as Word writes it."""
    document = docx.Document()
    elements = parse_xml(f"<w:body {nsdecls('w', 'r', 'a', 'wp')} {EXTRA}>{xml}</w:body>")
    for element in reversed(list(elements)):
        document.element.body.insert(0, element)
    return saved(document)


EXTRA = (
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)


def png(width: int, height: int) -> bytes:
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress((b"\0" + bytes(width)) * height)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t xml:space='preserve'>{text}</w:t></w:r></w:p>"


def test_headings_paragraphs_and_lists() -> None:
    document = docx.Document()
    document.add_heading("Lakes", 1)
    document.add_paragraph("They are  wet.\nAnd cold.")
    document.add_heading("Chad", 2)
    document.add_paragraph("Nigeria", style="List Bullet")
    document.add_paragraph("Niger", style="List Bullet")
    document.add_heading("Deep", 9)
    document.add_paragraph("")
    document.add_paragraph("End.")
    assert blocks(saved(document)) == [
        ("heading", 1, "Lakes"),
        ("paragraph", 0, "They are wet.\nAnd cold."),
        ("heading", 2, "Chad"),
        ("list", 0, "- Nigeria\n- Niger"),
        ("heading", 6, "Deep"),
        ("paragraph", 0, "End."),
    ]


def test_a_title_is_above_the_headings() -> None:
    document = docx.Document()
    document.add_heading("The lakes of Africa", 0)
    document.add_paragraph("By A. Author", style="Subtitle")
    document.add_heading("Chad", 1)
    document.add_heading("Today", 2)
    data = saved(document)
    assert blocks(data) == [
        ("heading", 1, "The lakes of Africa"),
        ("paragraph", 0, "By A. Author"),
        ("heading", 2, "Chad"),
        ("heading", 3, "Today"),
    ]
    assert read_docx(data, Limits()).title == "The lakes of Africa"


def test_styles_derived_from_headings_are_headings() -> None:
    document = docx.Document()
    derived = document.styles.add_style("Kapitel", WD_STYLE_TYPE.PARAGRAPH)
    derived.base_style = document.styles["Heading 2"]
    outlined = document.styles.add_style("Own", WD_STYLE_TYPE.PARAGRAPH)
    properties = outlined.element.get_or_add_pPr()
    level = OxmlElement("w:outlineLvl")
    level.set(qn("w:val"), "2")
    properties.append(level)
    plain = document.styles.add_style("Plain", WD_STYLE_TYPE.PARAGRAPH)
    plain.base_style = outlined
    level = OxmlElement("w:outlineLvl")
    level.set(qn("w:val"), "9")
    plain.element.get_or_add_pPr().append(level)
    for text, style in (("A", derived), ("B", outlined), ("C", plain)):
        document.add_paragraph(text, style=style)
    assert blocks(saved(document)) == [
        ("heading", 2, "A"),
        ("heading", 3, "B"),
        ("paragraph", 0, "C"),
    ]


def test_styles_based_on_each_other_in_a_ring_end() -> None:
    document = docx.Document()
    first = document.styles.add_style("First", WD_STYLE_TYPE.PARAGRAPH)
    second = document.styles.add_style("Second", WD_STYLE_TYPE.PARAGRAPH)
    first.base_style, second.base_style = second, first
    document.add_paragraph("Text", style=first)
    assert blocks(saved(document)) == [("paragraph", 0, "Text")]


def test_contents_are_left_out_and_code_is_kept() -> None:
    document = docx.Document()
    document.styles.add_style("toc 1", WD_STYLE_TYPE.PARAGRAPH)
    document.styles.add_style("HTML Preformatted", WD_STYLE_TYPE.PARAGRAPH)
    document.add_paragraph("Lakes\t1", style="toc 1")
    document.add_paragraph("if x:", style="HTML Preformatted")
    document.add_paragraph("    y()", style="HTML Preformatted")
    document.add_paragraph("End.")
    assert blocks(saved(document)) == [
        ("code", 0, "if x:\n    y()"),
        ("paragraph", 0, "End."),
    ]


def test_tables_have_a_row_a_line() -> None:
    document = docx.Document()
    table = document.add_table(3, 3)
    for row, cells in enumerate([("River", "km", "Flows"), ("Chari", "1400", "Chad"), "abc"]):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    table.cell(2, 1).merge(table.cell(2, 2)).text = "b"
    assert blocks(saved(document)) == [
        ("table", 0, "River | km | Flows\nChari | 1400 | Chad\na | b")
    ]


def test_the_text_of_tables_within_tables_is_read() -> None:
    document = docx.Document()
    outer = document.add_table(1, 2)
    outer.cell(0, 0).text = "outer"
    inner = outer.cell(0, 1).add_table(1, 2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "x", "y"
    text = read_docx(saved(document), Limits()).text
    assert text.split("\n\n") == ["outer", "x | y"]


def test_tracked_changes_are_as_if_accepted() -> None:
    data = body(
        "<w:p><w:r><w:t xml:space='preserve'>The lake is </w:t></w:r>"
        "<w:del w:id='1' w:author='x'><w:r><w:delText>dry</w:delText></w:r></w:del>"
        "<w:ins w:id='2' w:author='x'><w:r><w:t>wet</w:t></w:r></w:ins>"
        "<w:moveFrom w:id='3' w:author='x'><w:r><w:t> moved</w:t></w:r></w:moveFrom>"
        "<w:r><w:t>.</w:t></w:r></w:p>"
        "<w:p><w:moveTo w:id='4' w:author='x'><w:r><w:t>Moved</w:t></w:r></w:moveTo></w:p>"
    )
    assert blocks(data) == [("paragraph", 0, "The lake is wet."), ("paragraph", 0, "Moved")]


def test_text_boxes_are_read_once() -> None:
    box = f"<w:txbxContent>{paragraph('In a box.')}</w:txbxContent>"
    data = body(
        "<w:p><w:r><mc:AlternateContent><mc:Choice Requires='wps'><w:drawing><wps:txbx>"
        f"{box}</wps:txbx></w:drawing></mc:Choice><mc:Fallback><w:pict><v:shape><v:textbox>{box}"
        "</v:textbox></v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
        "<w:r><w:t>Outside.</w:t></w:r></w:p>"
    )
    assert blocks(data) == [("paragraph", 0, "Outside."), ("paragraph", 0, "In a box.")]


def test_footnotes_are_a_list_at_the_end() -> None:
    data = body(
        "<w:p><w:r><w:t>A lake</w:t></w:r><w:r><w:footnoteReference w:id='7'/></w:r></w:p>"
        + paragraph("More.")
    )
    notes = (
        f"<w:footnotes {nsdecls('w')}><w:footnote w:id='7'>{paragraph('In Chad.')}</w:footnote>"
        "</w:footnotes>"
    )
    data = changed(data, {"word/footnotes.xml": notes.encode()})
    assert blocks(data) == [
        ("paragraph", 0, "A lake[1]"),
        ("paragraph", 0, "More."),
        ("list", 0, "1. In Chad."),
    ]


def test_properties() -> None:
    document = docx.Document()
    document.add_paragraph("Text")
    properties = document.core_properties
    properties.title, properties.author = "Microsoft Word - Lakes", "A. Author"
    properties.keywords, properties.language = "water, land", "en-GB"
    properties.created, properties.modified = datetime(2024, 2, 1), datetime(2024, 3, 1, 10)
    text = read_docx(saved(document), Limits())
    assert text.title == "Lakes"
    assert text.metadata == {
        "author": "A. Author",
        "created": "2024-02-01T00:00:00Z",
        "keywords": "water, land",
        "language": "en-GB",
        "modified": "2024-03-01T10:00:00Z",
    }
    wrong = changed(
        saved(document), {}, core=lambda xml: xml.replace(b"2024-03-01T10:00:00Z", b"last week")
    )
    assert "modified" not in read_docx(wrong, Limits()).metadata
    properties.title = "lakes-final.doc"
    assert read_docx(saved(document), Limits()).title == ""


def test_pictures_are_not_unpacked_into_the_text() -> None:
    document = docx.Document()
    picture = png(1, 1)
    document.add_picture(io.BytesIO(picture), width=Inches(1))
    document.add_paragraph("Text")
    assert blocks(saved(document)) == [("paragraph", 0, "Text")]


def test_a_style_map_within_the_file_is_not_followed() -> None:
    """Mammoth would follow it, and leave out every paragraph."""
    document = docx.Document()
    document.add_paragraph("Text")
    data = changed(saved(document), {"mammoth/style-map": b"p => !"})
    assert blocks(data) == [("paragraph", 0, "Text")]


def test_linked_pictures_open_no_file() -> None:
    data = body(
        "<w:p><w:r><w:drawing><wp:inline><a:graphic><a:graphicData>"
        '<pic:pic xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture">'
        "<pic:blipFill><a:blip r:link='rId99'/></pic:blipFill></pic:pic></a:graphicData>"
        "</a:graphic></wp:inline></w:drawing></w:r><w:r><w:t>Text</w:t></w:r></w:p>"
    )

    def link(xml: bytes) -> bytes:
        return xml.replace(
            b"</Relationships>",
            b'<Relationship Id="rId99" Target="file:///etc/hostname" TargetMode="External" '
            b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image"/>'
            b"</Relationships>",
        )

    assert blocks(changed(data, {}, document=lambda xml: link(xml))) == [("paragraph", 0, "Text")]


def test_a_document_without_text_is_empty() -> None:
    assert read_docx(saved(docx.Document()), Limits()).text == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted with a password, or in the"),
        (b"PK\x03\x04", "no DOCX file"),
        (changed(saved(docx.Document()), {"word/document.xml": None}), "no DOCX file"),
        (
            changed(saved(docx.Document()), {"word/document.xml": b"<!DOCTYPE a><a/>"}),
            "'word/document.xml' declares a document type",
        ),
        (changed(saved(docx.Document()), {"word/document.xml": b"<a>"}), "damaged: no XML"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_docx(data, Limits())


@pytest.mark.parametrize("depth", [250, 200_000])
def test_deep_elements_are_refused(depth: int) -> None:
    deep = b"<w:customXml>" * depth + b"</w:customXml>" * depth
    data = changed(
        saved(docx.Document()),
        {},
        document=lambda xml: xml.replace(b"<w:body>", b"<w:body>" + deep),
    )
    with pytest.raises(UnreadableError, match="nested more than 200 deep"):
        read_docx(data, Limits())


def test_a_cell_that_spans_a_billion_columns_is_one_cell() -> None:
    wide = "<w:tcPr><w:gridSpan w:val='1000000000'/><w:vMerge w:val='restart'/></w:tcPr>"
    data = body(
        f"<w:tbl><w:tr><w:tc>{wide}{paragraph('a')}</w:tc><w:tc>{paragraph('b')}</w:tc></w:tr>"
        f"<w:tr><w:tc>{paragraph('c')}</w:tc></w:tr></w:tbl>"
    )
    assert blocks(data) == [("table", 0, "a | b\nc")]


def test_limits() -> None:
    document = docx.Document()
    for _ in range(20):
        document.add_paragraph("word " * 100)
    data = saved(document)
    with pytest.raises(UnreadableError, match="text"):
        read_docx(data, Limits(characters=1_000))
    with pytest.raises(UnreadableError, match="unpacks to"):
        read_docx(data, Limits(unpacked=1_000))


def test_mutated_documents_are_read_or_refused() -> None:
    document = docx.Document()
    document.add_heading("Lakes", 0)
    document.add_paragraph("x", style="List Number")
    document.add_table(2, 2).cell(0, 0).text = "cell"
    data = saved(document)
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    wanted = [name for name in members if name.endswith((".rels", "document.xml", "core.xml"))] + [
        "[Content_Types].xml",
        "word/numbering.xml",
    ]
    generator = random.Random(17)
    read = 0
    reasons = []
    for _ in range(80):
        name = generator.choice(wanted)
        mutated = bytearray(members[name])
        for _ in range(generator.randint(1, 3)):
            start = generator.randrange(len(mutated))
            mutated[start : start + generator.randrange(30)] = generator.choice(
                [b"", b"1", b"w:", b"<", b"/>", b"-1"]
            )
            mutated += b" "
        try:
            read_docx(changed(data, {name: bytes(mutated)}), Limits())
            read += 1
        except UnreadableError as error:
            reasons.append(str(error))
    assert all(reasons)
    assert min(read, len(reasons)) > 5
