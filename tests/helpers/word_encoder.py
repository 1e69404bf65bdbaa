"""A real encoder without weights, and the spec of a dense retriever that uses it.

Each word is hashed to its own direction; a text is the sum of its words' directions. So texts that
share words are near each other, and an encoder with another seed is a different one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from ragcore.hookspecs import hookimpl
from ragcore.registry.components import ComponentConfig, ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.retrievers.flat import Exact
from ragcore.types import Passage

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]


class WordEncoder:
    class Config(ComponentConfig):
        dim: int = 32
        seed: int = 0

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dim = config.dim
        self.fingerprint = f"words(seed={config.seed},d={config.dim})"
        self.batches: list[int] = []

    def encode_passages(self, passages: Sequence[Passage]) -> Vectors:
        self.batches.append(len(passages))
        return self._encode([f"{passage.title} {passage.text}" for passage in passages])

    def encode_questions(self, questions: Sequence[str]) -> torch.Tensor:
        # Here alone, so that tests of building start a process without it.
        import torch

        return torch.from_numpy(self._encode(questions))

    def _encode(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                vector += _direction(word, self.config.seed, self.dim)
        return vectors


class NumpyWordEncoder(WordEncoder):
    """The same vectors, without torch."""

    def encode_questions(self, questions: Sequence[str]) -> Vectors:
        return self._encode(questions)


@cache
def _direction(word: str, seed: int, dim: int) -> Vectors:
    digest = hashlib.sha256(f"{seed}|{word}".encode()).digest()
    drawn = np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(dim)
    return drawn.astype(np.float32)


def dense_part(seed: int = 0, dim: int = 32, batch_size: int = 64) -> ComponentSpec:
    """Return the spec of `{use: dense}` with the encoder above and the index `exact`."""
    encoder = ComponentSpec("encoder", "words", WordEncoder, WordEncoder.Config(dim=dim, seed=seed))
    index = ComponentSpec("index", "exact", Exact, Exact.Config())
    config = Dense.Config(encoder=encoder, index=index, batch_size=batch_size)
    return ComponentSpec("retriever", "dense", Dense, config)


@hookimpl
def ragcore_encoders() -> dict[str, str]:
    return {"words": "tests.helpers.word_encoder:WordEncoder"}
