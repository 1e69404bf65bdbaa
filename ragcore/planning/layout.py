"""Kinds of index that a plan knows, their factories, and the bytes that each needs.

Sources: FAISS's headers (ScalarQuantizer, ProductQuantizer, InvertedLists, HNSW) and the files that
ragcore writes next to FAISS's; databases have their own file, databases.py. Knows the layout of
arrays; knows nothing of times, and imports no library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, get_args

from ragcore.planning.databases import milvus_bytes, pgvector_bytes, pgvector_graph_bytes

__all__ = [
    "DATABASE_KINDS",
    "FILE_KINDS",
    "GRAPH_LINKS",
    "INDEX_KINDS",
    "MOST_DIMENSIONS",
    "PROBED_SHARE",
    "IndexKind",
    "factory_of",
    "graph_bytes",
    "index_bytes",
    "list_count",
    "training_size",
]

FileKind = Literal["flat", "sq8", "ivf", "ivf-pq", "hnsw", "bm25"]
DatabaseKind = Literal["pgvector", "pgvector-half", "pgvector-hnsw", "milvus", "milvus-hnsw"]
IndexKind = FileKind | DatabaseKind

FILE_KINDS: Final[tuple[FileKind, ...]] = get_args(FileKind)
"""Kinds of index whose files are in the store."""

INDEX_KINDS: Final[tuple[IndexKind, ...]] = (*FILE_KINDS, *get_args(DatabaseKind))

GRAPH_LINKS: Final = 32
"""Neighbours of a vector in a graph, `HNSW32`; twice as many on the lowest level."""

PROBED_SHARE: Final = 64
"""A search looks into one in so many lists."""

_ROW: Final = 8
"""Bytes of a row number, int64. FAISS stores one for each vector, and ragcore another."""

DATABASE_KINDS: Final[Mapping[IndexKind, str]] = {
    "pgvector": "{use: pgvector, method: exact}",
    "pgvector-half": "{use: pgvector, method: exact, half: true}",
    "pgvector-hnsw": f"{{use: pgvector, method: hnsw, m: {GRAPH_LINKS}}}",
    "milvus": "{use: milvus, method: exact}",
    "milvus-hnsw": f"{{use: milvus, method: hnsw, m: {GRAPH_LINKS}}}",
}
"""Settings of the kinds of index whose vectors are in a database."""

MOST_DIMENSIONS: Final[Mapping[IndexKind, int]] = {
    "pgvector": 16_000,
    "pgvector-half": 16_000,
    "pgvector-hnsw": 2_000,
}
"""Numbers that a vector may have in PostgreSQL (pgvector's README)."""

_FLOAT: Final = 4
_VECTORS_PER_LIST: Final = 39
"""Training vectors for each list (FAISS's ClusteringParameters.min_points_per_centroid)."""

_SUBVECTOR: Final = 8
"""Numbers of a vector that product quantisation makes one byte of."""


def list_count(passages: int) -> int:
    """Return how many lists an inverted file has: the power of two nearest 4 √n, at least 1.

    FAISS's guidelines recommend 4 √n to 16 √n.
    """
    return 1 << max(0, round(math.log2(4 * math.sqrt(max(1, passages)))))


def training_size(kind: IndexKind, passages: int) -> int:
    """Return how many vectors a kind is trained on; 0 where it is not trained."""
    if kind in ("ivf", "ivf-pq"):
        return min(passages, max(256, _VECTORS_PER_LIST * list_count(passages)))
    return min(passages, 100_000) if kind == "sq8" else 0


def factory_of(kind: IndexKind, passages: int, dim: int) -> str:
    """Return FAISS's factory string of a kind, for so many vectors; "" where FAISS has none."""
    lists = list_count(passages)
    factories: dict[IndexKind, str] = {
        "flat": "Flat",
        "sq8": "SQ8",
        "ivf": f"IVF{lists},SQ8",
        "ivf-pq": f"IVF{lists},PQ{_code_bytes(dim)}np",
        "hnsw": f"HNSW{GRAPH_LINKS}",
    }
    return factories.get(kind, "")


def index_bytes(kind: IndexKind, passages: int, dim: int) -> float:
    """Return the bytes of an index's files, which are as long in memory, or in a database.

    Args:
        kind: of a vector index; BM25 depends on the text, so its size is measured.
        passages: n.
        dim: d.

    Raises:
        ValueError: the kind is BM25.
    """
    if kind == "bm25":
        raise ValueError("the size of BM25 depends on the text: it is a rate, not a formula")
    if kind in ("pgvector", "pgvector-half"):
        return pgvector_bytes(passages, dim, half=kind == "pgvector-half")
    if kind == "pgvector-hnsw":
        return pgvector_bytes(passages, dim, half=False) + graph_bytes(kind, passages, dim)
    if kind in ("milvus", "milvus-hnsw"):
        return milvus_bytes(passages, dim, GRAPH_LINKS if kind == "milvus-hnsw" else None)
    codes = {
        "flat": _FLOAT * dim,
        "sq8": dim,
        "ivf": dim,
        "ivf-pq": _code_bytes(dim),
        "hnsw": _FLOAT * dim + _link_bytes(),
    }[kind]
    return passages * (codes + 2 * _ROW) + _fixed_bytes(kind, passages, dim)


def graph_bytes(kind: IndexKind, passages: int, dim: int) -> float:
    """Return the bytes of a graph that a database has next to its table; 0 where it has none."""
    return pgvector_graph_bytes(passages, dim, GRAPH_LINKS) if kind == "pgvector-hnsw" else 0.0


def _fixed_bytes(kind: IndexKind, passages: int, dim: int) -> float:
    """Return the bytes of what is learnt: ranges of each dimension, lists' centres, codebooks."""
    fixed = 0.0
    if kind in ("sq8", "ivf"):
        fixed += 2 * _FLOAT * dim
    if kind in ("ivf", "ivf-pq"):
        fixed += _FLOAT * dim * list_count(passages)
    if kind == "ivf-pq":
        fixed += 256 * _FLOAT * dim
    return fixed


def _link_bytes() -> float:
    """Return the bytes of a vector's links: int32 each, a level and an offset.

    One in `GRAPH_LINKS` of each level's vectors is also on the next level, so that a vector is on
    1 / (links - 1) levels above the lowest, on average.
    """
    links = GRAPH_LINKS
    return 8 * links + 4 * links / (links - 1) + 4 + 8


def _code_bytes(dim: int) -> int:
    """Return the bytes of a product-quantised vector: the most, up to d / 8, that divide d."""
    return next(count for count in range(max(1, dim // _SUBVECTOR), 0, -1) if dim % count == 0)
