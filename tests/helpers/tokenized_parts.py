"""An encoder that reads a number of words and tells its tokenizer, and a corpus that needs one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from ragcore.contracts import TextTokenizer
from ragcore.hookspecs import hookimpl
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.testing.tokenizing import WordTokenizer
from ragcore.types import Passage
from tests.helpers.word_encoder import Vectors, WordEncoder


class TokenizedWords(WordEncoder):
    """Reads the first `limit` words of title and text."""

    class Config(ComponentConfig):
        dim: int = 32
        seed: int = 0
        limit: int = 60

    capabilities: ClassVar[frozenset[str]] = frozenset({"tokenizer"})

    def __init__(self, config: Config) -> None:
        super().__init__(WordEncoder.Config(dim=config.dim, seed=config.seed))
        self.limit = self.max_input_tokens = config.limit
        self.fingerprint = f"{self.fingerprint} of {config.limit}"
        self.tokenizer: TextTokenizer = WordTokenizer(config.limit)

    def count_cut(self, passages: Sequence[Passage]) -> int:
        lengths = [len(f"{passage.title} {passage.text}".split()) for passage in passages]
        return sum(length > self.limit for length in lengths)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return super()._encode([" ".join(text.split()[: self.limit]) for text in texts])


class TextsByTokens:
    """Splits a text into passages that fill the encoder's room."""

    class Config(ComponentConfig):
        text: str = " ".join(f"word{number} of" for number in range(60))
        title: str = "Chad"

    capabilities: ClassVar[frozenset[str]] = frozenset({"tokenizer"})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tokenizer: TextTokenizer | None = None

    def use_tokenizer(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer

    def __iter__(self) -> Iterator[Passage]:
        assert self.tokenizer is not None
        text, title = self.config.text, self.config.title
        (spans,) = self.tokenizer.spans([text])
        room = self.tokenizer.room(title)
        for number, start in enumerate(range(0, len(spans), room)):
            piece = spans[start : start + room]
            yield Passage(str(number), title, text[piece[0, 0] : piece[-1, 1]])


def tokenized_encoder(**settings: int) -> ComponentSpec:
    """Return the spec of the encoder above."""
    config = TokenizedWords.Config(**settings)
    return ComponentSpec("encoder", "tokenized", TokenizedWords, config)


def dense_of(encoder: ComponentSpec) -> ComponentSpec:
    """Return the spec of `{use: dense}` with an encoder and the index `exact`."""
    index = ComponentSpec("index", "exact", Exact, Exact.Config())
    config = Dense.Config(encoder=encoder, index=index)
    return ComponentSpec("retriever", "dense", Dense, config)


@hookimpl
def ragcore_encoders() -> dict[str, str]:
    return {"tokenized": "tests.helpers.tokenized_parts:TokenizedWords"}
