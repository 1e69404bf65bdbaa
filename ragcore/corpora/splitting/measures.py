"""How long a text is: in words, or in tokens of an encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol

from ragcore.corpora.structure import Block
from ragcore.corpora.words import count_words, is_spaced

if TYPE_CHECKING:
    from ragcore.contracts import TextTokenizer
    from ragcore.types import Spans

__all__ = ["Measure", "TokenMeasure", "WordMeasure"]

_TEXT_AT_ONCE: Final = 50_000
"""Characters beyond which a text is tokenised in parts."""
_TEXTS_AT_ONCE: Final = 1_000_000
"""Characters of the texts that are tokenised in one call."""


class Measure(Protocol):
    """How long texts are."""

    @property
    def is_exact(self) -> bool:
        """Tell whether a text is never longer than its parts together."""
        ...

    def fits(self, text: str, blocks: Sequence[Block], size: int) -> bool:
        """Return whether blocks are surely no longer than a size; False if it is not known."""
        ...

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the length of each text."""
        ...

    def part_lengths(self, text: str, starts: Sequence[int]) -> list[int]:
        """Return the lengths of a text's parts, which start at these ascending characters."""
        ...

    def unit_starts(self, text: str) -> list[int]:
        """Return where a word can be cut if need be, besides its first character."""
        ...


class WordMeasure:
    """Lengths in words."""

    is_exact = True

    def __init__(self, document: str | None = None) -> None:
        """Measure parts of one text, or of any.

        Args:
            document: of which all measured texts are parts; it tells once how words are counted.
        """
        self._is_spaced = document is not None and is_spaced(document)

    def fits(self, text: str, blocks: Sequence[Block], size: int) -> bool:
        """Return whether blocks, and what is between them, have at most so many words."""
        end = blocks[-1].end
        characters = end - blocks[0].start
        if not self._is_spaced:
            return characters <= size
        if characters + len(blocks) <= 2 * size:  # a word and the blank behind it
            return True
        starts = [block.start for block in blocks]
        for start, following in pairwise((*starts, end)):
            # Words are not counted beyond the size.
            size -= len(text[start:following].split(None, size))
            if size < 0:
                return False
        return True

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Count the words of each text."""
        if self._is_spaced:
            return [len(text.split()) for text in texts]
        return [count_words(text) for text in texts]

    def part_lengths(self, text: str, starts: Sequence[int]) -> list[int]:
        """Count the words of each part."""
        ends = [*starts[1:], len(text)]
        return self.lengths([text[start:end] for start, end in zip(starts, ends, strict=True)])

    def unit_starts(self, text: str) -> list[int]:
        """Return nothing: a word is never cut."""
        return []


class TokenMeasure:
    """Lengths in tokens of an encoder."""

    is_exact = False

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer

    def fits(self, text: str, blocks: Sequence[Block], size: int) -> bool:
        """Return False: tokens are counted for many texts at once."""
        return False

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        stretches: list[str] = []
        owners: list[int] = []
        for number, text in enumerate(texts):
            for start, end in _stretches(text):
                stretches.append(text[start:end])
                owners.append(number)
        lengths = [0] * len(texts)
        for owner, spans in zip(owners, self._spans(stretches), strict=True):
            lengths[owner] += len(spans)
        return lengths

    def part_lengths(self, text: str, starts: Sequence[int]) -> list[int]:
        """Count the tokens of each part, which a token is in by its last character."""
        lengths = [0] * len(starts)
        number = 0
        for end in self._ends(text):
            while number + 1 < len(starts) and starts[number + 1] < end:
                number += 1
            lengths[number] += 1
        return lengths

    def unit_starts(self, text: str) -> list[int]:
        """Return where tokens end and others begin."""
        return sorted({end for end in self._ends(text) if 0 < end < len(text)})

    def _ends(self, text: str) -> Iterator[int]:
        """Yield where each token ends, in order."""
        stretches = list(_stretches(text))
        spans = self._spans([text[start:end] for start, end in stretches])
        for (start, _), tokens in zip(stretches, spans, strict=True):
            for end in tokens[:, 1].tolist():
                yield start + end

    def _spans(self, texts: Sequence[str]) -> Iterator[Spans]:
        """Yield each text's tokens; texts are tokenised together up to a number of characters."""
        batch: list[str] = []
        characters = 0
        for text in texts:
            if batch and characters + len(text) > _TEXTS_AT_ONCE:
                yield from self._tokenizer.spans(batch)
                batch, characters = [], 0
            batch.append(text)
            characters += len(text)
        if batch:
            yield from self._tokenizer.spans(batch)


def _stretches(text: str) -> Iterator[tuple[int, int]]:
    """Yield parts of a text that are not too long to be tokenised, cut behind blanks if any."""
    start = 0
    while len(text) - start > _TEXT_AT_ONCE:
        end = start + _TEXT_AT_ONCE
        blank = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        end = blank + 1 if blank > start else end
        yield start, end
        start = end
    yield start, len(text)
