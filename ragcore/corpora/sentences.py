"""Sentences of a text, in time that is linear in its length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from unicodedata import category

from ragcore.corpora.words import count_words, cut_words

__all__ = ["LONGEST_SENTENCE", "sentence_ends", "sentences"]

LONGEST_SENTENCE: Final = 120
"""Words at which a text without the end of a sentence is cut."""

_SEGMENTED_AT_ONCE: Final = 5000
"""Characters given to the segmenter at once, whose time is not always linear."""


def sentences(text: str, language: str) -> list[str]:
    """Return a text's sentences with the blanks after them; joined, they are the text.

    A sentence of more than `LONGEST_SENTENCE` words is cut between words.

    Args:
        text: such as a paragraph.
        language: its code, such as `en`, by which abbreviations are known; "" is English.
    """
    cut: list[str] = []
    start = 0
    for end, _ in _segmented(text, language or "en"):
        sentence = text[start:end]
        start = end
        if len(sentence) <= LONGEST_SENTENCE or count_words(sentence) <= LONGEST_SENTENCE:
            cut.append(sentence)
        else:
            cut.extend(cut_words(sentence, LONGEST_SENTENCE))
    return cut


def sentence_ends(text: str, language: str) -> Iterator[int]:
    """Yield where each sentence and the blanks after it end; the last is the text's end.

    Args:
        text: such as a paragraph.
        language: its code, such as `en`; "" is English.
    """
    for end, is_end in _segmented(text, language or "en"):
        if is_end:
            yield end


def _segmented(text: str, language: str) -> Iterator[tuple[int, bool]]:
    """Yield ends of parts, and whether a sentence ends there rather than what was read at once.

    Each sentence is read in a stretch of text that holds all of it, where one does.
    """
    import sentencex  # takes a while to import, and not every program splits texts

    start = 0
    while start < len(text):
        stretch = text[start : start + _SEGMENTED_AT_ONCE]
        # The segmenter refuses a lone surrogate; another character does as well.
        readable = stretch.encode("utf-8", "replace").decode("utf-8")
        lengths = [len(part) for part in sentencex.segment(language, readable)]
        if sum(lengths) != len(stretch):  # an empty line between two sentences is in neither
            parts = sentencex.get_sentence_boundaries(language, readable)
            starts = [0, *(part["start_index"] for part in parts[1:]), len(stretch)]
            lengths = [end - begin for begin, end in pairwise(starts)]
        cut_off = False
        if start + len(stretch) < len(text):
            if len(lengths) > 1:
                lengths.pop()  # may go on after the stretch
            else:
                # A word longer than the stretch is cut within.
                lengths = [stretch.rfind(" ") + 1 or _before_mark(stretch)]
                cut_off = True
        for length in lengths:
            start += length
            yield start, not cut_off


def _before_mark(stretch: str) -> int:
    """Return where the last character that is no combining mark begins."""
    end = len(stretch) - 1
    while end > 1 and category(stretch[end]).startswith("M"):
        end -= 1
    return end
