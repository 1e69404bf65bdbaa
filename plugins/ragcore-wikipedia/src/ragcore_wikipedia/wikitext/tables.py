"""Read a table's wikitext as rows of text with the names of their columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ragcore_wikipedia.wikitext.inline import one_line, without_inline_markup
from ragcore_wikipedia.wikitext.marks import BLOCK, BREAK

__all__ = ["Cell", "Repeats", "Table", "parse_table", "table_lines"]

_MAX_SPAN = 100
_MAX_COLUMNS = 200
_SEPARATOR = len("; ")
_WORDS = frozenset({"", "nowrap"})
_SPAN = re.compile(r"(row|col)span\s*+=\s*+[\"']?\s*+([0-9]{1,4})", re.IGNORECASE)


@dataclass(slots=True)
class Repeats:
    """Count the characters that the tables of a page repeat, up to a limit.

    Names of columns, and cells that span columns and rows, are shown again in each row. A page of a
    few kilobytes could so become hundreds of megabytes.

    Attributes:
        limit: characters.
        taken: of them, those that are used up.
        exceeded: whether a table wanted more.
    """

    limit: int
    taken: int = 0
    exceeded: bool = False

    def take(self, characters: int) -> bool:
        """Tell whether as many characters are left, and take them."""
        if self.exceeded or characters > self.limit - self.taken:
            self.exceeded = True
            return False
        self.taken += characters
        return True


@dataclass(slots=True)
class Cell:
    """A cell: its text, whether it is a heading, and how far it spans."""

    text: str
    heading: bool
    rows: int = 1
    columns: int = 1


@dataclass(slots=True)
class Table:
    """A table: its caption and its rows of cells as written."""

    caption: str = ""
    rows: list[list[Cell]] = field(default_factory=list)


def parse_table(inner: str) -> Table:
    """Parse what stands between `{|` and `|}`; links, templates and inner tables are rendered."""
    table = Table()
    lines = inner.split("\n")
    row: list[Cell] = []
    cell: list[str] | None = None  # lines of the cell being read

    def end_cell() -> None:
        if cell is not None and row:
            row[-1].text = "\n".join([row[-1].text, *cell])

    # The first line holds the table's attributes.
    for line in lines[1:]:
        stripped = line.lstrip()
        mark = stripped[:1]
        if mark not in "|!" or not mark:
            if cell is not None:
                cell.append(line)
            continue
        end_cell()
        cell = None
        if stripped.startswith("|-"):
            if row:
                table.rows.append(row)
            row = []
        elif stripped.startswith("|+"):
            table.caption = table.caption or _cell(stripped[2:], False).text
        else:
            heading = mark == "!"
            content = stripped[1:]
            if heading:
                content = content.lstrip("!").replace("!!", "||")
            row.extend(_cell(part, heading) for part in content.split("||"))
            cell = []
    end_cell()
    if row:
        table.rows.append(row)
    return table


def _cell(source: str, heading: bool) -> Cell:
    """Read attributes, a bar and the text."""
    attributes, bar, text = source.partition("|")
    # MediaWiki takes all before a bar for attributes unless it holds a link; links are text here.
    if not bar or not ("=" in attributes or '"' in attributes or attributes.strip() in _WORDS):
        return Cell(source, heading)
    spans = {name.lower(): int(number) for name, number in _SPAN.findall(attributes)}
    return Cell(
        text,
        heading,
        rows=min(max(spans.get("row", 1), 1), _MAX_SPAN),
        columns=min(max(spans.get("col", 1), 1), _MAX_SPAN),
    )


def _text(source: str, breaks: str) -> str:
    """Return a cell's text as one line, its lines and list items joined by `breaks`."""
    if BLOCK.search(source):
        source = BLOCK.sub("", source)
    lines = without_inline_markup(source).split("\n")
    shown = [line.strip().lstrip("*#:;").strip() for line in lines]
    return one_line(BREAK.join(line for line in shown if line), breaks)


def _grid(table: Table, repeats: Repeats) -> Iterator[tuple[list[str], list[bool]]]:
    """Yield rows with the cells that span into them: their texts, and which are headings.

    When `repeats` is used up, cells span no further, so those after them may be in other columns.
    """
    pending: dict[int, tuple[int, str, bool]] = {}  # column: rows left, text, heading
    unshown: dict[str, None] = {}  # texts of rows that are shown in the rows below
    for cells in table.rows:
        texts: list[str] = []
        headings: list[bool] = []

        def fill(texts: list[str] = texts, headings: list[bool] = headings) -> None:
            while (above := pending.get(len(texts))) is not None:
                left, text, heading = above
                column = len(texts)
                if text in unshown:
                    del unshown[text]
                elif not repeats.take(len(text) + _SEPARATOR):
                    pending.clear()
                    break
                if left > 1:
                    pending[column] = (left - 1, text, heading)
                else:
                    del pending[column]
                texts.append(text)
                headings.append(heading)

        for cell in cells:
            text = _text(cell.text, " " if cell.heading else ", ")
            for number in range(cell.columns):
                fill()
                if len(texts) >= _MAX_COLUMNS:
                    break
                if number and not repeats.take(len(text) + _SEPARATOR):
                    break
                if cell.rows > 1:
                    pending[len(texts)] = (cell.rows - 1, text, cell.heading)
                texts.append(text)
                headings.append(cell.heading)
        fill()
        if len(cells) == 1 and cells[0].rows > 1 and not repeats.exceeded:
            # The heading of the rows below, each of which it is in.
            unshown.update(dict.fromkeys(filter(None, texts)))
            continue
        if repeats.exceeded:
            yield from (([text], [False]) for text in unshown)
            unshown.clear()
        yield texts, headings
    yield from (([text], [False]) for text in unshown)


def table_lines(table: Table, repeats: Repeats) -> list[str]:
    """Return a line for each row: `Year: 2010; Population: 4,779,736`.

    Rows of headings above the first row of values name the columns; a later row of headings that
    fills the table names them again. A row with one text for all columns stands alone.

    When `repeats` is used up, rows have no names of columns.
    """
    names: list[str] = []
    lines: list[str] = []
    in_head = True
    for texts, headings in _grid(table, repeats):
        if not any(texts):
            continue
        if all(headings) and len(set(texts)) > 1:
            upper = names if in_head and repeats.take(sum(map(len, names))) else []
            names = _named(upper, texts)
            continue
        in_head = False
        distinct = dict.fromkeys(text for text in texts if text)
        if len(distinct) == 1 and (len(texts) == 1 or len([t for t in texts if t]) > 1):
            lines.append(next(iter(distinct)))
            continue
        parts = []
        shown_before = ""
        if names and not repeats.take(sum(map(len, names[: len(texts)]))):
            names = []
        for column, text in enumerate(texts):
            name = names[column] if column < len(names) else ""
            if not text or (text == shown_before and not name):
                continue
            shown_before = text
            parts.append(f"{name}: {text}" if name and name != text else text)
        lines.append("; ".join(parts))
    return lines or ["; ".join(name for name in names if name)] * bool(any(names))


def _named(above: list[str], below: list[str]) -> list[str]:
    """Join names of two rows of headings."""
    joined = []
    for column, name in enumerate(below):
        upper = above[column] if column < len(above) else ""
        joined.append(f"{upper} {name}" if upper and name and upper != name else name or upper)
    return joined
