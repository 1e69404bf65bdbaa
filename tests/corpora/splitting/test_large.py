"""Large and odd texts are split in linear time: quadratic time would not end for minutes."""

from __future__ import annotations

from collections.abc import Callable

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
