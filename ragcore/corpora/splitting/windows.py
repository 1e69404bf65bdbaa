"""Runs of words, and windows of sentences."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ragcore.corpora.chunking import chunk_ends, digest_of_start
from ragcore.corpora.sentences import LONGEST_SENTENCE, sentences
from ragcore.corpora.splitting.parts import line_starts
from ragcore.corpora.splitting.sections import Section
from ragcore.corpora.splitting.sized import block_ranges
from ragcore.corpora.structure import BlockKind
from ragcore.corpora.words import count_words, word_spans

__all__ = ["sentence_ranges", "word_ranges"]

_SHORT: Final = 25
"""Words below which a paragraph does not begin a window."""
_REACH: Final = 30
"""Words on each side that decide whether windows start again behind a short paragraph."""
_LONG: Final = 8
"""Windows of a paragraph beyond which they start again within it, so that an edit moves few."""

Range = tuple[int, int, Section]


def word_ranges(
    text: str, sections: Iterable[Section], size: int, overlap: int, language: str
) -> Iterator[Range]:
    """Yield runs of words, each of which begins `size - overlap` words after the one before.

    Args:
        text: of the document.
        sections: of it.
        size: words of a run.
        overlap: words that it shares with the one before.
        language: of no matter for words.
    """
    for section in sections:
        window: deque[tuple[int, int]] = deque(maxlen=size)
        fresh = 0  # words that no run has yet
        wanted = size
        for span in word_spans(text, section.start, section.end):
            window.append(span)
            fresh += 1
            if fresh == wanted:
                yield window[0][0], window[-1][1], section
                fresh, wanted = 0, size - overlap
        if fresh:
            first = max(len(window) - fresh - overlap, 0)
            yield window[first][0], window[-1][1], section


class _Paragraph(NamedTuple):
    """A block or a part of it, such as an item of a list."""

    start: int
    end: int
    words: int
    kind: BlockKind


def sentence_ranges(
    text: str, sections: Iterable[Section], size: int, overlap: int, language: str
) -> Iterator[Range]:
    """Yield windows of sentences, which start again at each paragraph that is not short.

    Short paragraphs and items of lists stay together, and start again behind one that is chosen by
    what it says. Code and tables count as one sentence where they are not long.

    Args:
        text: of the document.
        sections: of it.
        size: sentences of a window.
        overlap: sentences that it shares with the one before.
        language: of the text.
    """
    for section in sections:
        for unit in _units(text, section):
            starts = [
                start for paragraph in unit for start in _sentences(text, paragraph, language)
            ]
            starts.append(unit[-1].end)
            for first, last in pairwise(_restarts(text, starts, size)):
                window = first
                while (rest := last - window) > size:
                    # Two halves are better than a last window of a sentence or two.
                    taken = (rest + 1) // 2 if not overlap and 2 * rest < 3 * size else size
                    yield starts[window], starts[window + taken], section
                    window += taken - overlap
                yield starts[window], starts[last], section


def _units(text: str, section: Section) -> Iterator[Sequence[_Paragraph]]:
    """Yield paragraphs whose windows do not reach into the next ones."""
    unit: list[_Paragraph] = []  # ends in a paragraph that is not short
    run: list[_Paragraph] = []  # of short ones
    for paragraph in _paragraphs(text, section):
        if paragraph.words < _SHORT or paragraph.kind == "list":
            run.append(paragraph)
            continue
        if sum(short.words for short in run) >= _SHORT:
            if unit:
                yield unit
            yield from _groups(text, run)
            run = []
        elif unit:
            yield unit
        unit, run = [*run, paragraph], []
    if sum(short.words for short in run) < _SHORT:
        unit += run
        run = []
    if unit:
        yield unit
    if run:
        yield from _groups(text, run)


def _groups(text: str, run: Sequence[_Paragraph]) -> Iterator[Sequence[_Paragraph]]:
    """Divide short paragraphs at borders that depend on what is near them."""
    words = [paragraph.words for paragraph in run]
    digests = [digest_of_start(text[paragraph.start : paragraph.end]) for paragraph in run]
    behind = sum(words)
    group: list[_Paragraph] = []
    length = 0
    ends = chunk_ends(digests, words, _REACH)
    for number, paragraph in enumerate(run):
        group.append(paragraph)
        length += paragraph.words
        behind -= paragraph.words
        if number in ends and length >= _SHORT and behind >= _SHORT:
            yield group
            group, length = [], 0
    if group:
        yield group


def _paragraphs(text: str, section: Section) -> Iterator[_Paragraph]:
    """Yield a section's blocks, lists by their items, and the parts of long code and tables."""
    for block in section.blocks:
        words = count_words(text[block.start : block.end])
        if block.kind in {"code", "table"} and words > LONGEST_SENTENCE:
            ranges = block_ranges(text, block, LONGEST_SENTENCE)
        elif block.kind == "list":
            starts = [block.start, *line_starts(text, block.start, block.end)]
            ranges = pairwise((*starts, block.end))
        else:
            yield _Paragraph(block.start, block.end, words, block.kind)
            continue
        for start, end in ranges:
            yield _Paragraph(start, end, count_words(text[start:end]), block.kind)


def _sentences(text: str, paragraph: _Paragraph, language: str) -> Iterator[int]:
    """Yield where the sentences of a paragraph start; code or a table is one."""
    start, end, words, kind = paragraph
    if words == 1 or kind not in {"paragraph", "list"}:
        yield start
        return
    for sentence in sentences(text[start:end], language):
        if sentence.strip():
            yield start
        start += len(sentence)


def _restarts(text: str, starts: Sequence[int], size: int) -> list[int]:
    """Return the numbers of the sentences with which windows start again, and of the end."""
    count = len(starts) - 1
    if count <= _LONG * size:
        return [0, count]
    digests = [digest_of_start(text[start:end]) for start, end in pairwise(starts)]
    ends = chunk_ends(digests, [1] * count, 2 * size)
    return [0, *(number + 1 for number in sorted(ends) if number + 1 < count), count]
