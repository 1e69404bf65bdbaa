"""Split a page's text into sections of paragraphs, list items, tables and infoboxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ragcore_wikipedia.wikitext import names
from ragcore_wikipedia.wikitext.inline import one_line, without_inline_markup
from ragcore_wikipedia.wikitext.marks import BLOCK, BREAK
from ragcore_wikipedia.wikitext.scan import Rows

__all__ = ["Block", "Section", "sections"]

_LONGEST_HEADING = 250
"""Characters; MediaWiki's titles of pages, which its headings resemble, have 255 bytes."""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, the items of a list, the rows of a table or the facts of an infobox.

    Attributes:
        kind: which of them.
        lines: plain text; a paragraph has one line.
        heading: a table's caption, or "".
    """

    kind: str
    lines: tuple[str, ...]
    heading: str = ""


@dataclass(slots=True)
class Section:
    """What stands under a heading.

    Attributes:
        path: the headings above it, outermost first; () for the lead.
        blocks: in order, none of them empty.
    """

    path: tuple[str, ...]
    blocks: list[Block] = field(default_factory=list)


def sections(text: str, rows: list[Rows], *, prose: bool) -> list[Section]:
    """Return the sections with text of a page whose brackets are resolved.

    Args:
        text: with marks where tables and infoboxes were.
        rows: those blocks, by number.
        prose: leave out lists.
    """
    section = Section(())
    collected = [section]
    headings: list[tuple[int, str]] = []
    paragraph: list[str] = []
    items: list[str] = []
    shown_rows: set[int] = set()

    def end_paragraph() -> None:
        if paragraph:
            shown = one_line(" ".join(paragraph))
            paragraph.clear()
            if _says_something(shown):
                section.blocks.append(Block("paragraph", (shown,)))

    def end_list() -> None:
        if items:
            section.blocks.append(Block("list", tuple(items)))
            items.clear()

    for line in without_inline_markup(text).split("\n"):
        stripped = line.strip()
        first = stripped[:1]
        if not first:
            end_paragraph()
            end_list()
        elif first == "=" and (heading := _heading(stripped)) is not None:
            end_paragraph()
            end_list()
            level, title = heading
            while headings and headings[-1][0] >= level:
                headings.pop()
            if len(title) > _LONGEST_HEADING:
                # All passages below would repeat it, so the whole of it becomes text.
                paragraph.append(title)
                title = (
                    f"{title[:_LONGEST_HEADING].rpartition(' ')[0] or title[:_LONGEST_HEADING]}…"
                )
            headings.append((level, title))
            section = Section(tuple(name for _, name in headings if name))
            collected.append(section)
        elif first == "\ue000" and (mark := BLOCK.match(stripped)):
            end_paragraph()
            end_list()
            section.blocks.extend(_rows(rows, int(mark[1]), shown_rows))
        elif (
            first == ":" and (indented := stripped.lstrip(": ")) and indented[0] not in "*#;\ue000"
        ):
            # A quotation, or a formula, that stands apart.
            end_paragraph()
            end_list()
            paragraph.append(indented)
            end_paragraph()
        elif first in "*#:;":
            end_paragraph()
            if not prose and (item := _item(stripped)):
                items.append(item)
        elif first in "|!" or stripped.startswith(("----", "{|")):
            # What is left of a broken table, or a rule.
            end_paragraph()
            end_list()
        else:
            end_list()
            if line[0] == " " and not prose and paragraph:
                # A line that starts with a blank is preformatted.
                paragraph.append(BREAK)
            paragraph.append(stripped)
    end_paragraph()
    end_list()
    return [
        section
        for section in collected
        if section.blocks and not any(name.lower() in names.APPARATUS for name in section.path)
    ]


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _heading(line: str) -> tuple[int, str] | None:
    """Return level and title of a heading, if the line is one."""
    opening = len(line) - len(line.lstrip("="))
    closing = len(line) - len(line.rstrip("="))
    level = min(opening, closing, 6)
    if opening == len(line) or level == 0:
        return None
    title = one_line(BLOCK.sub("", line[level : len(line) - level]))
    return level, title


def _item(line: str) -> str:
    """Return a list item's text; `; term : definition` becomes `term: definition`."""
    content = line.lstrip("*#:;")
    if line[0] == ";":
        term, colon, definition = content.partition(" :")
        if colon:
            content = f"{term.strip()}: {definition.strip()}"
    shown = one_line(BLOCK.sub("", content))
    return shown if _says_something(shown) else ""


def _rows(rows: list[Rows], number: int, shown: set[int]) -> Iterator[Block]:
    """Yield a block that is not in `shown` yet, with the boxes within a box for their marks."""
    if number in shown:
        return
    shown.add(number)
    block = rows[number]
    kind = "infobox" if block.box else "table"
    heading = one_line(without_inline_markup(block.heading).replace("\n", " "))
    lines: list[str] = []
    for line in block.lines:
        mark = BLOCK.fullmatch(line)
        if mark is None:
            if _says_something(line):
                lines.append(line)
            continue
        for part in _rows(rows, int(mark[1]), shown):
            lines.extend(part.lines)
    if lines:
        yield Block(kind, tuple(lines), heading)
