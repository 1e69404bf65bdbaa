"""Compute how many bytes each kind of index needs for a vector, by the layout of its arrays.

Sources: FAISS's headers (ScalarQuantizer, ProductQuantizer, RaBitQUtils, HNSW) and hnswlib's
hnswalg.h. All are written to disk in the same layout as in memory.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ROW", "flat", "fp16", "graph", "hnswlib", "pq", "rabitq", "sq8"]

ROW: Final = 8
"""Bytes of a row number, int64. FAISS stores one for each vector, and ragcore another."""


def flat(dim: int) -> float:
    return 4 * dim


def fp16(dim: int) -> float:
    return 2 * dim


def sq8(dim: int) -> float:
    return dim


def pq(pieces: int) -> float:
    """Count a byte, one of 256 centroids, for each piece of the vector."""
    return pieces


def rabitq(dim: int, bits: int = 1) -> float:
    """Count the bits of a dimension, and 2 numbers that correct the product; 5 for more bits."""
    return dim * bits / 8 + 4 * (2 if bits == 1 else 5)


def graph(links: int) -> float:
    """Count FAISS's HNSW: int32 links, twice as many on the lowest level; a level and an offset.

    One in `links` of each level's vectors is also on the next level, so that a vector is on
    1 / (links - 1) levels above the lowest, on average.
    """
    return 8 * links + 4 * links / (links - 1) + 4 + 8


def hnswlib(dim: int, links: int) -> float:
    """Count links and their number on each level, the vector, its label, its upper levels' size."""
    return (8 * links + 4) + (4 * links + 4) / (links - 1) + 4 * dim + ROW + 4
