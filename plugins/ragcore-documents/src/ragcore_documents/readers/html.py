"""Read HTML and XHTML: the main content of a page as blocks, without navigation and scripts.

turbohtml parses as browsers do, in linear time; its events are turned into blocks in one pass.
Knows HTML; knows nothing of files, encodings of other formats, or passages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final, Literal, NamedTuple

from turbohtml.saxparse import SaxHandler, sax_parse

from ragcore.corpora.structure import BlockKind, DocumentText, TextBuilder
from ragcore_documents.readers.encoding import check_length, declared_in_html, decode
from ragcore_documents.readers.limits import Limits, UnreadableError
from ragcore_documents.readers.titles import lone_heading, sensible_title

__all__ = ["HtmlHead", "html_blocks", "read_html"]

_Attributes = tuple[tuple[str, str | None], ...]
_Region = Literal["body", "article", "main", "header", "navigation"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elements whose content is no text of the document.
_LEFT_OUT: Final = _words(
    "annotation annotation-xml applet area audio base basefont button canvas col colgroup datalist"
    " embed iframe link map noembed noscript optgroup option param progress rp rtc script select"
    " source style svg template textarea track video"
)
# Elements that end a paragraph; text before and behind them is no single sentence.
_BLOCKS: Final = _words(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form frameset header hgroup hr html legend li main menu nav ol"
    " p pre search section summary table tbody td tfoot th thead tr ul"
)
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
# These cannot be part of a heading: one that is open was never closed.
_ENDS_HEADING: Final = _words("p ul ol dl pre table blockquote")
_CODE: Final = frozenset(("pre", "listing", "xmp", "plaintext"))
_LISTS: Final = frozenset(("ul", "ol", "menu", "dir"))
_NAVIGATION_ROLES: Final = _words(
    "alertdialog banner complementary contentinfo dialog menu menubar navigation search toolbar"
    " tooltip"
)
# Words of `class` and `id` by which generators of documentation mark what is not the text itself.
_NAVIGATION_CLASSES: Final = _words(
    "breadcrumb breadcrumbs cookie-banner edit-this-page md-sidebar md-source-file"
    " mw-editsection mw-jump-link nav navbar navfooter navheader navigation noprint pagination"
    " prev-next-area rst-footer-buttons sidebar skip-link skip-to-content sphinxsidebar"
    " table-of-contents table_of_contents toc toctree-wrapper wy-breadcrumbs wy-nav-side"
)
_HIDDEN_CLASSES: Final = _words(
    "gutter headerlink line-number line-numbers-rows lineno linenodiv linenos lnt"
)
_HIDDEN_STYLE: Final = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_FORMATTING: Final = re.compile(
    r"<(/?)(?:(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?![a-z0-9])(\s*[^\s>])?"
    r"|[a-z][a-z0-9]*)",
    re.IGNORECASE,
)
_LINK_MARKS: Final = _words("¶ # § 🔗 ↩ ↩︎ ⚓ ⚓︎")
_IMAGE_FILE: Final = re.compile(r"\.(?:avif|bmp|gif|ico|jpe?g|png|svg|tiff?|webp)$", re.IGNORECASE)
_EXPONENT: Final = re.compile(r"[-+−]?\d+|[A-Za-z]")
_EMPTY_TAG: Final = re.compile(r"<([A-Za-z][\w:.-]*)((?:\s[^<>]*)?)/>")
_VOID: Final = _words("area base br col embed hr img input link meta param source track wbr")
_META_KEYS: Final = {
    "article:author": "author",
    "article:published_time": "date",
    "author": "author",
    "date": "date",
    "dc.creator": "author",
    "dc.date": "date",
    "dcterms.creator": "author",
    "dcterms.date": "date",
    "description": "description",
    "keywords": "keywords",
    "og:description": "description",
}
# Bounds of what a page may cost. A tag takes about 300 bytes in the parser.
_TAGS: Final = 2_000_000
_REOPENED: Final = 3_000_000
_NESTED_LISTS: Final = 20
_LONG_CELL: Final = 2_000
_REPEATED_CELL: Final = 80
_LONG_HEADING: Final = 1_000
_LONG_VALUE: Final = 2_000


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
    events = _Events(limits)
    sax_parse(_closed(html) if _is_xhtml(html) else html, events)
    events.finish()
    if not events.items and events.unframed:
        # A page of frames: its text for browsers without them.
        inner = _Events(limits)
        sax_parse("".join(events.unframed), inner)
        inner.finish()
        events.items = inner.items
    content = _main_content(events.items)
    check_length(sum(len(item.text) for item in content), limits.characters)
    for item in content:
        builder.add(item.kind, item.text, level=item.level, page=page)
    return events.head()


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


class _Item(NamedTuple):
    kind: BlockKind
    text: str
    level: int
    region: _Region


@dataclass(slots=True)
class _List:
    number: int | None
    outer: _List | None
    depth: int
    items: list[_Item] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def marker(self, value: str | None) -> str:
        if self.number is None:
            return "- "
        number = _integer(value, self.number)
        self.number = number + 1
        return f"{number}. "

    def absorb(self, items: Iterable[_Item], marker: str, region: _Region) -> None:
        """Append an element's content: its text as lines, code and tables as blocks between."""
        for item in items:
            if item.region == "navigation" != region:
                continue
            if item.kind == "paragraph":
                self.lines.append(marker + " ".join(item.text.split("\n")))
            elif item.kind == "list":
                self.lines += ["  " + line for line in item.text.split("\n")]
            else:
                self.close_lines(region)
                self.items.append(item)
            marker = "  "

    def close_lines(self, region: _Region) -> None:
        if self.lines:
            self.items.append(_Item("list", "\n".join(self.lines), 0, region))
            self.lines = []


