"""Turn the events of an HTML parser into blocks.

Other formats play their trees to the same events.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ragcore_documents.readers.html_elements import (
    BLOCKS,
    CODE,
    ENDS_HEADING,
    HEADINGS,
    LEFT_OUT,
    LISTS,
    Region,
    integer,
    is_hidden,
    region_of,
)
from ragcore_documents.readers.html_items import (
    Cell,
    Item,
    OpenDefinitions,
    OpenList,
    OpenTable,
    definition_items,
    settle,
    table_items,
)
from ragcore_documents.readers.html_text import Paragraphs

__all__ = ["Events"]

_Attributes = tuple[tuple[str, str | None], ...]

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
_NESTED_LISTS: Final = 20
_LONG_VALUE: Final = 2_000


class Events(Paragraphs):
    """Turns the parser's events into items."""

    # -- events

    def start_element(self, tag: str, attrs: _Attributes) -> None:
        """Begin an element."""
        if self._left_out:
            self._left_out += 1
            return
        attributes = dict(attrs) if attrs else {}
        if tag in LEFT_OUT or ((attributes or tag == "dialog") and is_hidden(tag, attributes)):
            self._left_out = 1
            return
        if self._level and tag in ENDS_HEADING:
            self._end_heading()
        if len(self._open) > self._limits.depth and tag not in ("br", "img", "p"):
            # Too deep for structure; the text is still read.
            self._open.append(self._flush if tag in BLOCKS else None)
            if tag in BLOCKS:
                self._flush()
            return
        self._open.append(self._begin(tag, attributes))

    def end_element(self, tag: str) -> None:
        """End the innermost element."""
        if self._left_out:
            self._left_out -= 1
        elif (action := self._open.pop()) is not None:
            action()

    @property
    def titles(self) -> tuple[str, str]:
        """Text of `<title>` and of `og:title`."""
        return " ".join("".join(self._titles).split()), self._graph_title

    # -- elements

    def _begin(self, tag: str, attributes: dict[str, str | None]) -> Callable[[], None] | None:
        """Return what the element's end does."""
        handler = _HANDLERS.get(tag)
        region = region_of(tag, attributes, self._region)
        if region != self._region:
            return self._enter(region, handler, attributes)
        if handler is not None:
            return handler(self, attributes)
        if attributes.get("role") == "heading" and not self._level:
            return self._heading(attributes, integer(attributes.get("aria-level"), 2))
        if tag in BLOCKS:
            if self._code is not None:
                return self._end_code_line
            self._flush()
            return self._flush
        return None

    def _enter(
        self,
        region: Region,
        handler: Callable[[Events, dict[str, str | None]], Callable[[], None] | None] | None,
        attributes: dict[str, str | None],
    ) -> Callable[[], None]:
        outer = self._region
        self._flush()
        self._region = region
        items, start, linked = self.items, len(self.items), self._linked
        doubtful = region in ("aside", "bar")
        self._doubtful += doubtful
        action = handler(self, attributes) if handler is not None else None

        def leave() -> None:
            if action is not None:
                action()
            self._flush()
            self._region = outer
            self._doubtful -= doubtful
            if doubtful:
                settle(items, start, self._linked - linked, outer)

        return leave

    def _list_element(
        self, attributes: dict[str, str | None], ordered: bool
    ) -> Callable[[], None] | None:
        depth = self._list.depth + 1 if self._list else 1
        if self._code is not None:
            return self._end_code_line
        self._flush()
        if depth > _NESTED_LISTS:
            return self._flush
        number = integer(attributes.get("start"), 1) if ordered else None
        current = self._list = OpenList(number, self._list, depth)
        outer = self.items
        direct: list[Item] = []
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
        content: list[Item] = []
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
        current = self._definitions = OpenDefinitions(self._definitions)
        region = self._region

        def end() -> None:
            self._flush()
            self._definitions = current.outer
            self.items += definition_items(current.parts, region)

        return end

    def _definition(self, _: dict[str, str | None], part: str) -> Callable[[], None] | None:
        current = self._definitions
        if self._code is not None:
            return self._end_code_line
        self._flush()
        if current is None:
            return self._flush
        outer = self.items
        content: list[Item] = []
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
        current = self._table = OpenTable(layout, self._table)
        region = self._region

        def end() -> None:
            self._flush()
            self._table = current.outer
            self._list, self._definitions = lists, definitions
            self.items += table_items(current, region, self._count)

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
        content: list[Item] = []
        self.items = content
        columns = min(max(integer(attributes.get("colspan"), 1), 1), 1_000)
        rows = max(integer(attributes.get("rowspan"), 1), 1)

        def end() -> None:
            self._flush()
            row.append(Cell(content, columns, rows))
            self.items = outer

        return end

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
            self.metadata.setdefault(key, value)

    def _root(self, attributes: dict[str, str | None]) -> None:
        language = (attributes.get("lang") or attributes.get("xml:lang") or "").strip()
        if re.fullmatch(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}", language):
            self.metadata.setdefault("language", language)

    def _no_frames(self, _: dict[str, str | None]) -> Callable[[], None]:
        self._in_unframed = True

        def end() -> None:
            self._in_unframed = False

        return end


_Handler = Callable[[Events, dict[str, str | None]], Callable[[], None] | None]


def _heading_handler(level: int) -> _Handler:
    return lambda events, attributes: events._heading(attributes, level)


_HANDLERS: Final[dict[str, _Handler]] = {
    **{tag: _heading_handler(level) for tag, level in HEADINGS.items()},
    **dict.fromkeys(CODE, Events._preformatted),
    **{
        tag: lambda events, attributes: events._list_element(attributes, False)
        for tag in LISTS - {"ol"}
    },
    "ol": lambda events, attributes: events._list_element(attributes, True),
    "li": Events._list_item,
    "dl": Events._definition_list,
    "dt": lambda events, attributes: events._definition(attributes, "term"),
    "dd": lambda events, attributes: events._definition(attributes, "definition"),
    "table": Events._table_element,
    "tr": Events._row,
    "td": Events._cell,
    "th": Events._cell,
    "br": Events._line_break,
    "img": Events._image,
    "input": Events._input,
    "a": Events._link,
    "sup": Events._superscript,
    "q": Events._quotation,
    "rt": Events._ruby,
    "math": Events._formula,
    "title": Events._title_element,
    "meta": Events._meta_element,
    "html": Events._root,
    "noframes": Events._no_frames,
}
