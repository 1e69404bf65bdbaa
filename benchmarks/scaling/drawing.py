"""An encoder that draws vectors: no model's time is measured, and each passage has its own vector.

A vector is the sum of a topic's, a field's and two directions of the passage, all taken from tables
by the bits of the passage's number, and has length 1. So a vector depends on the number alone, in
whatever shard and batch it is encoded, and vectors have neighbours as those of a sentence encoder
have. A question names the number of a passage, and is a further point of its topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from ragcore.registry.components import ComponentConfig
from ragcore.types import Passage

__all__ = ["Drawing", "DrawingConfig"]

TABLE: Final = 1 << 14
FIELDS: Final = 1 << 8
TOPIC, FIELD, OWN = 0.6, 0.4, 0.5
DECAY: Final = 0.7
"""Later directions vary less, as the components of a sentence encoder's vectors do."""

Floats = npt.NDArray[np.float32]


class DrawingConfig(ComponentConfig):
    dim: int = 384


class Drawing:
    Config: ClassVar[type[DrawingConfig]] = DrawingConfig
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: DrawingConfig) -> None:
        self.dim = config.dim
        rng = np.random.default_rng(0)
        spread = (np.arange(1, config.dim + 1) ** -DECAY).astype(np.float32)
        spread /= np.linalg.norm(spread)
        drawn: Floats = rng.standard_normal((TABLE, config.dim), np.float32)
        self._table = drawn * spread

    @property
    def fingerprint(self) -> str:
        return f"drawn-{self.dim}"

    def encode_passages(self, passages: Sequence[Passage]) -> Floats:
        return self.drawn(np.array([int(passage.id) for passage in passages], np.uint64))

    def encode_questions(self, questions: Sequence[str]) -> Floats:
        # A build's own question, which checks that a version opens, names no passage.
        numbers = [int(text) if text.isdecimal() else 0 for text in questions]
        return self.drawn(np.array(numbers, np.uint64), question=True)

    def drawn(self, numbers: npt.NDArray[np.uint64], *, question: bool = False) -> Floats:
        """Return the vectors of passages of these numbers, [n, d], or of questions about them."""
        about = _mixed(numbers)
        own = _mixed(about + np.uint64(question))
        topic = (about % np.uint64(TABLE)).astype(np.int64)  # [n]
        field = topic % FIELDS
        first = (own >> np.uint64(20)) % np.uint64(TABLE)
        second = (own >> np.uint64(40)) % np.uint64(TABLE)
        table = self._table
        vectors: Floats = TOPIC * table[topic] + FIELD * table[field]
        vectors += OWN * table[first.astype(np.int64)]
        # Signs by another component's order, so that pairs of rows are no sums of two others.
        vectors += OWN * np.roll(table[second.astype(np.int64)], 1, axis=1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return bits that look random and depend on the numbers alone (SplitMix64)."""
    with np.errstate(over="ignore"):
        bits = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: npt.NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed
