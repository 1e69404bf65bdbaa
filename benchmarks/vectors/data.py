"""Make vectors to search and queries: clustered ones from a seed, or those of a file.

Knows nothing of indexes. Clustered vectors imitate a sentence encoder. The numbers at the end were
chosen so that 3,700 of them are about as hard to search as all-MiniLM-L6-v2's vectors of as many
passages of Wikipedia. Recall@10 of PQ48, RaBitQ, RaBitQ4, SQ8 and HNSW16 differs by at most 0.05;
that of IVF128 is higher here, by 0.08 with 8 lists and by 0.15 with 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Data", "clustered", "from_file"]

Vectors = npt.NDArray[np.float32]

CHUNK: Final = 20_000


@dataclass(frozen=True, slots=True)
class Data:
    """Vectors [n, d] to store, queries [q, d], and a description of both."""

    stored: Vectors
    queries: Vectors
    description: str

    @property
    def dim(self) -> int:
        return self.stored.shape[1]


def clustered(count: int, queries: int, dim: int, *, seed: int = 0) -> Data:
    """Draw vectors: each is the sum of a field's, a topic's and its own direction, at length 1.

    Queries are further points of the same mixture.
    """
    rng = np.random.default_rng(seed)
    inner = min(INNER, dim // 2)
    axes = np.linalg.qr(rng.standard_normal((dim, inner)))[0].T.astype(np.float32)
    spread = (np.arange(1, inner + 1) ** -FALL).astype(np.float32)
    spread /= np.linalg.norm(spread)

    def points(number: int) -> Vectors:
        drawn: Vectors = rng.standard_normal((number, inner), np.float32) * spread
        return drawn

    topics, fields = round(TOPICS[0] * count ** TOPICS[1]), round(FIELDS[0] * count ** FIELDS[1])
    middles = FIELD * points(fields)[rng.integers(0, fields, topics)] + TOPIC * points(topics)
    weights = rng.gamma(1.0, size=topics)
    # A topic varies along directions of its own: much along a few, little along most.
    widths = np.exp(DIFFERENCE * rng.standard_normal((topics, inner), np.float32))
    widths /= np.sqrt((widths**2 * spread**2).sum(axis=1, keepdims=True))
    widths *= rng.uniform(*WIDTHS, (topics, 1)).astype(np.float32)
    vectors = np.empty((count + queries, dim), np.float32)
    for start in range(0, len(vectors), CHUNK):
        chunk = vectors[start : start + CHUNK]
        topic = rng.choice(topics, len(chunk), p=weights / weights.sum())
        chunk[:] = (middles[topic] + widths[topic] * points(len(chunk))) @ axes
        chunk += rng.standard_normal(chunk.shape, np.float32) * np.float32(NOISE / dim**0.5)
        chunk /= np.linalg.norm(chunk, axis=1, keepdims=True)
    description = f"{count:,} clustered vectors of {dim} dimensions, seed {seed}"
    return Data(vectors[:count], vectors[count:], description)


def from_file(path: Path, queries: int, *, seed: int = 0) -> Data:
    """Read the vectors of a .npy file, [n, d]; some of them, drawn at random, are the queries."""
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.ndim != 2 or len(vectors) < 2 * queries:
        raise ValueError(
            f"{path} has shape {vectors.shape}: expected [n, d], n at least {2 * queries}"
        )
    order = np.random.default_rng(seed).permutation(len(vectors))
    stored = np.asarray(vectors[np.sort(order[queries:])], np.float32)
    asked = np.asarray(vectors[np.sort(order[:queries])], np.float32)
    return Data(stored, asked, f"{len(stored):,} vectors of {vectors.shape[1]} dimensions, {path}")


INNER: Final = 256
"""Dimensions of the subspace that contains everything except the noise."""

FALL: Final = 0.4
"""The spread in the n-th dimension of the subspace is n to the power of minus this."""

FIELDS: Final = (1.0, 0.4)
TOPICS: Final = (3.0, 0.6)
"""The number of fields and topics: a factor, and a power of the number of vectors; the power is
below 1 because a larger corpus has more passages on the same topics."""

FIELD: Final = 0.35
TOPIC: Final = 0.4
WIDTHS: Final = (0.5, 0.9)
"""Lengths of a field's direction, of a topic's in its field, of a vector's own in its topic."""

DIFFERENCE: Final = 0.7
"""How much topics differ: the standard deviation of the logarithms of their widths."""

NOISE: Final = 0.2
"""Length of the noise in all dimensions."""
