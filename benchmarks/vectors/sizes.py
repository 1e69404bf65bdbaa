"""How many bytes each kind of index holds for a vector, by the layout of its arrays.

Sources: FAISS's headers (ScalarQuantizer, ProductQuantizer, RaBitQUtils, HNSW) and hnswlib's
hnswalg.h. All are written to disk as they lie in memory.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ROW", "flat", "fp16", "graph", "hnswlib", "pq", "rabitq", "sq8"]

ROW: Final = 8
"""A row's number: int64. FAISS keeps one for each vector, and so does ragcore beside it."""


def flat(dim: int) -> float:
    return 4 * dim


def fp16(dim: int) -> float:
    return 2 * dim


def sq8(dim: int) -> float:
    return dim


def pq(pieces: int) -> float:
    """A byte, one of 256 centroids, for each piece of the vector."""
    return pieces


def rabitq(dim: int, bits: int = 1) -> float:
    """Some bits a dimension, and 2 numbers to correct the product by; 5 if there are more bits."""
    return dim * bits / 8 + 4 * (2 if bits == 1 else 5)


def graph(links: int) -> float:
    """FAISS's HNSW: int32 links, twice as many on the ground floor; a level and an offset.

    Of each floor's vectors one in `links` is on the next, so that a vector has 1 / (links - 1)
    floors above the ground, on average.
    """
    return 8 * links + 4 * links / (links - 1) + 4 + 8


def hnswlib(dim: int, links: int) -> float:
    """Links and their count on each floor, the vector, its label, how long its upper floors are."""
    return (8 * links + 4) + (4 * links + 4) / (links - 1) + 4 * dim + ROW + 4
