"""Read reStructuredText with docutils, also where it is written for Sphinx.

Directives that open files, raw HTML and configuration files are off. Directives and roles that
docutils does not know keep their text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from docutils import nodes
from docutils.core import publish_doctree

from ragcore.corpora.structure import DocumentText, TextBuilder
from ragcore_documents.readers.encoding import check_length, decode
from ragcore_documents.readers.html_events import Events
from ragcore_documents.readers.limits import Limits
from ragcore_documents.readers.rst_markup import sphinx_markup
from ragcore_documents.readers.text import plain_text
from ragcore_documents.readers.titles import lone_heading, sensible_title

__all__ = ["read_rst"]

_logger = logging.getLogger(__name__)

_SETTINGS: Final = {
    "_disable_config": True,
    "docinfo_xform": False,
    "doctitle_xform": False,
    "file_insertion_enabled": False,
    "halt_level": 6,
    "input_encoding": "unicode",
    "raw_enabled": False,
    "report_level": 5,
    "smart_quotes": False,
    "syntax_highlight": "none",
    # Raise exceptions, instead of ending the program.
    "traceback": True,
    "warning_stream": False,
}
# docutils gives up a text that has a longer line.
_LONGEST_LINE: Final = 10_000
# Its time for inline markup is quadratic in a paragraph's length.
_LONGEST_PARAGRAPH: Final = 200_000
# Characters that substitutions may make of a text; nested ones would make billions.
_GROWTH: Final = 20_000_000
_SUBSTITUTION: Final = re.compile(
    r"^[ \t]*\.\.[ ]+\|[^|\n]+\|[ ]+\S+::[^\n]*(?:\n[ \t]+[^\n]*)*", re.MULTILINE
)
_CODING: Final = re.compile(rb"^[^\n]*\n?[^\n]*?coding[:=]\s*([\w.-]{1,40})")
_METADATA: Final = frozenset(
    ("address", "author", "authors", "contact", "copyright", "date", "organization", "revision",
     "status", "version")
)  # fmt: skip
# Settings of Sphinx for the page.
_SETTINGS_FIELDS: Final = frozenset(("nocomments", "nosearch", "orphan", "tocdepth"))
_LONG_VALUE: Final = 2_000
# Lines among which a node's text is looked for.
_FURTHEST: Final = 1_000
_LEFT_OUT: Final = (
    nodes.comment,
    nodes.decoration,
    nodes.meta,
    nodes.pending,
    nodes.raw,
    nodes.substitution_definition,
)
_TAGS: Final[dict[type[nodes.Node], str]] = {
    nodes.bullet_list: "ul",
    nodes.classifier: "dt",
    nodes.definition: "dd",
    nodes.definition_list: "dl",
    nodes.description: "dd",
    nodes.doctest_block: "pre",
    nodes.entry: "td",
    nodes.enumerated_list: "ol",
    nodes.field_body: "dd",
    nodes.field_list: "dl",
    nodes.field_name: "dt",
    nodes.list_item: "li",
    nodes.literal_block: "pre",
    nodes.math_block: "pre",
    nodes.option_group: "dt",
    nodes.option_list: "dl",
    nodes.row: "tr",
    nodes.table: "table",
    nodes.term: "dt",
}


def read_rst(data: bytes, limits: Limits) -> DocumentText:
    """Read a file of reStructuredText; blocks have the lines at which they start.

    A file that docutils cannot parse is read as plain text, with a warning in the log.

    Args:
        data: of the file.
        limits: of its text.

    Raises:
        UnreadableError: if the file is no text, in no known encoding, or too large.
    """
    coding = _CODING.match(data[:400])
    text = decode(data, coding[1].decode("ascii") if coding else "")
    check_length(len(text), limits.characters)
    problem = _problem(text)
    if not problem:
        try:
            with sphinx_markup():
                document = publish_doctree(text, settings_overrides=dict(_SETTINGS))
        except RecursionError:
            problem = "its markup is nested too deeply"
        except Exception as error:  # docutils raises many kinds for broken markup
            problem = f"docutils fails ({type(error).__name__}: {error})"[:200]
    if problem:
        _logger.warning("reStructuredText is read as plain text, since %s", problem)
        return plain_text(text, limits)
    return _Reading(text, document, limits).read()


def _problem(text: str) -> str:
    """Return why a text is not given to docutils, or ""."""
    paragraph = position = 0
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        if end - position > _LONGEST_LINE:
            return f"it has a line of {end - position:,} characters"
        paragraph = paragraph + end - position if text[position:end].strip() else 0
        if paragraph > _LONGEST_PARAGRAPH:
            return f"it has a paragraph of more than {_LONGEST_PARAGRAPH:,} characters"
        position = end + 1
    definitions = _SUBSTITUTION.findall(text)
    if definitions:
        nested = sum(definition.count("|") // 2 - 1 for definition in definitions)
        # So many references in definitions expand to at most 3 ** (nested / 3) of them.
        uses = text.count("|") // 2 * 3 ** min(nested // 3 + 1 if nested else 0, 50)
        if uses * max(map(len, definitions)) > _GROWTH:
            return "its substitutions would grow beyond bounds"
    return ""


class _Reading:
    """Walks a document's tree and plays it to the events that make blocks of HTML."""

    def __init__(self, text: str, document: nodes.document, limits: Limits) -> None:
        self._document = document
        self._limits = limits
        self._lines = text.split("\n")
        self._line = 0
        self._depth = 0
        self._events = Events(limits)
        self._events.line = 1

    def read(self) -> DocumentText:
        metadata = self._metadata()
        self._walk()
        self._events.finish()
        builder = TextBuilder()
        check_length(sum(len(item.text) for item in self._events.items), self._limits.characters)
        for item in self._events.items:
            builder.add(item.kind, item.text, level=item.level, line=item.line)
        title = sensible_title(self._document.get("title", "")) or lone_heading(tuple(builder))
        return builder.build(title, metadata)

    def _metadata(self) -> dict[str, Any]:
        """Take the bibliographic fields from the document's start."""
        metadata: dict[str, Any] = {}
        fields = _first_fields(self._document)
        if fields is None:
            return metadata
        for field in list(fields.children):
            name = field[0].astext().strip().lower()
            if name in _SETTINGS_FIELDS:
                fields.remove(field)
            elif name in _METADATA:
                metadata[name] = " ".join(field[1].astext().split())[:_LONG_VALUE]
                fields.remove(field)
        if not fields.children and fields.parent is not None:
            fields.parent.remove(fields)
        return metadata

    def _walk(self) -> None:
        """Visit all nodes in order, without recursion."""
        waiting: list[_Visit] = []
        self._enter(waiting, self._document)
        while waiting:
            visit = waiting[-1]
            child = next(visit.children, None)
            if child is not None:
                self._enter(waiting, child)
                continue
            waiting.pop()
            if visit.end.startswith("]"):
                self._events.characters(visit.end)
            elif visit.end:
                self._events.end_element(visit.end)
            self._depth -= isinstance(visit.node, nodes.section)

    def _enter(self, waiting: list[_Visit], node: nodes.Node) -> None:
        if isinstance(node, nodes.Text):
            self._events.characters(node.astext())
        elif isinstance(node, nodes.system_message):
            self._keep_source(node)
        elif isinstance(node, nodes.Element) and not _is_left_out(node):
            self._depth += isinstance(node, nodes.section)
            end = self._start(node)
            children = () if isinstance(node, nodes.option_group) else node.children
            waiting.append(_Visit(node, iter(children), end))

    def _keep_source(self, message: nodes.system_message) -> None:
        """Read the source of what could not be parsed as a paragraph."""
        if message.get("level", 0) < 3:
            return
        for block in message.children:
            if isinstance(block, nodes.literal_block):
                self._begin("p", block)
                self._events.characters(block.astext())
                self._events.end_element("p")

    def _start(self, node: nodes.Element) -> str:
        """Begin an element; return the tag, or the text, that ends it."""
        events = self._events
        if isinstance(node, nodes.title) and isinstance(node.parent, nodes.section):
            return self._begin(f"h{min(self._depth, 6)}", node)
        if isinstance(node, nodes.image):
            if node.line and isinstance(node.parent, nodes.figure | nodes.section | nodes.document):
                events.line = node.line
            return self._begin("img", node, (("alt", node.get("alt")),))
        if isinstance(node, nodes.line):
            if node.parent is not None and node.parent.children[0] is not node:
                self._begin("br", node)
                events.end_element("br")
            return ""
        if isinstance(node, nodes.label):
            events.line = self._line_of(node)
            events.characters("[")
            return "] "
        if isinstance(node, nodes.footnote_reference | nodes.citation_reference):
            events.characters("[")
            return "]"
        if isinstance(node, nodes.superscript):
            return self._begin("sup", node)
        if isinstance(node, nodes.Inline):
            return ""
        if _continues(node):
            events.line = self._line_of(node)
            return ""
        tag = _TAGS.get(type(node))
        if tag is None:
            self._begin(tag := "p" if isinstance(node, nodes.TextElement) else "div", node)
            if isinstance(node, nodes.Admonition) and not isinstance(node, nodes.admonition):
                events.characters(f"{type(node).__name__.title()}: ")
            return tag
        if tag == "ol":
            return self._begin(tag, node, (("start", str(node.get("start", 1))),))
        if tag == "td":
            spans = {"colspan": node.get("morecols", 0), "rowspan": node.get("morerows", 0)}
            return self._begin(tag, node, tuple((key, str(n + 1)) for key, n in spans.items()))
        self._begin(tag, node)
        if isinstance(node, nodes.option_group):
            events.line = self._line_of(node)
            events.characters(", ".join(option.astext() for option in node.children))
        return tag

    def _begin(
        self, tag: str, node: nodes.Element, attributes: tuple[tuple[str, str | None], ...] = ()
    ) -> str:
        self._events.start_element(tag, attributes)
        if isinstance(node, nodes.TextElement) and not isinstance(node, nodes.Inline):
            self._events.line = self._line_of(node)
        return tag

    def _line_of(self, node: nodes.Element) -> int:
        """Return the line of the file in which a text starts.

        docutils knows it of some nodes, of others only where they end or nearly where they start.
        """
        source = (node.rawsource or node.astext()).strip()
        start = source.split("\n", 1)[0].strip()[:60]
        number = node.line or 0
        if 0 < number <= len(self._lines) and start in self._lines[number - 1]:
            self._line = max(self._line, number - 1)
            return number
        for index in range(self._line, min(len(self._lines), self._line + _FURTHEST)):
            if start in self._lines[index]:
                self._line = index
                return index + 1
        return number or self._line + 1


class _Visit(NamedTuple):
    node: nodes.Element
    children: Iterator[nodes.Node]
    end: str


def _is_left_out(node: nodes.Element) -> bool:
    if isinstance(node, nodes.section):
        return "system-messages" in node["classes"]
    if isinstance(node, nodes.topic):
        return "contents" in node["classes"]
    return isinstance(node, _LEFT_OUT)


def _continues(node: nodes.Element) -> bool:
    """Return whether a paragraph goes on behind a footnote's label or the word "Note"."""
    if not isinstance(node, nodes.paragraph):
        return False
    parent = node.parent
    if isinstance(parent, nodes.footnote | nodes.citation):
        return len(parent) > 1 and parent[1] is node
    return (
        isinstance(parent, nodes.Admonition)
        and not isinstance(parent, nodes.admonition)
        and parent[0] is node
    )


def _first_fields(document: nodes.document) -> nodes.field_list | None:
    """Return the fields at the start of a document, or below its first title."""
    parent: nodes.Element = document
    for _ in range(2):
        for child in parent.children:
            if isinstance(child, nodes.field_list):
                return child
            if isinstance(child, nodes.section):
                parent = child
                break
            if not isinstance(child, nodes.Invisible | nodes.title | nodes.system_message):
                return None
    return None
