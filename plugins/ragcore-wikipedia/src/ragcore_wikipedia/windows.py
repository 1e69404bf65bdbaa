"""Cut sections into passages whose borders an edit elsewhere does not move.

Windows of sentences start again at each paragraph. Items of a list, rows of a table, facts of an
infobox and runs of short paragraphs are grouped into chunks, whose borders depend on the lines next
to them only (content-defined chunking: a chunk ends after a line whose digest is a local minimum).
So an item that is added or removed changes its own chunk, and the borders after it stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

from ragcore.corpora.chunking import chunk_ends, digest_of_start
from ragcore.corpora.sentences import sentences
from ragcore.corpora.words import blocks_of_words, count_words
from ragcore_wikipedia.wikitext import Section

__all__ = ["passage_texts"]

WINDOW = 6
STRIDE = 3
"""Sentences of a window, and from one window's start to the next (Tamber et al., ECIR 2023)."""

SHORT = 25
"""Words below which a paragraph is too short to be a passage of its own."""
REACH = 30
"""Words on each side that decide whether a chunk may end after a line."""
CHUNK_LIMIT = 120
"""Words beyond which a chunk does not grow."""
_LONGEST_CAPTION = 300
"""Characters of a table's caption beyond which its passages do not repeat it."""


def passage_texts(section: Section, language: str) -> Iterator[str]:
    """Yield the texts of a section's passages in order (layout `structured`)."""
    for unit in _units(section):
        if unit.rows:
            yield from unit.chunks
        else:
            yield from _windows(unit, language)


class _Unit:
    """A paragraph with the short lines next to it, or chunks of lines."""

    def __init__(self, paragraph: str = "", chunks: Sequence[str] = ()) -> None:
        self.paragraph = paragraph
        self.chunks = list(chunks)
        self.rows = not paragraph
        self.before = ""
        self.after = ""


def _units(section: Section) -> list[_Unit]:
    """Group a section's blocks."""
    units: list[_Unit] = []
    run: list[str] = []
    waiting = ""  # a short run before the first paragraph

    def end_run() -> None:
        nonlocal waiting
        if not run:
            return
        chunks = list(_chunks(run, "list"))
        run.clear()
        if len(chunks) == 1 and count_words(chunks[0]) < SHORT:
            if units and not units[-1].rows:
                units[-1].after = chunks[0]
                return
            if not units:
                waiting = chunks[0]
                return
        units.append(_Unit(chunks=chunks))

    for block in section.blocks:
        if block.kind == "paragraph":
            (text,) = block.lines
            if count_words(text) < SHORT:
                run.append(text)
                continue
            end_run()
            unit = _Unit(text)
            unit.before, waiting = waiting, ""
            units.append(unit)
        elif block.kind == "list":
            run.extend(block.lines)
        else:
            end_run()
            heading = block.heading or (section.path[-1] if section.path else "")
            top, lines = "", block.lines
            if heading and block.kind == "table":
                if len(heading) <= _LONGEST_CAPTION:
                    top = f"{heading}\n"
                else:
                    lines = (heading, *lines)
            chunks = [f"{top}{chunk}" for chunk in _chunks(lines, block.kind)]
            units.append(_Unit(chunks=chunks))
    end_run()
    if waiting:
        units.insert(0, _Unit(chunks=[waiting]))
    return units


def _windows(unit: _Unit, language: str) -> Iterator[str]:
    """Yield a paragraph's windows of sentences; each but the first overlaps the one before."""
    parts = sentences(unit.paragraph, language)
    starts = [0]
    while starts[-1] + WINDOW < len(parts):
        starts.append(starts[-1] + STRIDE)
    for start in starts:
        text = "".join(parts[start : start + WINDOW]).strip()
        if start == 0 and unit.before:
            text = f"{unit.before}\n{text}"
        if start == starts[-1] and unit.after:
            text = f"{text}\n{unit.after}"
        yield text


def _chunks(lines: Sequence[str], kind: str) -> Iterator[str]:
    """Group lines into chunks; see the module's docstring."""
    lines = list(_cut(lines))
    lengths = [count_words(line) for line in lines]
    ends = chunk_ends([_digest(line, kind) for line in lines], lengths, REACH)
    chunk: list[str] = []
    size = 0
    before: str | None = None  # the last chunk, kept back to take what is too short after it
    for number, line in enumerate(lines):
        if chunk and size + lengths[number] > CHUNK_LIMIT:
            if before is not None:
                yield before
            before = "\n".join(chunk)
            chunk, size = [], 0
        chunk.append(line)
        size += lengths[number]
        if size >= SHORT and number in ends:
            if before is not None:
                yield before
            before = "\n".join(chunk)
            chunk, size = [], 0
    if chunk and size < SHORT and before is not None:
        yield "\n".join([before, *chunk])
        return
    if before is not None:
        yield before
    if chunk:
        yield "\n".join(chunk)


def _cut(lines: Sequence[str]) -> Iterator[str]:
    """Cut lines longer than a chunk."""
    for line in lines:
        if len(line) <= CHUNK_LIMIT or count_words(line) <= CHUNK_LIMIT:
            yield line
        else:
            yield from blocks_of_words(line, CHUNK_LIMIT)


def _digest(line: str, kind: str) -> int:
    """Return a digest of how a line starts, so that another value in its rest moves no border."""
    match kind:
        case "infobox":
            start = line.partition(":")[0]
        case "table":
            start = "; ".join(line.split("; ", 2)[:2])
        case _:
            return digest_of_start(line)
    return crc32(start.encode())
