"""The parts that a section can be cut into: blocks, lines, sentences, words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple
from zlib import crc32

from ragcore.corpora.chunking import digest_of_start
from ragcore.corpora.sentences import sentence_ends
from ragcore.corpora.splitting.measures import Measure
from ragcore.corpora.structure import Block, BlockKind
from ragcore.corpora.words import word_spans

__all__ = ["Border", "Part", "finer_parts", "line_starts", "parts_of"]

_CONTEXT: Final = 32
"""Characters before a border within a sentence that decide whether it is one."""


class Border(IntEnum):
    """What begins at a border; the lower, the better can a text be cut there."""

    BLOCK = 0
    ITEM = 1
    SENTENCE = 2
    LINE = 3
    WORD = 4
    TOKEN = 5


class Part(NamedTuple):
    """A part of a section.

    Attributes:
        start: of it in the text.
        end: behind it; what is between it and the next part is in no part.
        border: what begins with it.
        kind: of the block that it is in.
        stage: how often the block was cut for it.
        digest: of what stands before the border at its end.
    """

    start: int
    end: int
    border: Border
    kind: BlockKind
    stage: int
    digest: int


def parts_of(text: str, blocks: Sequence[Block]) -> list[Part]:
    """Return blocks, and lists by their items."""
    parts: list[Part] = []
    for block in blocks:
        start, end, kind = block.start, block.end, block.kind
        if kind == "list":
            parts += _cut(text, start, end, Border.BLOCK, kind, 0, _items(text, start, end))
        else:
            parts.append(_part(text, start, end, Border.BLOCK, kind, 0))
    return parts


def finer_parts(
    text: str, part: Part, measure: Measure, language: str, worst: Border = Border.TOKEN
) -> tuple[list[Part], list[int]]:
    """Return the parts of a part with their lengths; the part alone where it has none.

    Args:
        text: that it is a part of.
        part: to cut.
        measure: of lengths.
        language: of the text.
        worst: border at which it may be cut.
    """
    content = text[part.start : part.end]
    for stage in range(part.stage, len(_STAGES[part.kind])):
        border = _STAGES[part.kind][stage]
        if border > worst:
            break
        borders = list(_borders(text, part, border, measure, language))
        if borders:
            parts = _cut(text, part.start, part.end, part.border, part.kind, stage + 1, borders)
            starts = [finer.start - part.start for finer in parts]
            return parts, measure.part_lengths(content, starts)
    return [part], measure.lengths([content])


def line_starts(text: str, start: int, end: int) -> Iterator[int]:
    """Yield where lines that are not empty begin, without the first of a stretch of text."""
    at = start
    while (at := text.find("\n", at, end) + 1) > 0:
        following = text.find("\n", at, end)
        if text[at : following if following >= 0 else end].strip():
            yield at


_WORD: Final = Border.WORD  # faster to look up than a member of an enumeration
_STAGES: Final[dict[BlockKind, Sequence[Border]]] = {
    "heading": (Border.WORD, Border.TOKEN),
    "paragraph": (Border.SENTENCE, Border.LINE, Border.WORD, Border.TOKEN),
    "list": (Border.SENTENCE, Border.LINE, Border.WORD, Border.TOKEN),
    "table": (Border.LINE, Border.WORD, Border.TOKEN),
    "code": (Border.LINE, Border.WORD, Border.TOKEN),
}
"""At which borders a block is cut first, then each of its parts that is still too long."""


def _borders(
    text: str, part: Part, border: Border, measure: Measure, language: str
) -> Iterator[tuple[int, Border]]:
    """Yield where a part can be cut at borders of one kind."""
    content = text[part.start : part.end]
    match border:
        case Border.SENTENCE:
            for end in sentence_ends(content, language):
                if end < len(content):
                    yield part.start + end, border
        case Border.LINE:
            for start in line_starts(text, part.start, part.end):
                # Code goes better apart at an empty line.
                line = text.rfind("\n", part.start, start - 1) + 1
                is_behind_empty = line > 0 and not text[line:start].strip()
                yield start, Border.ITEM if part.kind == "code" and is_behind_empty else border
        case Border.WORD:
            spans = word_spans(text, part.start, part.end)
            next(spans, None)
            for start, _ in spans:
                yield start, border
        case Border.TOKEN:
            for start in measure.unit_starts(content):
                yield part.start + start, border


def _items(text: str, start: int, end: int) -> Iterator[tuple[int, Border]]:
    """Yield where items of a list begin, and lines within an item."""
    for line in line_starts(text, start, end):
        yield line, Border.LINE if text[line].isspace() else Border.ITEM


def _cut(
    text: str,
    start: int,
    end: int,
    border: Border,
    kind: BlockKind,
    stage: int,
    borders: Iterable[tuple[int, Border]],
) -> list[Part]:
    """Return the parts between borders within a stretch of text, which begins with a border."""
    parts = []
    for next_start, next_border in borders:
        parts.append(_part(text, start, next_start, border, kind, stage))
        start, border = next_start, next_border
    parts.append(_part(text, start, end, border, kind, stage))
    return parts


def _part(text: str, start: int, end: int, border: Border, kind: BlockKind, stage: int) -> Part:
    if border < _WORD:
        digest = digest_of_start(text, start, end)
    else:
        digest = crc32(text[max(end - _CONTEXT, 0) : end].encode("utf-8", "surrogatepass"))
    return Part(start, end, border, kind, stage, digest)
