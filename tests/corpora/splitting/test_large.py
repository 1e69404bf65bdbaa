"""Large and odd texts are split in linear time: quadratic time would not end for minutes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from ragcore.corpora.splitting import SplitConfig, plain_document, split_document
from ragcore.corpora.structure import Block, DocumentText
from tests.corpora.splitting.documents import TokenizerOfTests, byte_pairs, paragraphs, word_pieces

LENGTH = 150_000
TEXTS = {
    "sentences": "The cat sat on the mat and looked. " * (LENGTH // 35),
    "words without the end of a sentence": "lorem ipsum dolor sit amet " * (LENGTH // 27),
    "short lines": "a\n" * (LENGTH // 2),
    "short paragraphs": "a\n\n" * (LENGTH // 3),
    "one word": "x" * LENGTH,
    "no blanks": "漢字かな" * (LENGTH // 4),
    "blanks": " \n" * (LENGTH // 2),
    "a word and blanks": "漢字" + " " * LENGTH,
    "combining marks": "\u0301" * LENGTH,
    "full stops": "." * LENGTH,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("by", ["words", "sentences", "headings"])
def test_any_text_is_split(by: str, name: str) -> None:
    characters = 0
    for piece in split_document(plain_document(TEXTS[name]), SplitConfig(by=by)):  # type: ignore[arg-type]
        characters += len("".join(piece.text.split()))
    assert characters == len("".join(TEXTS[name].split()))


@pytest.mark.parametrize("by", ["words", "sentences", "headings", "tokens"])
@pytest.mark.parametrize("kind", ["code", "table", "list", "heading", "paragraph"])
@pytest.mark.parametrize("count", [1, 300])
def test_words_that_are_none_make_no_long_pieces(count: int, kind: str, by: str) -> None:
    words = ["ab" * (LENGTH // count // 2)] * count
    text = " ".join(["Before it.", *words, "And behind it."])
    document = DocumentText(text, [Block(kind, 0, len(text), 1, "A")])  # type: ignore[arg-type]
    # A word of more than 100 characters is one unknown token.
    tokenizer = word_pieces(40)
    pieces = list(split_document(document, SplitConfig(by=by), tokenizer))  # type: ignore[arg-type]
    assert max(len(piece.text) for piece in pieces) <= 6000
    assert len(pieces) < LENGTH / 500
    assert "".join("".join(piece.text.split()) for piece in pieces) == "".join(text.split())
    assert pieces[0].text.startswith("Before it.")
    assert pieces[-1].text.endswith("And behind it.")
    if by == "tokens":
        assert all(len(row) <= 40 for row in tokenizer.spans([piece.text for piece in pieces]))


@pytest.mark.parametrize("by", ["words", "headings", "tokens"])
def test_what_is_cut_is_not_repeated(by: str) -> None:
    sentence = ["one", "two", "three", "four", "five", "six.", "seven", "eight", "nine."]
    words = [*sentence, "ab" * 4000] * 5
    split = SplitConfig(by=by, size=8, overlap=5)  # type: ignore[arg-type]
    pieces = list(split_document(plain_document(" ".join(words)), split, word_pieces(40)))
    assert "".join(piece.text for piece in pieces).count("ab") == 4000 * 5
    assert all(piece.start < after.start for piece, after in pairwise(pieces))


def test_long_texts_without_blanks_are_cut_between_sentences() -> None:
    text = ("漢字かな" * 30 + "。") * 200
    pieces = list(split_document(plain_document(text), SplitConfig(by="sentences")))
    assert all(piece.text.endswith("。") for piece in pieces)


@pytest.mark.parametrize("kind", ["code", "table", "list", "heading"])
def test_any_block_is_split(kind: str) -> None:
    text = "a b\n" * (LENGTH // 4)
    document = DocumentText(text, [Block(kind, 0, len(text), 1, "A", line=7)])  # type: ignore[arg-type]
    pieces = list(split_document(document, SplitConfig(by="headings")))
    assert pieces[-1].line == 7 + text.count("\n", 0, pieces[-1].start)
    assert sum(piece.text.count("a") for piece in pieces) == LENGTH // 4


def test_many_headings_are_split() -> None:
    text = "A word\n" * 50_000
    blocks = [Block("heading", 7 * n, 7 * n + 6, 1 + n % 40, "A word") for n in range(50_000)]
    pieces = list(split_document(DocumentText(text, blocks), SplitConfig(by="headings", size=10)))
    assert sum(piece.text.count("word") for piece in pieces) == 50_000


@pytest.mark.parametrize("make", [word_pieces, byte_pairs])
@pytest.mark.parametrize("text", [paragraphs(100), "lorem ipsum " * 5000, "x7" * 20_000])
def test_no_text_is_tokenised_many_times(
    make: Callable[[int], TokenizerOfTests], text: str
) -> None:
    tokenizer = make(200)
    pieces = list(split_document(plain_document(text), SplitConfig(by="tokens"), tokenizer))
    # As a block, as its sentences, as their words, and as the pieces, in few calls.
    assert tokenizer.characters <= 5 * len(text)
    assert tokenizer.calls <= len(pieces) + 20
