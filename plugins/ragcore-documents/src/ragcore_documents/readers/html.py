"""Read HTML and XHTML: the main content of a page as blocks, without navigation and scripts.

turbohtml parses as browsers do, in linear time; its events are turned into blocks in one pass.
Knows HTML; knows nothing of files, encodings of other formats, or passages.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from turbohtml.saxparse import sax_parse

from ragcore.corpora.structure import DocumentText, TextBuilder
from ragcore_documents.readers.encoding import check_length, declared_in_html, decode
from ragcore_documents.readers.html_elements import words
from ragcore_documents.readers.html_events import Events
from ragcore_documents.readers.html_items import main_content
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.titles import lone_heading, sensible_title

__all__ = ["HtmlHead", "html_blocks", "read_html"]

_LOG: Final = logging.getLogger(__name__)

_FORMATTING: Final = re.compile(
    r"<(/?)(?:(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?![a-z0-9])(\s*[^\s>])?"
    r"|[a-z][a-z0-9]*)",
    re.IGNORECASE,
)
_EMPTY_TAG: Final = re.compile(r"<([A-Za-z][\w:.-]*)((?:\s[^<>]*)?)/>")
_VOID: Final = words("area base br col embed hr img input link meta param source track wbr")
# Of a page's text outside its main content; less is what most pages have around it.
_NOTED_SHARE: Final = 0.2
# Bounds of what a page may cost. A tag takes about 300 bytes in the parser.
_TAGS: Final = 2_000_000
_REOPENED: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class HtmlHead:
    """What a page tells of itself.

    Attributes:
        title: of `<title>`, else `og:title`; "" where it has none or one that says nothing.
        metadata: author, date, description, keywords, language and url, those that are known.
    """

    title: str
    metadata: dict[str, Any]


def read_html(data: bytes, limits: Limits) -> DocumentText:
    """Read an HTML or XHTML file.

    Args:
        data: of the file.
        limits: of its text.

    Raises:
        UnreadableError: if the file is in no known encoding, or too large.
    """
    builder = TextBuilder()
    head = html_blocks(decode(data, declared_in_html(data)), builder, limits)
    return builder.build(head.title or lone_heading(tuple(builder)), head.metadata)


def html_blocks(
    html: str, builder: TextBuilder, limits: Limits, *, page: int | None = None
) -> HtmlHead:
    """Append the main content of a page, or of a fragment, to a text.

    Scripts, styles, hidden elements and navigation are left out. Where the page marks its main
    content (`<main>`, `role=main`, `<article>`), only that is taken.

    Args:
        html: of the page.
        builder: takes the blocks.
        limits: of the text; elements nested deeper than `limits.depth` only separate paragraphs.
        page: number of the page that the blocks are on.

    Returns:
        What `<head>` tells.

    Raises:
        UnreadableError: if the page has too many tags or too much text.
    """
    _check_cost(html)
    events = Events(limits)
    sax_parse(_closed(html) if _is_xhtml(html) else html, events)
    events.finish()
    if not events.items and events.unframed:
        # A page of frames: its text for browsers without them.
        inner = Events(limits)
        sax_parse("".join(events.unframed), inner)
        inner.finish()
        events.items = inner.items
    content, left_out = main_content(events.items)
    if left_out >= _NOTED_SHARE:
        _LOG.warning(
            "HTML: left out: %.0f %% of the text, outside the main content", 100 * left_out
        )
    check_length(sum(len(item.text) for item in content), limits.characters)
    for item in content:
        builder.add(item.kind, item.text, level=item.level, page=page)
    title = next(filter(None, map(sensible_title, events.titles)), "")
    return HtmlHead(title, dict(events.metadata))


def _check_cost(html: str) -> None:
    """Refuse a page whose tree would be out of proportion.

    A formatting element that is never closed is opened again in each following paragraph, as the
    HTML standard wants, so `<font><p>` repeated makes a tree of quadratic size.
    """
    tags = html.count("<")
    if tags > _TAGS:
        raise UnreadableError(
            f"{tags:,} tags, of at most {_TAGS:,}; split the page into smaller files"
        )
    if tags < 2_000:
        return
    # Of each formatting tag, whether its open ones have attributes: of those that are alike, the
    # standard opens three at most.
    opened: dict[str, list[bool]] = {}
    depth = cost = 0
    for match in _FORMATTING.finditer(html):
        end, name, attributes = match.groups()
        if name is None:
            cost += depth
            if cost > _REOPENED:
                raise UnreadableError(
                    f"{depth:,} tags such as {_unclosed(opened)} are never closed; close them"
                )
            continue
        name = name.lower()
        if not end:
            opened.setdefault(name, []).append(bool(attributes))
            depth += bool(attributes)
        elif opened.get(name):
            depth -= opened[name].pop()


def _unclosed(opened: dict[str, list[bool]]) -> str:
    return f"<{max(opened, key=lambda name: sum(opened[name]))}>"


def _is_xhtml(html: str) -> bool:
    start = html[:1_000]
    return start.lstrip().startswith("<?xml") or 'xmlns="http://www.w3.org/1999/xhtml"' in start


def _closed(xhtml: str) -> str:
    """Write out what XHTML may shorten and an HTML parser misreads: `<title/>` and CDATA."""
    parts = []
    position = 0
    while (start := xhtml.find("<![CDATA[", position)) >= 0:
        end = xhtml.find("]]>", start)
        if end < 0:
            break
        parts += [xhtml[position:start], escape(xhtml[start + len("<![CDATA[") : end])]
        position = end + len("]]>")
    parts.append(xhtml[position:])

    def close(match: re.Match[str]) -> str:
        name, attributes = match.groups()
        return match[0] if name.lower() in _VOID else f"<{name}{attributes}></{name}>"

    return _EMPTY_TAG.sub(close, "".join(parts))
