"""Laws of all ways to split: nothing is lost, no piece is too long, each is where it says."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.corpora.splitter import split_words
from ragcore.corpora.splitting import Piece, SplitConfig, plain_document, split_document
from ragcore.corpora.structure import DocumentText
from ragcore.corpora.words import count_words, word_spans
from tests.corpora.splitting.documents import byte_pairs, documents, word_pieces

TOKENIZERS = {"word pieces": word_pieces(), "byte pairs": byte_pairs()}
WAYS = ["words", "sentences", "headings", *TOKENIZERS]


@st.composite
def splits(draw: st.DrawFn, way: str) -> SplitConfig:
    by = "tokens" if way in TOKENIZERS else way
    size = draw(st.integers(1, 30))
    overlap = draw(st.one_of(st.just(0), st.integers(0, size - 1)))
    return SplitConfig(by=by, size=size, overlap=overlap)  # type: ignore[arg-type]


def split(document: DocumentText, config: SplitConfig, way: str) -> list[Piece]:
    return list(split_document(document, config, TOKENIZERS.get(way)))


@pytest.mark.parametrize("way", WAYS)
@given(data=st.data(), document=documents())
def test_all_text_is_in_a_piece_and_pieces_are_in_order(
    way: str, data: st.DataObject, document: DocumentText
) -> None:
    config = data.draw(splits(way))
    pieces = split(document, config, way)
    uncovered = set()
    for block in document.blocks:
        uncovered |= {at for at in range(block.start, block.end) if not document.text[at].isspace()}
    for piece in pieces:
        uncovered -= set(range(piece.start, piece.end))
    assert not uncovered
    for piece, following in pairwise(pieces):
        assert piece.start < following.start
        assert piece.end < following.end
        assert config.overlap or piece.end <= following.start


@pytest.mark.parametrize("way", WAYS)
@given(data=st.data(), document=documents())
def test_a_piece_is_the_text_where_it_says_it_is(
    way: str, data: st.DataObject, document: DocumentText
) -> None:
    for piece in split(document, data.draw(splits(way)), way):
        text = document.text[piece.start : piece.end]
        assert text == text.strip() != ""
        assert piece.text == (" ".join(text.split()) if way == "words" else text)


@pytest.mark.parametrize("way", ["words", "headings", *TOKENIZERS])
@given(data=st.data(), document=documents())
def test_no_piece_is_longer_than_the_size(
    way: str, data: st.DataObject, document: DocumentText
) -> None:
    config = data.draw(splits(way))
    assert config.size is not None
    for piece in split(document, config, way):
        if way in TOKENIZERS:
            (tokens,) = TOKENIZERS[way].spans([piece.text])
            assert len(tokens) <= config.size or len(piece.text) == 1
        else:
            assert count_words(piece.text) <= config.size


@pytest.mark.parametrize("way", WAYS)
@given(data=st.data(), document=documents())
def test_pieces_start_again_at_headings(
    way: str, data: st.DataObject, document: DocumentText
) -> None:
    pieces = split(document, data.draw(splits(way)), way)
    for before, block in pairwise(document.blocks):
        if block.kind != "heading" or (before.kind == "heading" and block.level > before.level):
            continue
        assert all(piece.end <= before.end or block.start <= piece.start for piece in pieces)
        assert any(piece.start == block.start for piece in pieces)


@pytest.mark.parametrize("way", WAYS)
@given(data=st.data(), document=documents())
def test_a_piece_knows_its_headings_page_and_line(
    way: str, data: st.DataObject, document: DocumentText
) -> None:
    for piece in split(document, data.draw(splits(way)), way):
        path: dict[int, str] = {}
        before = None
        for block in document.blocks:
            # A heading with nothing below it but a deeper one is in the deeper one's section.
            joined = before and before.kind == block.kind and before.level < block.level
            if block.start >= piece.end and not joined:
                break
            if block.kind == "heading":
                path = {level: name for level, name in path.items() if level < block.level}
                path[block.level] = block.heading
            before = block
        assert piece.headings == tuple(path.values())
        (block,) = [block for block in document.blocks if block.start <= piece.start < block.end]
        assert piece.page == block.page
        assert block.line is not None
        breaks = document.text.count("\n", block.start, piece.start)
        assert piece.line == block.line + breaks


@given(text=st.text(st.sampled_from("ab \n\t\u00a0é\u2028"), max_size=80), size=st.integers(1, 7))
def test_words_are_split_as_they_always_were(text: str, size: int) -> None:
    pieces = split_document(plain_document(text), SplitConfig(by="words", size=size))
    assert [piece.text for piece in pieces] == split_words(text, size)


@given(text=st.text(st.sampled_from("ab \n漢字"), max_size=80), data=st.data())
def test_a_run_of_words_repeats_the_last_words_before_it(text: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 7))
    overlap = data.draw(st.integers(0, size - 1))
    config = SplitConfig(by="words", size=size, overlap=overlap)
    pieces = list(split_document(plain_document(text), config))
    spans = list(word_spans(text))
    first = 0
    for piece in pieces:
        run = spans[first : first + size]
        assert (piece.start, piece.end) == (run[0][0], run[-1][1])
        first += size - overlap
    # The last run ends with the text, and the one before did not.
    assert first - size + overlap + size >= len(spans)
    assert len(pieces) < 2 or first - 2 * (size - overlap) + size < len(spans)


@given(st.text(st.sampled_from("ab \n\r\t"), max_size=60))
def test_a_plain_text_has_a_paragraph_between_empty_lines(text: str) -> None:
    document = plain_document(text)
    contents = [text[block.start : block.end] for block in document.blocks]
    expected: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            expected[-1].append(line)
        else:
            expected.append([])
    assert contents == ["\n".join(lines).strip() for lines in expected if lines]
    for piece in split_document(document, SplitConfig(by="headings", size=1)):
        assert piece.line == text.count("\n", 0, piece.start) + 1
