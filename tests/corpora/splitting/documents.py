"""Documents of all kinds of blocks, tokenizers, and long texts to edit."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from ragcore.corpora.splitting import SplitConfig, plain_document, split_document
from ragcore.corpora.structure import DocumentText, TextBuilder

_WORDS: Final = [
    "one",
    "Two",
    "three.",
    "four!",
    "e.g.",
    "é́",
    "漢字",
    "かなと、カナ。",
    "ภาษาไทย",
    "x" * 30,
]
_LINE: Final = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=12).map(" ".join)
_LINES: Final = st.lists(st.one_of(_LINE, _LINE.map("    ".__add__)), min_size=1, max_size=8)
_TEXT: Final = st.one_of(_LINE, _LINES.map("\n".join), _LINES.map("\n\n".join))
_KIND: Final = st.sampled_from(["paragraph", "paragraph", "heading", "list", "table", "code"])


@st.composite
def documents(draw: st.DrawFn) -> DocumentText:
    """Draw a document of some blocks."""
    builder = TextBuilder()
    for kind in draw(st.lists(_KIND, max_size=9)):
        level = draw(st.integers(1, 4)) if kind == "heading" else 0
        line = draw(st.integers(1, 99))
        builder.add(kind, draw(_TEXT), level=level, line=line, page=draw(st.integers(1, 9)))
    return builder.build()


class TokenizerOfTests:
    """A real tokenizer, with room for 40 tokens, and fewer with a title."""

    def __init__(self, tokenizer: Tokenizer, room: int = 40) -> None:
        self._tokenizer = tokenizer
        self._room = room
        self.calls = 0
        self.characters = 0

    @property
    def fingerprint(self) -> str:
        return "test"

    def spans(self, texts: Sequence[str]) -> list[np.ndarray[Any, Any]]:
        self.calls += 1
        self.characters += sum(map(len, texts))
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(row.offsets, dtype=np.int64).reshape(-1, 2) for row in encodings]

    def room(self, title: str) -> int:
        return self._room - len(title.split())


def word_pieces(room: int = 40) -> TokenizerOfTests:
    """Return a tokenizer like BERT's, which ignores white space."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=90, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator([*_WORDS, paragraphs(8)], trainer)
    return TokenizerOfTests(tokenizer, room)


def byte_pairs(room: int = 40) -> TokenizerOfTests:
    """Return a tokenizer like GPT-2's, of bytes, where a blank belongs to the word behind it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*_WORDS, paragraphs(8)], trainer)
    return TokenizerOfTests(tokenizer, room)


def sentence(random_: random.Random) -> str:
    """Return a sentence of 4 to 24 words."""
    words = ["".join(random_.choices("abcdefgh", k=random_.randint(2, 8))) for _ in range(24)]
    return " ".join(words[: random_.randint(4, 24)]).capitalize() + "."


def paragraph_list(count: int, seed: int = 0) -> list[str]:
    """Return paragraphs of 1 to 8 sentences, all different."""
    random_ = random.Random(seed)
    return [" ".join(sentence(random_) for _ in range(random_.randint(1, 8))) for _ in range(count)]


def paragraphs(count: int, seed: int = 0) -> str:
    """Return them as a text."""
    return "\n\n".join(paragraph_list(count, seed))


def pieces_of(
    document: DocumentText | str, split: SplitConfig, tokenizer: TokenizerOfTests | None = None
) -> Counter[tuple[tuple[str, ...], str]]:
    """Count the pieces of a document or a plain text by what makes a passage's id."""
    if isinstance(document, str):
        document = plain_document(document)
    return Counter(
        (piece.headings, piece.text) for piece in split_document(document, split, tokenizer)
    )
