"""DOCX: Word's documents, through mammoth's HTML.

Headings are told by the names and outline levels of styles, so that styles derived from Word's own
count. Tracked changes are as if accepted: insertions are in, deletions out. Hidden text is out.
"""

from __future__ import annotations

import io
import logging
import re
import zipfile
from collections.abc import Iterable
from typing import Any, Final
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

import mammoth
from mammoth import documents, transforms

from ragcore.corpora.structure import DocumentText, TextBuilder
from ragcore_documents.readers.archives import Archive, check_elements, refusing
from ragcore_documents.readers.docx_markup import (
    OUTLINE_STYLE,
    attribute,
    is_on,
    local_name,
    simplified,
    with_text,
)
from ragcore_documents.readers.html import html_blocks
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.properties import office_properties, property_title
from ragcore_documents.readers.titles import lone_heading

__all__ = ["read_docx"]

_LOG: Final = logging.getLogger(__name__)

_STYLES: Final = re.compile(r"(?:.*/)?styles\d*\.xml", re.IGNORECASE)
_XML: Final = (".xml", ".rels")
_MOST_ELEMENTS: Final = 1_000_000  # mammoth takes about a kilobyte for each
_WORD: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TITLE: Final = 0  # the level of a document's title, above its headings
_DEEPEST: Final = 6  # level that HTML has
_LONGEST_CHAIN: Final = 20  # of styles that are based on each other

_HEADING_STYLE: Final = "ragcore heading {}"
_STYLE_MAP: Final = "\n".join(
    [
        *(f"p[style-name='{_HEADING_STYLE.format(n)}'] => h{n}:fresh" for n in range(1, 7)),
        "p[style-name='ragcore code'] => pre:separator('\\n')",
        "p[style-name='ragcore contents'] => !",
    ]
)
_HEADING_NAME: Final = re.compile(r"heading ([1-9])", re.IGNORECASE)
_CONTENTS_NAME: Final = re.compile(r"toc (?:[1-9]|heading)|contents (?:[1-9]|heading)", re.I)
_CODE_NAME: Final = re.compile(
    r"html preformatted|source code|code|code block|preformatted text|macro text", re.IGNORECASE
)
_UNKNOWN: Final = re.compile(r"unrecognised element was ignored: \S*?(\w+)$")
_TEXTS: Final = re.compile(r"(?:.*/)?(?:document|footnotes|endnotes)\d*\.xml", re.IGNORECASE)
# From a note back to where it is referred to.
_BACK_LINK: Final = re.compile(r' ?<a href="#(?:foot|end)note-ref-[^"]*">↑</a>')


def read_docx(data: bytes, limits: Limits) -> DocumentText:
    """Read a Word document.

    Page headers, footers, comments and tables of contents are left out; footnotes and endnotes are
    a list at the end.

    Args:
        data: of the file.
        limits: of what is unpacked and of the text.

    Raises:
        UnreadableError: It is encrypted, damaged, or larger than the limits.
    """
    archive = Archive(data, limits, "DOCX")
    archive.refuse_document_types()
    metadata: dict[str, Any] = dict(office_properties(archive))
    styles = _Styles(archive)
    with refusing("DOCX"):
        result = mammoth.convert_to_html(
            _slim(archive, styles, limits),
            style_map=_STYLE_MAP,
            include_embedded_style_map=False,  # which could leave out whatever it names
            external_file_access=False,
            convert_image=lambda _: [],
            transform_document=styles.rename,
        )
        html = result.value
    _note_left_out(archive, (message.message for message in result.messages))
    if len(html) > 10 * limits.characters:
        raise UnreadableError("its text is longer than the limit; split it")
    builder = TextBuilder()
    html_blocks(_BACK_LINK.sub("", html), builder, limits)
    title = (
        metadata.pop("title", "") or property_title(styles.title) or lone_heading(tuple(builder))
    )
    return builder.build(title, metadata)


def _slim(archive: Archive, styles: _Styles, limits: Limits) -> io.BytesIO:
    """Return the document without pictures and without what its styles look like.

    Mammoth would spend most of its time on a short document's styles.
    """
    file = io.BytesIO()
    elements = _MOST_ELEMENTS
    with zipfile.ZipFile(file, "w") as slim:
        for name in archive.names:
            if name == styles.name:
                slim.writestr(name, styles.slim())
            elif name.lower().endswith(_XML):
                content = archive.read(name)
                elements -= check_elements(content, name, depth=limits.depth, elements=elements)
                slim.writestr(name, simplified(content, name, styles))
    file.seek(0)
    return file


def _note_left_out(archive: Archive, messages: Iterable[str]) -> None:
    """Log the elements with text that mammoth left out."""
    names = {match[1] for match in map(_UNKNOWN.search, messages) if match}
    if not names:
        return
    left_out: set[str] = set()
    for name in archive.names:
        if _TEXTS.fullmatch(name):
            left_out |= with_text(archive.xml(name), names)
    if left_out:
        _LOG.warning("DOCX: left out: the text in %s", ", ".join(sorted(left_out)[:10]))


