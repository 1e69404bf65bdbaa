"""Cut sections into passages whose borders an edit elsewhere does not move.

Windows of sentences start again at each paragraph. Items of a list, rows of a table, facts of an
infobox and runs of short paragraphs are grouped into chunks, whose borders depend on the lines next
to them only (content-defined chunking: a chunk ends after a line whose digest is a local minimum).
So an item that is added or removed changes its own chunk, and the borders after it stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from unicodedata import category
from zlib import crc32

import sentencex

from ragcore_wikipedia.wikitext import Section

__all__ = ["blocks_of_words", "passage_texts", "sentences", "words"]

WINDOW = 6
STRIDE = 3
"""Sentences of a window, and from one window's start to the next (Tamber et al., ECIR 2023)."""

SHORT = 25
"""Words below which a paragraph is too short to be a passage of its own."""
REACH = 30
"""Words on each side that decide whether a chunk may end after a line."""
CHUNK_LIMIT = 120
"""Words beyond which a chunk does not grow."""
LONGEST_SENTENCE = 120
"""Words at which a text without the end of a sentence is cut."""
_LONGEST_CAPTION = 300
"""Characters of a table's caption beyond which its passages do not repeat it."""
_SEGMENTED_AT_ONCE = 5000
"""Characters given to the segmenter at once, whose time is not always linear."""

# A word is what stands between blanks; where a script has no blanks, some characters count as one.
_WORD = re.compile(
    r"\s*+(?:[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]{1,2}"
    r"[\u3001-\u3003\u3008-\u3011\uff01-\uff0f\uff1a-\uff20]*"
    r"|[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]{1,5}"
    r"[\u0e30-\u0e3a\u0e47-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ece\u0f71-\u0f84\u102b-\u103e\u17b4-\u17d3]*"
    r"|[^\s\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|\S)"
)
_SPACED_WORD = re.compile(r"\S+")
_UNSPACED = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)


def words(text: str) -> int:
    """Count words; two CJK characters, or five of a script without blanks, count as one."""
    if text.isascii() or not _UNSPACED.search(text):
        return len(text.split())
    return sum(1 for _ in _WORD.finditer(text))


def blocks_of_words(text: str, size: int) -> Iterator[str]:
    """Cut a text after every `size` words."""
    if not _UNSPACED.search(text):
        tokens = text.split()
        for start in range(0, len(tokens), size):
            yield " ".join(tokens[start : start + size])
        return
    for piece in _pieces(text, size):
        if block := piece.strip():
            yield block


def _pieces(text: str, size: int) -> Iterator[str]:
    """Cut a text after every `size` words and the blanks after them; joined, they are the text."""
    word = _WORD if _UNSPACED.search(text) else _SPACED_WORD
    start = 0
    for match in islice(word.finditer(text), size, None, size):
        # This word, with the blanks before it, is the first of the next piece.
        end = match.end() - len(match[0].lstrip())
        yield text[start:end]
        start = end
    yield text[start:]


def sentences(paragraph: str, language: str) -> list[str]:
    """Return a paragraph's sentences with the blanks after them; joined, they are the paragraph.

    A sentence of more than `LONGEST_SENTENCE` words is cut between words.
    """
    cut: list[str] = []
    for sentence in _segmented(paragraph, language or "en"):
        if len(sentence) <= LONGEST_SENTENCE or words(sentence) <= LONGEST_SENTENCE:
            cut.append(sentence)
        else:
            cut.extend(_pieces(sentence, LONGEST_SENTENCE))
    return cut


def _segmented(paragraph: str, language: str) -> Iterator[str]:
    """Yield the segmenter's sentences, each read in a stretch of text that holds all of it."""
    start = 0
    while start < len(paragraph):
        stretch = paragraph[start : start + _SEGMENTED_AT_ONCE]
        parts = list(sentencex.segment(language, stretch))
        if start + len(stretch) < len(paragraph):
            if len(parts) > 1:
                parts.pop()  # may go on after the stretch
            else:
                # A word longer than the stretch is cut within.
                end = stretch.rfind(" ") + 1
                parts = [stretch[:end] if end else _before_mark(stretch)]
        yield from parts
        start += sum(map(len, parts))


def _before_mark(stretch: str) -> str:
    """Cut a text without blanks before its last character that is no combining mark."""
    end = len(stretch) - 1
    while end > 1 and category(stretch[end]).startswith("M"):
        end -= 1
    return stretch[:end]


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
        if len(chunks) == 1 and words(chunks[0]) < SHORT:
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
            if words(text) < SHORT:
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
    lengths = [words(line) for line in lines]
    ends = _ends(lines, lengths, kind)
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


def _ends(lines: Sequence[str], lengths: Sequence[int], kind: str) -> set[int]:
    """Return the lines after which a chunk may end.

    They are those whose digest is the least within `REACH` words on both sides: whether a line is
    one depends on its neighbours only, not on where the chunk began.
    """
    digests = [_digest(line, kind) for line in lines]
    starts = [0, *accumulate(lengths)]  # words before each line, and in all
    ends = set()
    first = last = 0
    for number, digest in enumerate(digests):
        while starts[number] - starts[first] > REACH:
            first += 1
        last = max(last, number + 1)
        while last < len(lines) and starts[last] - starts[number + 1] < REACH:
            last += 1
        if (number == first or digest < min(digests[first:number])) and (
            number + 1 == last or digest <= min(digests[number + 1 : last])
        ):
            ends.add(number)
    return ends


def _cut(lines: Sequence[str]) -> Iterator[str]:
    """Cut lines longer than a chunk."""
    for line in lines:
        if len(line) <= CHUNK_LIMIT or words(line) <= CHUNK_LIMIT:
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
            start = " ".join(line[:80].split(None, 4)[:4])
    return crc32(start.encode())
