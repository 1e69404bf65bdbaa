"""What mammoth alone leaves out of Word documents is read, and what is hidden is not."""

from __future__ import annotations

import io

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls
from ragcore_documents.readers.docx import read_docx
from ragcore_documents.readers.limits import Limits

SPACES = (
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)


def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t xml:space='preserve'>{text}</w:t></w:r>"


def blocks(xml: str, styles: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Read a document whose body is this XML, with character styles of hidden text."""
    document = docx.Document()
    for name in styles:
        style = document.styles.add_style(name, WD_STYLE_TYPE.CHARACTER)
        style.element.get_or_add_rPr().append(OxmlElement("w:vanish"))
    body = parse_xml(f"<w:body {nsdecls('w', 'a', 'wp')} {SPACES}>{xml}</w:body>")
    for element in reversed(list(body)):
        document.element.body.insert(0, element)
    file = io.BytesIO()
    document.save(file)
    text = read_docx(file.getvalue(), Limits())
    return [
        (f"{block.kind}{block.level or ''}", text.text[block.start : block.end])
        for block in text.blocks
    ]


@pytest.mark.parametrize(
    ("inline", "text"),
    [
        ("<m:oMath><m:r><m:t>E=m</m:t></m:r></m:oMath>", "E=m"),
        (
            "<m:oMathPara><m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r>"
            "<m:t>2</m:t></m:r></m:den></m:f></m:oMath></m:oMathPara>",
            "(a+b)/2",
        ),
        (
            "<m:oMath><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r>"
            "</m:sup></m:sSup><m:d><m:e><m:rad><m:deg/><m:e><m:r><m:t>y</m:t></m:r></m:e></m:rad>"
            "</m:e></m:d></m:oMath>",
            "x^2(√y)",
        ),
        (
            "<m:oMath><m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub><m:r><m:t>i=1</m:t>"
            "</m:r></m:sub><m:sup><m:r><m:t>n</m:t></m:r></m:sup><m:e><m:r><m:t>i</m:t></m:r>"
            "</m:e></m:nary></m:oMath>",
            "∑_(i=1)^n i",
        ),
        (f"<w:fldSimple w:instr='SEQ Figure'>{run('7')}</w:fldSimple>", "7"),
        (f"<w:bdo w:val='rtl'>{run('a')}</w:bdo><w:dir w:val='ltr'>{run('b')}</w:dir>", "ab"),
        (f"<w:ins w:id='1'><w:fldSimple w:instr='x'>{run('a')}</w:fldSimple></w:ins>", "a"),
        (
            f"<w:r><w:ruby><w:rubyPr/><w:rt>{run('ji')}</w:rt><w:rubyBase>{run('字')}</w:rubyBase>"
            "</w:ruby></w:r>",
            "字(ji)",
        ),
        ("<w:r><w:t>a</w:t><w:cr/><w:t>b</w:t><w:ptab/><w:t>c</w:t></w:r>", "a\nb c"),
    ],
)
def test_inline_elements_keep_their_text(inline: str, text: str) -> None:
    xml = f"<w:p>{run('It is ')}{inline}{run('.')}</w:p>"
    assert blocks(xml) == [("paragraph", f"It is {text}.")]


def test_text_boxes_without_a_fallback_are_read() -> None:
    box = f"<w:txbxContent><w:p>{run('In a box.')}</w:p></w:txbxContent>"
    drawing = f"<w:drawing><wps:txbx>{box}</wps:txbx></w:drawing>"
    alternatives = (
        f"<mc:AlternateContent><mc:Choice Requires='wps'>{drawing}</mc:Choice>"
        "</mc:AlternateContent>"
    )
    for xml in (drawing, alternatives):
        assert blocks(f"<w:p>{run('Outside.')}<w:r>{xml}</w:r></w:p>") == [
            ("paragraph", "Outside."),
            ("paragraph", "In a box."),
        ]


def test_hidden_text_is_left_out() -> None:
    field = (
        "<w:r><w:rPr><w:vanish/></w:rPr><w:fldChar w:fldCharType='begin'/></w:r><w:r><w:rPr>"
        "<w:vanish/></w:rPr><w:instrText>XE x</w:instrText><w:fldChar w:fldCharType='end'/></w:r>"
    )
    xml = (
        f"<w:p>{run('no', '<w:vanish/>')}{field}"
        + run("Shown", '<w:vanish w:val="0"/>')
        + run("no", '<w:rStyle w:val="Secret"/>')
        + run(" too.", '<w:rStyle w:val="Secret"/><w:vanish w:val="false"/>')
        + "</w:p>"
    )
    assert blocks(xml, ("Secret",)) == [("paragraph", "Shown too.")]


def test_paragraphs_with_an_outline_level_are_headings() -> None:
    def paragraph(text: str, properties: str) -> str:
        return f"<w:p><w:pPr>{properties}</w:pPr>{run(text)}</w:p>"

    style = '<w:pStyle w:val="{}"/>'.format
    level = '<w:outlineLvl w:val="{}"/>'.format
    xml = (
        paragraph("A", level(0))
        + paragraph("B", style("BodyText") + level(2))
        + paragraph("C", style("Heading2") + level(0))
        + paragraph("D", level(9))
    )
    assert blocks(xml) == [
        ("heading1", "A"),
        ("heading3", "B"),
        ("heading2", "C"),
        ("paragraph", "D"),
    ]


def test_what_is_still_left_out_is_noted(caplog) -> None:
    xml = f"<w:p><w:unheard>{run('a')}</w:unheard><w:empty/>{run('b')}</w:p><w:altChunk/>"
    assert blocks(xml) == [("paragraph", "b")]
    assert caplog.messages == ["DOCX: left out: the text in altChunk, unheard"]
