"""Read plain text: the file as it is, in paragraphs."""

from __future__ import annotations

from collections.abc import Iterator

from ragcore.corpora.structure import Block, DocumentText
from ragcore_documents.readers.encoding import check_length, decode
from ragcore_documents.readers.limits import Limits

__all__ = ["paragraphs", "plain_text", "read_text"]


def read_text(data: bytes, limits: Limits) -> DocumentText:
    """Read a file of plain text; empty lines separate paragraphs.

    Args:
        data: of the file.
        limits: of its text.

    Raises:
        UnreadableError: if the file is no text, in no known encoding, or too large.
    """
    return plain_text(decode(data), limits)


def plain_text(text: str, limits: Limits) -> DocumentText:
    """Return a text with its paragraphs as blocks.

    Args:
        text: of the file.
        limits: of it.

    Raises:
        UnreadableError: if it is too large.
    """
    check_length(len(text), limits.characters)
    blocks = tuple(Block("paragraph", start, end) for start, end in paragraphs(text, 0, len(text)))
    return DocumentText(text, blocks, is_source=True)


def paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of lines that are not empty, between two positions."""
    first = last = -1
    position = start
    while position < end:
        line_end = text.find("\n", position, end)
        line_end = end if line_end < 0 else line_end
        line = text[position:line_end]
        if stripped := line.strip():
            begin = position + line.index(stripped[0])
            first = begin if first < 0 else first
            last = begin + len(stripped)
        elif first >= 0:
            yield first, last
            first = -1
        position = line_end + 1
    if first >= 0:
        yield first, last
