"""The sections of a document: a heading with what follows it, up to the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ragcore.corpora.structure import Block, DocumentText
from ragcore.corpora.words import count_words

__all__ = ["Section", "sections_of"]

_LONGEST_GAP: Final = 12
"""Words between two blocks, such as a comment's, beyond which no piece holds both blocks."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the blocks below it.

    A heading that nothing stands below but a deeper heading is in the deeper one's section.

    Attributes:
        blocks: at least one; none is white space alone.
        headings: of the sections that it is in and its own, outermost first.
    """

    blocks: Sequence[Block]
    headings: tuple[str, ...]

    @property
    def start(self) -> int:
        """Return where its first block starts."""
        return self.blocks[0].start

    @property
    def end(self) -> int:
        """Return where its last block ends."""
        return self.blocks[-1].end


def sections_of(document: DocumentText) -> Iterator[Section]:
    """Yield a document's sections in order; what precedes the first heading is one too."""
    text = document.text
    open_headings: list[Block] = []
    blocks: list[Block] = []
    path: tuple[str, ...] = ()
    for block in document.blocks:
        start, end = block.start, block.end
        if start >= end or (text[start].isspace() and text[start:end].isspace()):
            continue
        is_heading = block.kind == "heading"
        if blocks:
            last = blocks[-1]
            # A word has a character at least, so that most gaps need not be counted.
            if (is_heading and (last.kind != "heading" or block.level <= last.level)) or (
                start - last.end > _LONGEST_GAP
                and count_words(text[last.end : start]) > _LONGEST_GAP
            ):
                yield Section(blocks, path)
                blocks = []
        if is_heading:
            while open_headings and open_headings[-1].level >= block.level:
                open_headings.pop()
            open_headings.append(block)
            path = tuple(heading.heading for heading in open_headings if heading.heading)
        blocks.append(block)
    if blocks:
        yield Section(blocks, path)
