"""Blocks of a page while it is read; those of a list or table become one block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ragcore.corpora.structure import BlockKind
from ragcore_documents.readers.html_elements import Region, integer

__all__ = [
    "Cell",
    "Item",
    "OpenDefinitions",
    "OpenList",
    "OpenTable",
    "definition_items",
    "main_content",
    "settle",
    "table_items",
]

_LONG_CELL: Final = 2_000
_REPEATED_CELL: Final = 80
_LONG_BAR: Final = 500
_MAIN_SHARE: Final = 0.6
"""Of a page's text without navigation, the least that is taken alone as its main content."""


class Item(NamedTuple):
    """A block, the part of the page that it is in, and its line where that is known."""

    kind: BlockKind
    text: str
    level: int
    region: Region
    line: int | None = None


@dataclass(slots=True)
class OpenList:
    """A list of which not all items are read."""

    number: int | None
    outer: OpenList | None
    depth: int
    items: list[Item] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    line: int | None = None

    def marker(self, value: str | None) -> str:
        """Return what begins the next item.

        Args:
            value: number that the item states.
        """
        if self.number is None:
            return "- "
        number = integer(value, self.number)
        self.number = number + 1
        return f"{number}. "

    def absorb(self, items: Iterable[Item], marker: str, region: Region) -> None:
        """Append an element's content: its text as lines, code and tables as blocks between."""
        for item in items:
            if item.region == "navigation" != region:
                continue
            if not self.lines:
                self.line = item.line
            if item.kind == "paragraph":
                self.lines.append(marker + " ".join(item.text.split("\n")))
            elif item.kind == "list":
                self.lines += ["  " + line for line in item.text.split("\n")]
            else:
                self.close_lines(region)
                self.items.append(item)
            marker = "  "

    def close_lines(self, region: Region) -> None:
        """Make a block of the lines so far."""
        if self.lines:
            self.items.append(Item("list", "\n".join(self.lines), 0, region, self.line))
            self.lines = []


class Cell(NamedTuple):
    """A cell's content, and how many columns and rows it spans."""

    items: list[Item]
    columns: int
    rows: int


@dataclass(slots=True)
class OpenTable:
    """A table of which not all rows are read."""

    layout: bool
    outer: OpenTable | None
    rows: list[list[Cell]] = field(default_factory=list)


@dataclass(slots=True)
class OpenDefinitions:
    """A list of definitions: its terms and definitions so far."""

    outer: OpenDefinitions | None
    parts: list[tuple[str, list[Item]]] = field(default_factory=list)


def _line(items: Iterable[Item]) -> str:
    """Return the text of a cell or definition as one line."""
    texts = []
    for item in items:
        lines = item.text.split("\n")
        if item.kind == "list":
            texts.append("; ".join(line.strip().removeprefix("- ") for line in lines))
        else:
            texts.append(" ".join(item.text.split()))
    return " ".join(texts)


def definition_items(parts: Sequence[tuple[str, list[Item]]], region: Region) -> list[Item]:
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
        return [Item("list", "\n".join(lines), 0, region, _first_line(parts))] if lines else []
    return [item for _, items in parts for item in items]


def _first_line(parts: Sequence[tuple[str, list[Item]]]) -> int | None:
    return next((items[0].line for _, items in parts if items), None)


def table_items(table: OpenTable, region: Region, count: Callable[[str], None]) -> list[Item]:
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
    if not lines:
        return []
    return [Item("table", "\n".join(lines), 0, region, cells[0].items[0].line)]


def _reach(column: int, reaching: dict[int, tuple[int, str]], texts: list[str]) -> int:
    """Append the texts of cells that reach down into a row at a column; return the next column."""
    while column in reaching:
        rows, text = reaching.pop(column)
        texts.append(text)
        if rows > 1:
            reaching[column] = (rows - 1, text)
        column += 1
    return column


def settle(items: list[Item], start: int, linked: int, outer: Region) -> None:
    """Tell at the end of an element that may be navigation what it is.

    It is navigation if half of its text, or more, are links; or if it is only a list; or, in a bar,
    if it is short and has no heading.

    Args:
        items: those of the element from `start` on get their region.
        start: of the element's items.
        linked: characters of the element in links.
        outer: region of what is around it.
    """
    # Items of regions of their own, such as `<main>` in it, stay in these.
    inner = [index for index in range(start, len(items)) if items[index].region in ("aside", "bar")]
    characters = sum(len(items[index].text) for index in inner)
    kinds = {items[index].kind for index in inner}
    is_bar = any(items[index].region == "bar" for index in inner)
    is_navigation = (
        2 * linked >= characters
        or kinds == {"list"}
        or (is_bar and "heading" not in kinds and characters - linked < _LONG_BAR)
    )
    region: Region = "navigation" if is_navigation else outer
    for index in inner:
        items[index] = items[index]._replace(region=region)


def main_content(items: Sequence[Item]) -> tuple[list[Item], float]:
    """Return the items of the page's main content, or of all of it where that is not marked.

    What is marked is taken alone only if it is most of the page: a page has also pieces that are
    marked so and are not its text.

    Returns:
        The items, and the share from 0 to 1 of the page's text, without navigation, that is left
        out for what is marked.
    """
    sizes: dict[Region, int] = {}
    for item in items:
        sizes[item.region] = sizes.get(item.region, 0) + len(item.text)
    main, article = sizes.get("main", 0), sizes.get("article", 0)
    whole = main + article + sizes.get("body", 0)
    for regions, size in ((("main",), main), (("main", "article"), main + article)):
        if size and size >= _MAIN_SHARE * whole:
            return _marked(items, regions), 1 - size / whole
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
    return chosen or list(items), 0.0


def _marked(items: Sequence[Item], regions: tuple[str, ...]) -> list[Item]:
    """Return the items of regions, behind the page's heading where that is before them."""
    chosen = [item for item in items if item.region in regions]
    if not any(item.kind == "heading" and item.level == 1 for item in chosen):
        heading = None
        for item in items:
            if item.region in regions:
                break
            if item.kind == "heading" and item.level == 1 and item.region != "navigation":
                heading = item
        if heading is not None:
            chosen.insert(0, heading)
    return chosen
