"""Pieces of at most so many words or tokens, whose borders an edit elsewhere does not move.

A section that is too long is cut between blocks, items and lines where it can be, else between
sentences, else between words. Which of these borders are taken depends on what is near them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from ragcore.corpora.chunking import chunk_ends
from ragcore.corpora.splitting.measures import Measure, WordMeasure
from ragcore.corpora.splitting.parts import Border, Part, finer_parts, parts_of
from ragcore.corpora.splitting.sections import Section
from ragcore.corpora.structure import Block
from ragcore.corpora.words import word_spans

__all__ = ["block_ranges", "halves", "sized_ranges"]

_SECTIONS_AT_ONCE: Final = 200_000
"""Characters of the sections that are measured in one call."""


def sized_ranges(
    text: str,
    sections: Iterable[Section],
    measure: Measure,
    size: int,
    overlap: int,
    language: str,
) -> Iterator[tuple[int, int, Section]]:
    """Yield where each piece starts and ends, and its section.

    Args:
        text: of the document.
        sections: of it.
        measure: of lengths.
        size: the greatest length of a piece.
        overlap: the greatest length of what a piece repeats of the one before, in whole sentences.
        language: of the text.
    """
    for batch in _batches(sections):
        # Most sections are one piece, and are not looked at more closely.
        parts = [
            [] if measure.fits(text, section.blocks, size) else parts_of(text, section.blocks)
            for section in batch
        ]
        lengths = iter(
            measure.lengths([row for part in parts if part for row in _contents(text, part)])
        )
        ranges = []
        for section, row in zip(batch, parts, strict=True):
            if not row:
                ranges.append((_Range(section.start, section.end, section.start), section))
                continue
            row_lengths = [next(lengths) for _ in row]
            for piece in _pieces(text, row, row_lengths, measure, size, overlap, language):
                ranges.append((piece, section))
        fitting = ranges if measure.is_exact else _fitting(text, ranges, measure, size)
        for piece, section in fitting:
            yield piece.start, piece.end, section


def block_ranges(text: str, block: Block, size: int) -> Iterator[tuple[int, int]]:
    """Yield where the parts of a block that have at most so many words start and end."""
    parts = parts_of(text, [block])
    measure = WordMeasure()
    lengths = measure.lengths(_contents(text, parts))
    for piece in _pieces(text, parts, lengths, measure, size, 0, ""):
        yield piece.start, piece.end


class _Range(NamedTuple):
    """Where a piece starts and ends; up to `new` it repeats the piece before."""

    start: int
    end: int
    new: int


def _batches(sections: Iterable[Section]) -> Iterator[list[Section]]:
    """Yield sections to measure together."""
    batch: list[Section] = []
    characters = 0
    for section in sections:
        batch.append(section)
        characters += section.end - section.start
        if characters >= _SECTIONS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _contents(text: str, parts: Sequence[Part]) -> list[str]:
    """Return the text from each part to the next."""
    starts = [part.start for part in parts]
    return [text[start:end] for start, end in pairwise((*starts, parts[-1].end))]


def _pieces(
    text: str,
    parts: Sequence[Part],
    lengths: Sequence[int],
    measure: Measure,
    size: int,
    overlap: int,
    language: str,
) -> Iterator[_Range]:
    """Yield the pieces of a section of these parts."""
    if sum(lengths) <= size:
        yield _Range(parts[0].start, parts[-1].end, parts[0].start)
        return
    parts, lengths = _refined(text, parts, lengths, measure, size - overlap, language)
    first = 0
    start = parts[0].start
    for behind in _chunk_ends(parts, lengths, size - overlap):
        yield _Range(start, parts[behind - 1].end, parts[first].start)
        if behind < len(parts):
            start = parts[behind].start
            if overlap:
                piece, sizes = parts[first:behind], lengths[first:behind]
                start = _repeated(text, piece, sizes, measure, overlap, language) or start
        first = behind


def _refined(
    text: str,
    parts: Sequence[Part],
    lengths: Sequence[int],
    measure: Measure,
    size: int,
    language: str,
) -> tuple[list[Part], list[int]]:
    """Cut parts that are longer than a piece, and join a heading to what follows it."""
    waiting = list(zip(parts, lengths, strict=True))[::-1]
    refined: list[Part] = []
    sizes: list[int] = []
    while waiting:
        part, length = waiting.pop()
        heading = sizes[-1] if refined and refined[-1].kind == "heading" else 0
        worst = None
        if length > size:
            worst = Border.TOKEN
        elif heading + length > size and part.stage == 0 and part.kind in {"paragraph", "list"}:
            worst = Border.LINE  # its first sentence may fit behind the heading
        if worst is not None:
            finer, finer_lengths = finer_parts(text, part, measure, language, worst)
            if len(finer) > 1:
                waiting += list(zip(finer, finer_lengths, strict=True))[::-1]
                continue
        if heading and heading + length <= size:
            refined[-1] = part._replace(start=refined[-1].start, border=refined[-1].border)
            sizes[-1] += length
        else:
            refined.append(part)
            sizes.append(length)
    return refined, sizes


def _chunk_ends(parts: Sequence[Part], lengths: Sequence[int], size: int) -> Iterator[int]:
    """Yield behind how many parts each piece ends."""
    # Good borders first; among those of a kind what stands before them decides.
    ranks = [following.border << 32 | part.digest for part, following in pairwise(parts)]
    before = [0, *accumulate(lengths)]
    ends = chunk_ends(ranks, lengths[:-1], max(size // 2, 1))
    bounds = [0, *(number + 1 for number in sorted(ends)), len(parts)]
    # Borders are at least half a size apart, but the first and the last of a section may be near
    # its end.
    for side in (1, -2):
        if len(bounds) > 2:
            left, right = bounds[side - 1], bounds[side + 1]
            short = min(before[bounds[side]] - before[left], before[right] - before[bounds[side]])
            if short < size // 4 and before[right] - before[left] <= size:
                del bounds[side]
    for first, last in pairwise(bounds):
        yield from _cut(ranks, before, first, last, size)


def _cut(
    ranks: Sequence[int], before: Sequence[int], first: int, last: int, size: int
) -> Iterator[int]:
    """Yield behind how many parts each piece between two borders ends."""
    while last - first > 1 and (rest := before[last] - before[first]) > size:
        # What remains must not be a small piece.
        least, most = (rest / 3, rest * 2 / 3) if rest * 2 <= size * 3 else (size / 2, size)
        best = fallback = first + 1
        is_best = False
        for behind in range(first + 1, last):
            length = before[behind] - before[first]
            if length > size:
                break
            fallback = behind
            if least <= length <= most and (not is_best or ranks[behind - 1] <= ranks[best - 1]):
                best, is_best = behind, True
        first = best if is_best else fallback
        yield first
    yield last


def _repeated(
    text: str,
    parts: Sequence[Part],
    lengths: Sequence[int],
    measure: Measure,
    overlap: int,
    language: str,
) -> int | None:
    """Return from where the next piece repeats the end of a piece, None where it does not."""
    start: int | None = None
    for part, length in zip(reversed(parts), reversed(lengths), strict=True):
        sentences, sizes = [part], [length]
        if length > overlap:
            sentences, sizes = finer_parts(text, part, measure, language, Border.LINE)
        for sentence, sentence_length in zip(reversed(sentences), reversed(sizes), strict=True):
            overlap -= sentence_length
            if overlap < 0 or sentence.start == parts[0].start:  # never all of it
                return start
            start = sentence.start
    return start


def _fitting(
    text: str, ranges: Sequence[tuple[_Range, Section]], measure: Measure, size: int
) -> Iterator[tuple[_Range, Section]]:
    """Yield ranges, cut further where a piece is longer by itself than its parts together."""
    lengths = measure.lengths([text[piece.start : piece.end].strip() for piece, _ in ranges])
    for (piece, section), length in zip(ranges, lengths, strict=True):
        if length <= size:
            yield piece, section
            continue
        for start, end in halves(text, piece.new, piece.end, measure, size):
            yield _Range(start, end, start), section


def halves(
    text: str, start: int, end: int, measure: Measure, size: int
) -> Iterator[tuple[int, int]]:
    """Yield a range, or halves of it that fit; a character by itself always does.

    Args:
        text: of the document.
        start: of the range.
        end: behind it.
        measure: of lengths.
        size: the greatest length.
    """
    content = text[start:end].strip()
    if len(content) <= 1 or measure.lengths([content])[0] <= size:
        yield start, end
        return
    start += text[start:end].index(content)
    borders = [at for at, _ in word_spans(content)][1:]
    borders = borders or measure.unit_starts(content) or [len(content) // 2]
    middle = start + min(borders, key=lambda at: abs(at - len(content) / 2))
    yield from halves(text, start, middle, measure, size)
    yield from halves(text, middle, end, measure, size)
