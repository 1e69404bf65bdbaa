"""Splitting texts: no word is lost, and every piece but the last is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.corpora.splitter import split_lines, split_words

TEXTS = st.text(alphabet=st.sampled_from("ab \n\t\u00a0é"), max_size=80)


@given(TEXTS, st.integers(1, 7))
def test_no_word_is_lost_or_moved(text: str, words: int) -> None:
    pieces = split_words(text, words)
    assert [word for piece in pieces for word in piece.split()] == text.split()


@given(TEXTS, st.integers(1, 7))
def test_every_piece_but_the_last_is_full(text: str, words: int) -> None:
    lengths = [len(piece.split()) for piece in split_words(text, words)]
    assert all(length == words for length in lengths[:-1])
    assert all(1 <= length <= words for length in lengths[-1:])


@given(st.lists(TEXTS, max_size=6), st.integers(1, 7))
def test_line_by_line_equals_the_whole_text(lines: list[str], words: int) -> None:
    assert list(split_lines(lines, words)) == split_words("\n".join(lines), words)


def test_the_papers_length_is_the_default() -> None:
    assert [len(p.split()) for p in split_words("w " * 250)] == [100, 100, 50]


def test_pieces_of_no_words_are_refused() -> None:
    with pytest.raises(ValueError, match="0 words"):
        split_words("one", words=0)
