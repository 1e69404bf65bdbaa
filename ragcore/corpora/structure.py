"""The text of a document with its structure: headings, paragraphs, lists, tables and code.

Readers of formats make it, the splitter cuts it; both know nothing of each other. All positions are
character offsets in the document's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ["Block", "BlockKind", "DocumentText", "TextBuilder", "plain_document"]

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]

_BREAK: Final = "\n\n"
_EMPTY_LINES: Final = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a document's text that belongs together.

    Attributes:
        kind: of the block; `list` and `table` have an item or row a line.
        start: of it in the document's text.
        end: behind it.
        level: of a heading, from 1; 0 of others.
        heading: a heading's text without marks of its format, such as `#`.
        page: number of the page or slide, from 1; None where the format has none.
        line: number of its first line in the file, from 1, where the document's text is not the
            file's own.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    heading: str = ""
    page: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class DocumentText:
    """What a reader makes of a file.

    Attributes:
        text: of the document.
        blocks: in the order of the text, disjoint; what is between them is white space or marks
            that no passage needs.
        title: of the document, by its own account; "" where it has none.
        metadata: that the document tells of itself, such as its author; JSON-ready.
        is_source: whether `text` is the file's own text, so that lines can be counted in it.
    """

    text: str
    blocks: Sequence[Block]
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_source: bool = False


class TextBuilder:
    """Joins blocks to a document's text, with an empty line between two.

    >>> builder = TextBuilder()
    >>> builder.add("heading", "Chad", level=1)
    >>> builder.add("paragraph", "A country.")
    >>> builder.build().text
    'Chad\\n\\nA country.'
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0

    def add(
        self,
        kind: BlockKind,
        text: str,
        *,
        level: int = 0,
        page: int | None = None,
        line: int | None = None,
    ) -> None:
        """Append a block; one of white space alone is left out.

        Args:
            kind: of the block.
            text: of it; white space around it is dropped, for code only empty lines around it.
            level: of a heading, from 1.
            page: number of the page, from 1.
            line: number of its first line in the file, from 1.
        """
        text = text.strip("\n").rstrip() if kind == "code" else text.strip()
        if not text.strip():
            return
        if self._parts:
            self._parts.append(_BREAK)
            self._length += len(_BREAK)
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        heading = " ".join(text.split()) if kind == "heading" else ""
        self._blocks.append(Block(kind, start, self._length, level, heading, page, line))

    def extend(self, part: DocumentText, *, page: int | None = None) -> None:
        """Append the blocks of another text.

        Args:
            part: such as a chapter.
            page: number of the page of all its blocks; None leaves theirs.
        """
        for block in part.blocks:
            self.add(
                block.kind,
                part.text[block.start : block.end],
                level=block.level,
                page=block.page if page is None else page,
                line=block.line,
            )

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks so far."""
        return iter(self._blocks)

    def build(self, title: str = "", metadata: Mapping[str, Any] | None = None) -> DocumentText:
        """Return the text of all blocks.

        Args:
            title: of the document.
            metadata: of the document.
        """
        return DocumentText("".join(self._parts), tuple(self._blocks), title, metadata or {})


def plain_document(text: str) -> DocumentText:
    """Return a text without marks of a format as a document: a paragraph ends at an empty line.

    Args:
        text: such as that of a row of a data set; lines are counted in it.
    """
    blocks = []
    start = 0
    ends = (match.span() for match in _EMPTY_LINES.finditer(text))
    for end, next_start in (*ends, (len(text), len(text))):
        paragraph = text[start:end]
        if content := paragraph.strip():
            start += len(paragraph) - len(paragraph.lstrip())
            blocks.append(Block("paragraph", start, start + len(content)))
        start = next_start
    return DocumentText(text, tuple(blocks), is_source=True)