class _Cell(NamedTuple):
    items: list[_Item]
    columns: int
    rows: int


@dataclass(slots=True)
class _Table:
    layout: bool
    outer: _Table | None
    rows: list[list[_Cell]] = field(default_factory=list)


@dataclass(slots=True)
class _Definitions:
    outer: _Definitions | None
    parts: list[tuple[str, list[_Item]]] = field(default_factory=list)


class _Events(SaxHandler):
    """Turns the parser's events into items.

    `items` is where finished blocks go: the page's, or those of the open list item, cell or
    definition. `open` has for each open element what its end does.
    """

    def __init__(self, limits: Limits) -> None:
        self.items: list[_Item] = []
        self.unframed: list[str] = []
        self._limits = limits
        self._characters = 0
        self._open: list[Callable[[], None] | None] = []
        self._left_out = 0
        self._parts: list[str] = []
        self._lines: list[list[str]] = []
        self._level = 0
        self._code: list[str] | None = None
        self._region: _Region = "body"
        self._list: _List | None = None
        self._table: _Table | None = None
        self._definitions: _Definitions | None = None
        self._title: list[str] | None = None
        self._titles: list[str] = []
        self._in_unframed = False
        self._meta: dict[str, str] = {}
        self._graph_title = ""

    # -- events

    def start_element(self, tag: str, attrs: _Attributes) -> None:
        if self._left_out:
            self._left_out += 1
            return
        attributes = dict(attrs) if attrs else {}
        if tag in _LEFT_OUT or (attributes and _is_hidden(tag, attributes)):
            self._left_out = 1
            return
        if self._level and tag in _ENDS_HEADING:
            self._end_heading()
        if len(self._open) > self._limits.depth and tag not in ("br", "img", "p"):
            # Too deep for structure; the text is still read.
            self._open.append(self._flush if tag in _BLOCKS else None)
            if tag in _BLOCKS:
                self._flush()
            return
        self._open.append(self._begin(tag, attributes))

    def end_element(self, tag: str) -> None:
        if self._left_out:
            self._left_out -= 1
        elif (action := self._open.pop()) is not None:
            action()

    def characters(self, data: str) -> None:
        if self._left_out:
            return
        if self._code is not None:
            self._code.append(data)
        elif self._title is not None:
            self._title.append(data)
        elif self._in_unframed:
            self.unframed.append(data)
        else:
            self._parts.append(data)

    def finish(self) -> None:
        """End the last paragraph."""
        if self._level:
            self._end_heading()
        self._flush()

    def head(self) -> HtmlHead:
        """Return what the page tells of itself."""
        titles = (" ".join("".join(self._titles).split()), self._graph_title)
        title = next(filter(None, map(sensible_title, titles)), "")
        return HtmlHead(title, dict(self._meta))

    # -- elements

    def _begin(self, tag: str, attributes: dict[str, str | None]) -> Callable[[], None] | None:
        """Return what the element's end does."""
        handler = _HANDLERS.get(tag)
        region = self._region_of(tag, attributes)
        if region != self._region:
            return self._enter(region, handler, attributes)
        if handler is not None:
            return handler(self, attributes)
        if attributes.get("role") == "heading" and not self._level:
            return self._heading(attributes, _integer(attributes.get("aria-level"), 2))
        if tag in _BLOCKS:
            if self._code is not None:
                return self._end_code_line
            self._flush()
            return self._flush
        return None

    def _region_of(self, tag: str, attributes: dict[str, str | None]) -> _Region:
        region = self._region
        role = attributes.get("role")
        if region in ("navigation", "header"):
            return "navigation" if tag == "nav" or role in _NAVIGATION_ROLES else region
        if tag == "main" or role == "main":
            return "main"
        if tag == "nav" or role in _NAVIGATION_ROLES:
            return "navigation"
        if attributes and tag not in ("body", "html", "main", "article"):
            names = f"{attributes.get('class') or ''} {attributes.get('id') or ''}".lower()
            if not _NAVIGATION_CLASSES.isdisjoint(names.split()):
                return "navigation"
        if region == "body":
            if tag == "article" or role == "article":
                return "article"
            if tag == "header":
                return "header"
            if tag == "footer":
                return "navigation"
        return region

    def _enter(
        self,
        region: _Region,
        handler: Callable[[_Events, dict[str, str | None]], Callable[[], None] | None] | None,
        attributes: dict[str, str | None],
    ) -> Callable[[], None]:
        outer = self._region
        self._flush()
        self._region = region
        action = handler(self, attributes) if handler is not None else None

        def leave() -> None:
            if action is not None:
                action()
            self._flush()
            self._region = outer

        return leave

    def _heading(self, _: dict[str, str | None], level: int) -> Callable[[], None] | None:
        if self._level or self._code is not None:
            return self._flush
        self._flush()
        self._level = min(max(level, 1), 99)
        return self._end_heading

    def _end_heading(self) -> None:
        level, self._level = self._level, 0
        if level:
            self._flush("heading", level)

    def _preformatted(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        if self._code is not None:
            return self._end_code_line
        self._flush()
        self._code = []
        return self._end_code

    def _end_code_line(self) -> None:
        if self._code and not self._code[-1].endswith("\n"):
            self._code.append("\n")

    def _end_code(self) -> None:
        parts, self._code = self._code, None
        text = "".join(parts or ()).replace("\r\n", "\n").replace("\r", "\n")
        if text.strip():
            self._add("code", text.replace("\xa0", " "))

    def _list_element(
        self, attributes: dict[str, str | None], ordered: bool
    ) -> Callable[[], None] | None:
        depth = self._list.depth + 1 if self._list else 1
        if self._code is not None:
            return self._end_code_line
        self._flush()
        if depth > _NESTED_LISTS:
            return self._flush
        number = _integer(attributes.get("start"), 1) if ordered else None
        current = self._list = _List(number, self._list, depth)
        outer = self.items
        direct: list[_Item] = []
        self.items = direct
        region = self._region

        def end() -> None:
            self._flush()
            current.absorb(direct, "", region)
            current.close_lines(region)
            self._list = current.outer
            self.items = outer
            outer.extend(current.items)

        return end

    def _list_item(self, attributes: dict[str, str | None]) -> Callable[[], None] | None:
        current = self._list
        if self._code is not None:
            return self._end_code_line
        self._flush()
        if current is None:
            return self._flush
        current.absorb(self.items, "", self._region)
        self.items.clear()
        marker = current.marker(attributes.get("value"))
        outer = self.items
        content: list[_Item] = []
        self.items = content
        region = self._region

        def end() -> None:
            self._flush()
            current.absorb(content, marker, region)
            self.items = outer

        return end

    def _definition_list(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        if self._code is not None:
            return self._end_code_line
        self._flush()
        current = self._definitions = _Definitions(self._definitions)
        region = self._region

        def end() -> None:
            self._flush()
            self._definitions = current.outer
            self.items += _definitions(current.parts, region)

        return end

    def _definition(self, _: dict[str, str | None], part: str) -> Callable[[], None] | None:
        current = self._definitions
        if self._code is not None:
            return self._end_code_line
        self._flush()
        if current is None:
            return self._flush
        outer = self.items
        content: list[_Item] = []
        self.items = content

        def end() -> None:
            self._flush()
            current.parts.append((part, content))
            self.items = outer

        return end

    def _table_element(self, attributes: dict[str, str | None]) -> Callable[[], None] | None:
        if self._code is not None:
            return self._end_code_line
        self._flush()
        layout = attributes.get("role") in ("presentation", "none")
        # A list that the table is in goes on behind it, not in its cells.
        lists, self._list = self._list, None
        definitions, self._definitions = self._definitions, None
        current = self._table = _Table(layout, self._table)
        region = self._region

        def end() -> None:
            self._flush()
            self._table = current.outer
            self._list, self._definitions = lists, definitions
            self.items += _table(current, region, self._count)

        return end

    def _row(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        self._flush()
        if self._table is not None:
            self._table.rows.append([])
        return self._flush

    def _cell(self, attributes: dict[str, str | None]) -> Callable[[], None] | None:
        current = self._table
        if self._code is not None:
            return self._end_code_line
        self._flush()
        if current is None or not current.rows:
            return self._flush
        row = current.rows[-1]
        outer = self.items
        content: list[_Item] = []
        self.items = content
        columns = min(max(_integer(attributes.get("colspan"), 1), 1), 1_000)
        rows = max(_integer(attributes.get("rowspan"), 1), 1)

        def end() -> None:
            self._flush()
            row.append(_Cell(content, columns, rows))
            self.items = outer

        return end

    def _line_break(self, _: dict[str, str | None]) -> None:
        if self._code is not None:
            self._code.append("\n")
        elif self._level:
            self._parts.append(" ")
        else:
            self._lines.append(self._parts)
            self._parts = []

    def _image(self, attributes: dict[str, str | None]) -> None:
        text = (attributes.get("alt") or "").strip()
        if text and self._code is None and not _IMAGE_FILE.search(text):
            self._parts.append(f" {text} ")

    def _input(self, attributes: dict[str, str | None]) -> None:
        if self._list is not None and (attributes.get("type") or "").lower() == "checkbox":
            self._parts.append("[x] " if "checked" in attributes else "[ ] ")

    def _link(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        if self._code is not None:
            return None
        parts, start = self._parts, len(self._parts)

        def end() -> None:
            # Signs beside headings that link to themselves.
            if parts is self._parts and 0 < len(parts) - start <= 3:
                text = "".join(parts[start:])
                if len(text) < 9 and text.strip() in _LINK_MARKS:
                    del parts[start:]

        return end

    def _superscript(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        if self._code is not None:
            return None
        parts, start = self._parts, len(self._parts)

        def end() -> None:
            # 10<sup>6</sup> is not 106.
            if parts is self._parts and 0 < len(parts) - start <= 3 and start:
                before = parts[start - 1][-2:]
                if _EXPONENT.fullmatch("".join(parts[start:]).strip()) and (
                    before[-1:] in ")]"
                    or before[-1:].isdigit()
                    or (before[-1:].isalpha() and not before[-2:-1].isalpha())
                ):
                    parts.insert(start, "^")

        return end

    def _quotation(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        self._parts.append('"')
        return lambda: self._parts.append('"')

    def _ruby(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        self._parts.append("(")
        return lambda: self._parts.append(")")

    def _formula(self, attributes: dict[str, str | None]) -> Callable[[], None] | None:
        if text := (attributes.get("alttext") or "").strip():
            start = len(self._parts)
            parts = self._parts

            def end() -> None:
                if parts is self._parts:
                    parts[start:] = [text]

            return end
        return None

    def _title_element(self, _: dict[str, str | None]) -> Callable[[], None] | None:
        self._title = []

        def end() -> None:
            self._titles = self._titles or self._title or []
            self._title = None

        return end

    def _meta_element(self, attributes: dict[str, str | None]) -> None:
        name = (attributes.get("name") or attributes.get("property") or "").strip().lower()
        value = " ".join((attributes.get("content") or "")[:_LONG_VALUE].split())
        if name == "og:title" and value:
            self._graph_title = self._graph_title or value
        if value and (key := _META_KEYS.get(name)):
            self._meta.setdefault(key, value)

    def _root(self, attributes: dict[str, str | None]) -> None:
        language = (attributes.get("lang") or attributes.get("xml:lang") or "").strip()
        if re.fullmatch(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}", language):
            self._meta.setdefault("language", language)

    def _no_frames(self, _: dict[str, str | None]) -> Callable[[], None]:
        self._in_unframed = True

        def end() -> None:
            self._in_unframed = False

        return end

    # -- items

    def _flush(self, kind: BlockKind = "paragraph", level: int = 0) -> None:
        """End the paragraph."""
        if self._level:
            self._parts.append(" ")
            return
        if not self._parts and not self._lines:
            return
        self._lines.append(self._parts)
        texts = (" ".join("".join(parts).split()) for parts in self._lines)
        text = "\n".join(filter(None, texts)).replace("\xad", "")
        self._parts, self._lines = [], []
        if kind == "heading":
            text = text.rstrip("¶ ")
            if len(text) > _LONG_HEADING:
                kind, level = "paragraph", 0
        if text.strip():
            self._add(kind, text, level)

    def _add(self, kind: BlockKind, text: str, level: int = 0) -> None:
        self._count(text)
        self.items.append(_Item(kind, text, level, self._region))

    def _count(self, text: str) -> None:
        self._characters += len(text)
        # Rows of tables are counted a second time.
        if self._characters > 2 * self._limits.characters:
            raise UnreadableError(
                f"more than {self._limits.characters:,} characters of text; split the page"
            )


_Handler = Callable[[_Events, dict[str, str | None]], Callable[[], None] | None]


def _heading_handler(level: int) -> _Handler:
    return lambda events, attributes: events._heading(attributes, level)


_HANDLERS: Final[dict[str, _Handler]] = {
    **{tag: _heading_handler(level) for tag, level in _HEADINGS.items()},
    **dict.fromkeys(_CODE, _Events._preformatted),
    **{
        tag: lambda events, attributes: events._list_element(attributes, False)
        for tag in _LISTS - {"ol"}
    },
    "ol": lambda events, attributes: events._list_element(attributes, True),
    "li": _Events._list_item,
    "dl": _Events._definition_list,
    "dt": lambda events, attributes: events._definition(attributes, "term"),
    "dd": lambda events, attributes: events._definition(attributes, "definition"),
    "table": _Events._table_element,
    "tr": _Events._row,
    "td": _Events._cell,
    "th": _Events._cell,
    "br": _Events._line_break,
    "img": _Events._image,
    "input": _Events._input,
    "a": _Events._link,
    "sup": _Events._superscript,
    "q": _Events._quotation,
    "rt": _Events._ruby,
    "math": _Events._formula,
    "title": _Events._title_element,
    "meta": _Events._meta_element,
    "html": _Events._root,
    "noframes": _Events._no_frames,
}


def _is_hidden(tag: str, attributes: dict[str, str | None]) -> bool:
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return True
    if tag == "dialog" and "open" not in attributes:
        return True
    if (attributes.get("aria-hidden") or "").lower() == "true":
        return True
    if (style := attributes.get("style")) and _HIDDEN_STYLE.search(style):
        return True
    names = (attributes.get("class") or "").lower().split()
    return not _HIDDEN_CLASSES.isdisjoint(names)


def _integer(value: str | None, default: int) -> int:
    value = (value or "").strip()
    return int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else default


def _line(items: Iterable[_Item]) -> str:
    """Return the text of a cell or definition as one line."""
    texts = []
    for item in items:
        lines = item.text.split("\n")
        if item.kind == "list":
            texts.append("; ".join(line.strip().removeprefix("- ") for line in lines))
        else:
            texts.append(" ".join(item.text.split()))
    return " ".join(texts)


def _definitions(parts: Sequence[tuple[str, list[_Item]]], region: _Region) -> list[_Item]:
    """Return one list of short definitions, or the blocks of longer ones."""
    if all(
        len(items) <= 1 and all(item.kind == "paragraph" for item in items) for _, items in parts
    ):
        lines: list[str] = []
        terms: list[str] = []
        for part, items in parts:
            text = _line(items)
            if part == "term":
                terms += [text] if text else []
            elif text:
                term = ", ".join(terms)
                separator = "" if not term else " " if term.endswith(":") else ": "
                lines.append(f"{term}{separator}{text}")
                terms = []
        lines += terms
        return [_Item("list", "\n".join(lines), 0, region)] if lines else []
    return [item for _, items in parts for item in items]


def _table(table: _Table, region: _Region, count: Callable[[str], None]) -> list[_Item]:
    """Return a table as one block, or the blocks in it where it only lays out a page.

    Args:
        table: whose end is reached.
        region: that it is in.
        count: takes each row, since cells that reach down make rows longer than the page.
    """
    cells = [cell for row in table.rows for cell in row if cell.items]
    if (
        table.layout
        or len(cells) < 2
        or any(
            any(
                item.kind in ("heading", "table") or (item.kind == "code" and len(table.rows) == 1)
                for item in cell.items
            )
            or sum(len(item.text) for item in cell.items) > _LONG_CELL
            for cell in cells
        )
    ):
        return [item for cell in cells for item in cell.items]
    lines = []
    # Of each column, the text of a cell that reaches down, and into how many rows more.
    reaching: dict[int, tuple[int, str]] = {}
    for row in table.rows:
        texts: list[str] = []
        column = 0
        for cell in row:
            column = _reach(column, reaching, texts)
            text = _line(cell.items)
            texts.append(text)
            if cell.rows > 1 and len(text) <= _REPEATED_CELL:
                reaching[column] = (cell.rows - 1, text)
            column += cell.columns
        _reach(column, reaching, texts)
        if row and any(texts):
            lines.append(" | ".join(texts).rstrip(" |"))
            count(lines[-1])
    return [_Item("table", "\n".join(lines), 0, region)] if lines else []


def _reach(column: int, reaching: dict[int, tuple[int, str]], texts: list[str]) -> int:
    """Append the texts of cells that reach down into a row at a column; return the next column."""
    while column in reaching:
        rows, text = reaching.pop(column)
        texts.append(text)
        if rows > 1:
            reaching[column] = (rows - 1, text)
        column += 1
    return column


def _main_content(items: Sequence[_Item]) -> list[_Item]:
    """Return the items of the page's main content, or of all of it where that is not marked."""
    sizes: dict[_Region, int] = {}
    for item in items:
        sizes[item.region] = sizes.get(item.region, 0) + len(item.text)
    main, article = sizes.get("main", 0), sizes.get("article", 0)
    body = sizes.get("body", 0) + article
    if main and 9 * main >= body:
        return [item for item in items if item.region == "main"]
    if article and 2 * article >= body:
        return [item for item in items if item.region in ("article", "main")]
    # A header that has the heading of the page belongs to it, from that heading on.
    chosen = []
    title = False
    for item in items:
        if item.region == "header":
            title = title or (item.kind == "heading" and item.level == 1)
            if title:
                chosen.append(item)
        elif item.region != "navigation":
            chosen.append(item)
    return chosen or list(items)
