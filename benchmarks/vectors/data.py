"""Vectors to search: clustered ones from a seed, or a file of yours, and queries beside them.

Knows nothing of indexes. The clustered ones imitate a sentence encoder. The numbers at the end were
chosen so that 3,700 of them are about as hard to search as all-MiniLM-L6-v2's vectors of as many
passages of Wikipedia: recall@10 of PQ48, RaBitQ, RaBitQ4, SQ8 and HNSW16 is within 0.05 of theirs,
that of IVF128 0.08 above it with 8 lists, and 0.15 with 2.
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
    """Vectors [n, d] to store, queries [q, d] to ask, and how to describe them."""

    stored: Vectors
    asked: Vectors
    about: str

    @property
    def dim(self) -> int:
        return self.stored.shape[1]


def clustered(count: int, asked: int, dim: int, *, seed: int = 0) -> Data:
    """Each vector is a field's direction, a topic's within it, and its own, at length 1.

    Queries are further points of the same mixture.
    """
    drawn = np.random.default_rng(seed)
    inner = min(INNER, dim // 2)
    axes = np.linalg.qr(drawn.standard_normal((dim, inner)))[0].T.astype(np.float32)
    spread = (np.arange(1, inner + 1) ** -FALL).astype(np.float32)
    spread /= np.linalg.norm(spread)

    def points(number: int) -> Vectors:
        found: Vectors = drawn.standard_normal((number, inner), np.float32) * spread
        return found

    topics, fields = round(TOPICS[0] * count ** TOPICS[1]), round(FIELDS[0] * count ** FIELDS[1])
    middles = FIELD * points(fields)[drawn.integers(0, fields, topics)] + TOPIC * points(topics)
    chances = drawn.gamma(1.0, size=topics)
    # A topic varies along directions of its own: some of the subspace's count much, most little.
    widths = np.exp(UNLIKE * drawn.standard_normal((topics, inner), np.float32))
    widths /= np.sqrt((widths**2 * spread**2).sum(axis=1, keepdims=True))
    widths *= drawn.uniform(*WIDTHS, (topics, 1)).astype(np.float32)
    made = np.empty((count + asked, dim), np.float32)
    for start in range(0, len(made), CHUNK):
        part = made[start : start + CHUNK]
        topic = drawn.choice(topics, len(part), p=chances / chances.sum())
        part[:] = (middles[topic] + widths[topic] * points(len(part))) @ axes
        part += drawn.standard_normal(part.shape, np.float32) * np.float32(NOISE / dim**0.5)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    about = f"{count:,} clustered vectors of {dim} dimensions, seed {seed}"
    return Data(made[:count], made[count:], about)


def from_file(path: Path, asked: int, *, seed: int = 0) -> Data:
    """The vectors of a .npy file, [n, d]; some of them, drawn at random, are the queries."""
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim != 2 or len(found) < 2 * asked:
        raise ValueError(f"{path} has shape {found.shape}: expected [n, d], n at least {2 * asked}")
    order = np.random.default_rng(seed).permutation(len(found))
    stored = np.asarray(found[np.sort(order[asked:])], np.float32)
    queries = np.asarray(found[np.sort(order[:asked])], np.float32)
    return Data(stored, queries, f"{len(stored):,} vectors of {found.shape[1]} dimensions, {path}")


INNER: Final = 256
"""Dimensions of the subspace that holds all but the noise."""

FALL: Final = 0.4
"""How fast the spread falls from one dimension of the subspace to the next, as a power."""

FIELDS: Final = (1.0, 0.4)
TOPICS: Final = (3.0, 0.6)
"""How many there are: a factor, and the power of the number of vectors, since a larger corpus says
more of the same things."""

FIELD: Final = 0.35
TOPIC: Final = 0.4
WIDTHS: Final = (0.5, 0.9)
"""Lengths of a field's direction, a topic's within it, and of a vector's own within its topic."""

UNLIKE: Final = 0.7
"""How unlike topics' directions are: the standard deviation of their widths' logarithms."""

NOISE: Final = 0.2
"""Length of the noise that fills all dimensions."""
