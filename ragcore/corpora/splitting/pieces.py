"""Pieces of a document, and where they are in it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragcore.corpora.splitting.config import SplitConfig
from ragcore.corpora.splitting.long_words import without_long_words
from ragcore.corpora.splitting.measures import Measure, TokenMeasure, WordMeasure
from ragcore.corpora.splitting.sections import Section, sections_of
from ragcore.corpora.splitting.sized import sized_ranges
from ragcore.corpora.splitting.windows import sentence_ranges, word_ranges
from ragcore.corpora.structure import DocumentText
from ragcore.errors import CorpusError

if TYPE_CHECKING:
    from ragcore.contracts import TextTokenizer

__all__ = ["Piece", "check_tokens", "split_document"]

_LEAST_ROOM = 8
"""Tokens of text that an encoder must read together with a title."""
_DEFAULT_TOKENS = 256
"""Tokens of a piece for an encoder that reads texts of any length."""
_MOST_TOKENS = 1_000_000
"""Tokens beyond which an encoder's room is no limit."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document's text.

    Attributes:
        text: of the piece.
        start: of it in the document's text.
        end: behind it; `text` is the document's text from start to end, except `by: words`, which
            joins words by one space.
        headings: of the sections that it is in, outermost first.
        page: on which it starts; None where the format has none.
        line: in the file at which it starts, from 1; None where that is not known.
    """

    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None


def split_document(
    document: DocumentText,
    split: SplitConfig,
    tokenizer: TextTokenizer | None = None,
    title: str = "",
) -> Iterator[Piece]:
    """Return the pieces of a document in order.

    No piece has more than the split's size, except one that is a single word or, by tokens, a
    single character. By tokens no piece has more than the encoder reads with the title either,
    so that it cuts none. What is no word, such as an image in letters, is cut as well.

    Args:
        document: of any format.
        split: how to split it.
        tokenizer: of the retriever's encoder, for `by: tokens`.
        title: of the document's passages, which the encoder reads with each; for `by: tokens`.

    Raises:
        CorpusError: by tokens, without a tokenizer; with a size that the encoder never reads; or
            with a title that leaves it too little room.
    """
    text = document.text
    sections = sections_of(document)
    language = split.language
    size = split.limit
    tokens: Measure | None = None
    if split.by == "words" or split.by == "sentences":
        cut = word_ranges if split.by == "words" else sentence_ranges
        assert size is not None  # each has a default
        ranges = cut(text, sections, size, split.overlap, language)
    else:
        if split.by == "tokens":
            tokens, size = _tokens(split, tokenizer, title)
        assert size is not None
        measure = tokens or WordMeasure(text)
        ranges = sized_ranges(text, sections, measure, size, split.overlap, language)
    ranges = without_long_words(text, ranges, split.by, size, tokens)
    return _without_contained(_located(document, ranges, joined=split.by == "words"))


def check_tokens(split: SplitConfig, tokenizer: TextTokenizer | None) -> None:
    """Check that texts can be split by tokens, where they are to be, whatever their titles.

    Raises:
        CorpusError: there is no tokenizer, or it leaves too little room for a piece.
    """
    if split.by == "tokens":
        _tokens(split, tokenizer, "")


def _tokens(split: SplitConfig, tokenizer: TextTokenizer | None, title: str) -> tuple[Measure, int]:
    """Return how tokens are counted, and how many a piece of a document may have."""
    if tokenizer is None:
        raise CorpusError(
            "split by tokens needs the tokenizer of the retriever's encoder, and this retriever "
            "has none; split by words or by headings"
        )
    room = tokenizer.room(title)
    if split.size is not None and split.size > (most := tokenizer.room("")):
        raise CorpusError(
            f"split.size is {split.size} tokens, and the encoder reads {most} of a text without a "
            f"title: set it to at most {most}, or leave it out, which takes what fits with each "
            "title"
        )
    if room < min(_LEAST_ROOM, split.size or _LEAST_ROOM):
        raise CorpusError(
            f"the title {title[:80]!r} leaves the encoder room for {max(room, 0)} tokens of text: "
            "shorten the title, or split by words or by headings, where long passages are cut"
        )
    default = _DEFAULT_TOKENS if room > _MOST_TOKENS else room
    size = min(room, split.size or default)
    if split.overlap >= size:
        raise CorpusError(
            f"split.overlap is {split.overlap} tokens, and a piece of this document has {size} at "
            f"most with the title {title[:80]!r}: set a smaller overlap"
        )
    return TokenMeasure(tokenizer), size


def _located(
    document: DocumentText, ranges: Iterator[tuple[int, int, Section]], *, joined: bool
) -> Iterator[Piece]:
    """Yield the pieces of ranges, without white space around them."""
    locations = _Locations(document)
    for start, end, section in ranges:
        piece = document.text[start:end]
        text = piece.strip()
        if not text:
            continue
        start += len(piece) - len(piece.lstrip())
        end = start + len(text)
        page, line = locations.at(start)
        if joined:
            text = " ".join(text.split())
        yield Piece(text, start, end, section.headings, page, line)


def _without_contained(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Leave out each piece that the next one begins with.

    An overlap of tokens may reach back to the start of a short piece: tokens of a text alone are
    not those of its parts.
    """
    pending: Piece | None = None
    for piece in pieces:
        if pending is not None and piece.start > pending.start:
            yield pending
        pending = piece
    if pending is not None:
        yield pending


class _Locations:
    """Tells pages and lines, in linear time for positions that mostly ascend."""

    def __init__(self, document: DocumentText) -> None:
        self._document = document
        self._starts = [block.start for block in document.blocks]
        self._position = 0
        self._breaks = 0  # before the position
        self._block = -1
        self._block_breaks = 0  # before that block

    def at(self, start: int) -> tuple[int | None, int | None]:
        """Return page and line of a character."""
        number = max(bisect_right(self._starts, start) - 1, 0)
        block = self._document.blocks[number]
        if self._document.is_source:
            return block.page, self._breaks_before(start) + 1
        if block.line is None:
            return block.page, None
        if number != self._block:
            self._block, self._block_breaks = number, self._breaks_before(block.start)
        return block.page, block.line + self._breaks_before(start) - self._block_breaks

    def _breaks_before(self, position: int) -> int:
        text = self._document.text
        if position >= self._position:
            self._breaks += text.count("\n", self._position, position)
        else:
            self._breaks -= text.count("\n", position, self._position)
        self._position = position
        return self._breaks