class _Styles:
    """The styles of a document, by what they mean.

    Args:
        archive: of the document.
    """

    def __init__(self, archive: Archive) -> None:
        self._names: dict[str, str] = {}
        self._parents: dict[str, str] = {}
        self._outline: dict[str, int] = {}
        self.title = ""
        self._kinds: dict[str, str] = {}
        self._lists: dict[str, str] = {}
        self._hidden: dict[str, bool] = {}
        self.name = next(filter(_STYLES.fullmatch, archive.names), None)
        if self.name is not None:
            for style in archive.xml(self.name):
                self._add(style)
        self.hides = any(self._hidden.values())
        self._outline |= {OUTLINE_STYLE.format(level): level for level in range(1, 10)}

    def is_hidden(self, identifier: str) -> bool:
        """Return whether text in a style is hidden."""
        for _ in range(_LONGEST_CHAIN):
            if identifier in self._hidden or identifier not in self._parents:
                break
            identifier = self._parents[identifier]
        return self._hidden.get(identifier, False)

    def is_plain(self, identifier: str) -> bool:
        """Return whether a style is none of headings, contents or code."""
        name = self._names.get(identifier, "")
        return not (
            self._level(identifier) is not None
            or _CONTENTS_NAME.fullmatch(name)
            or _CODE_NAME.fullmatch(name)
        )

    def slim(self) -> str:
        """Return the styles' names alone, and the lists of those of lists, as XML."""
        styles = "".join(
            f"<w:style w:type={quoteattr(kind)} w:styleId={quoteattr(identifier)}>"
            f"<w:name w:val={quoteattr(self._names[identifier])}/>{self._lists.get(identifier, '')}"
            "</w:style>"
            for identifier, kind in self._kinds.items()
        )
        return f'<w:styles xmlns:w="{_WORD}">{styles}</w:styles>'

    def _add(self, style: Element) -> None:
        identifier = attribute(style, "styleId")
        if local_name(style) != "style" or not identifier or identifier in self._names:
            return
        self._names[identifier] = ""
        self._kinds[identifier] = attribute(style, "type")
        for element in style:
            tag = local_name(element)
            if tag == "name":
                self._names[identifier] = attribute(element, "val").strip()
            elif tag == "basedOn":
                self._parents[identifier] = attribute(element, "val")
            elif tag == "rPr":
                for setting in element:
                    if local_name(setting) == "vanish":
                        self._hidden[identifier] = is_on(setting)
            elif tag == "pPr":
                for setting in element:
                    if (
                        local_name(setting) == "outlineLvl"
                        and attribute(setting, "val").isdecimal()
                    ):
                        self._outline[identifier] = int(attribute(setting, "val")) + 1
                    for number in setting if local_name(setting) == "numPr" else ():
                        if local_name(number) == "numId":
                            self._lists[identifier] = (
                                "<w:pPr><w:numPr><w:numId "
                                f"w:val={quoteattr(attribute(number, 'val'))}/></w:numPr></w:pPr>"
                            )

    def _level(self, identifier: str) -> int | None:
        """Return the level of a style's headings, `_TITLE` for a title, None for other styles."""
        for _ in range(_LONGEST_CHAIN):
            name = self._names.get(identifier, "")
            if name.lower() == "title":
                return _TITLE
            if match := _HEADING_NAME.fullmatch(name):
                return int(match.group(1))
            if identifier in self._outline:
                level = self._outline[identifier]
                return level if level <= 9 else None  # 10 is that of the body
            if identifier not in self._parents:
                return None
            identifier = self._parents[identifier]
        return None

    def rename(self, document: documents.Document) -> documents.Document:
        """Return mammoth's document with the styles' names that the style map has.

        Args:
            document: as mammoth reads it.
        """
        paragraphs = transforms.get_descendants_of_type(document, documents.Paragraph)
        titles = (
            _text(paragraph)
            for paragraph in paragraphs
            if self._level(paragraph.style_id or "") == _TITLE
        )
        self.title = next((title for title in titles if title), "")
        below_title = 1 if self.title else 0

        def rename(paragraph: documents.Paragraph) -> documents.Paragraph:
            identifier = paragraph.style_id or ""
            name = self._names.get(identifier, "")
            level = self._level(identifier)
            if _CONTENTS_NAME.fullmatch(name):
                style = "ragcore contents"
            elif _CODE_NAME.fullmatch(name):
                style = "ragcore code"
            elif level is not None:
                style = _HEADING_STYLE.format(min(_DEEPEST, level + below_title))
            else:
                return paragraph
            return paragraph.copy(style_id=None, style_name=style, numbering=None)

        renamed: documents.Document = transforms.paragraph(rename)(document)
        return renamed


def _text(paragraph: documents.Paragraph) -> str:
    texts = transforms.get_descendants_of_type(paragraph, documents.Text)
    return " ".join("".join(text.value for text in texts).split())
