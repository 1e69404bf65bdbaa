"""Gather the text of a page in paragraphs, headings and code, and what stands within a line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from turbohtml.saxparse import SaxHandler

from ragcore.corpora.structure import BlockKind
from ragcore_documents.readers.html_elements import Region, words
from ragcore_documents.readers.html_items import Item, OpenDefinitions, OpenList, OpenTable
from ragcore_documents.readers.limits import Limits, UnreadableError

__all__ = ["Paragraphs"]

_LINK_MARKS: Final = words("¶ # § 🔗 ↩ ↩︎ ⚓ ⚓︎")
_IMAGE_FILE: Final = re.compile(r"\.(?:avif|bmp|gif|ico|jpe?g|png|svg|tiff?|webp)$", re.IGNORECASE)
_EXPONENT: Final = re.compile(r"[-+−]?\d+|[A-Za-z]")
_LONG_HEADING: Final = 1_000


class Paragraphs(SaxHandler):
    """The open paragraph, heading or code, and the items that are finished.

    `line` is that at which the open paragraph starts, where that is known. `items` is where
    finished blocks go: the page's, or those of the open list item, cell or definition. `_open` has
    for each open element what its end does.
    """

    def __init__(self, limits: Limits) -> None:
        self.items: list[Item] = []
        self.unframed: list[str] = []
        self.line: int | None = None
        self._limits = limits
        self._characters = 0
        self._open: list[Callable[[], None] | None] = []
        self._left_out = 0
        self._parts: list[str] = []
        self._lines: list[list[str]] = []
        self._level = 0
        self._code: list[str] | None = None
        self._region: Region = "body"
        self._list: OpenList | None = None
        self._table: OpenTable | None = None
        self._definitions: OpenDefinitions | None = None
        self._title: list[str] | None = None
        self._titles: list[str] = []
        self._in_unframed = False
        self.metadata: dict[str, str] = {}
        self._graph_title = ""
        # Open elements that may be navigation, and characters in links while there are any.
        self._doubtful = 0
        self._links = 0
        self._linked = 0

    def characters(self, data: str) -> None:
        """Take a run of text."""
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
            if self._links and self._doubtful:
                self._linked += len(data.strip())

    def finish(self) -> None:
        """End the last paragraph."""
        if self._level:
            self._end_heading()
        self._flush()

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
            if self._links:
                self._linked += len(text)

    def _input(self, attributes: dict[str, str | None]) -> None:
        if self._list is not None and (attributes.get("type") or "").lower() == "checkbox":
            self._parts.append("[x] " if "checked" in attributes else "[ ] ")

    def _link(self, attributes: dict[str, str | None]) -> Callable[[], None] | None:
        if self._code is not None:
            return None
        parts, start = self._parts, len(self._parts)
        link = "href" in attributes
        self._links += link

        def end() -> None:
            self._links -= link
            # Signs next to headings that link to themselves.
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
        self.items.append(Item(kind, text, level, self._region, self.line))

    def _count(self, text: str) -> None:
        self._characters += len(text)
        # Rows of tables are counted a second time.
        if self._characters > 2 * self._limits.characters:
            raise UnreadableError(
                f"more than {self._limits.characters:,} characters of text; split the page"
            )
