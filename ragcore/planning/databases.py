"""Bytes of vectors in PostgreSQL and in Milvus, by the layout of a row.

Sources: PostgreSQL's manual, chapter "Database Physical Storage"; `HnswElementTupleData` and
`HnswNeighborTupleData` in pgvector's hnsw.h; the tables that ragcore-pgvector and ragcore-milvus
make. Knows rows and pages; knows nothing of times, and imports no library.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["milvus_bytes", "pgvector_bytes", "pgvector_graph_bytes"]

_PAGE: Final = 8192
_PAGE_ROOM: Final = _PAGE - 24
"""Bytes of a page without its header."""

_POINTER: Final = 4
"""Bytes of what says where in its page a row begins."""

_ROW_HEADER: Final = 24
_LONGEST_INLINE: Final = 7_000
"""Bytes of a vector up to which ragcore-pgvector stores it in its row; else in TOAST."""

_CHUNK: Final = 1996
"""Bytes of a vector in each row of TOAST."""

_CHUNK_HEADER: Final = _ROW_HEADER + 4 + 4 + 4
_TOAST_POINTER: Final = 18
_KEY: Final = 20 / 0.9
"""Bytes of an entry of a primary key, whose pages are filled to nine tenths."""

_MAPS: Final = 6 * _PAGE
"""Of a table: maps of free and of visible pages, and the first pages of its keys."""

_ELEMENT: Final = 72
"""Of a vector in a graph: flags, the rows that have it, where its neighbours are."""

_LINK: Final = 6
_GRAPH_PAGE: Final = _PAGE_ROOM - 8
_INT64: Final = 8


def pgvector_bytes(passages: int, dim: int, *, half: bool) -> float:
    """Return the bytes of a table with its primary key.

    A page has whole rows alone: of 768 numbers two, so that a quarter of it is empty.

    Args:
        passages: n.
        dim: d.
        half: 16 bits for each number.
    """
    values = (2 if half else 4) * dim
    vector = values + 8
    if values <= _LONGEST_INLINE:
        row = _share_of_page(_ROW_HEADER + _INT64 + vector)
    else:
        row = _share_of_page(_ROW_HEADER + _INT64 + _TOAST_POINTER) + _toast_bytes(vector)
    return passages * (row + _KEY) + _MAPS


def pgvector_graph_bytes(passages: int, dim: int, links: int) -> float:
    """Return the bytes of a graph, whose vectors are copies of the table's, 32 bits a number.

    Args:
        passages: n.
        dim: d.
        links: m, twice as many on the lowest level.
    """
    element = _aligned(_ELEMENT + 8 + 4 * dim) + _POINTER
    both = element + _aligned(4 + _LINK * 2 * links) + _POINTER
    if both > _GRAPH_PAGE:
        # The neighbours do not fit behind their vector: they are on the next page.
        return passages * 2.0 * _PAGE + _PAGE
    return passages * _PAGE / _vectors_of_page(both, links) + _PAGE


def _vectors_of_page(both: int, links: int) -> float:
    """Return how many vectors with their neighbours a page of a graph has, on average.

    One vector in m has neighbours on a further level, m of them; on more levels few have. A page
    has j vectors where its room allows as many further levels as there are among them.

    Args:
        both: bytes of a vector and its neighbours on the lowest level.
        links: m.
    """
    vectors = 1.0
    for j in range(2, _GRAPH_PAGE // both + 1):
        levels = (_GRAPH_PAGE - j * both) // (_LINK * links)
        vectors += sum(
            math.comb(j, i) * (1 / links) ** i * (1 - 1 / links) ** (j - i)
            for i in range(min(levels, j) + 1)
        )
    return vectors


def milvus_bytes(passages: int, dim: int, links: int | None) -> float:
    """Return the bytes of a collection in memory, once.

    A vector, and three numbers of 64 bits: its row, Milvus's own number of it, and its time.

    Args:
        passages: n.
        dim: d.
        links: of the graph, twice as many on the lowest level; None for no graph.
    """
    row = 4 * dim + 3 * _INT64
    if links is not None:
        row += 4 * round(links * (2 + 1 / (links - 1)))
    return float(passages * row)


def _toast_bytes(vector: int) -> float:
    """Return the bytes of a vector in TOAST: pieces of two kilobytes, four to a page."""
    pieces = math.ceil((vector - 4) / _CHUNK)
    last = vector - 4 - (pieces - 1) * _CHUNK
    size = (pieces - 1) * _share_of_page(_CHUNK_HEADER + _CHUNK)
    return size + (_aligned(_CHUNK_HEADER + last) + _POINTER) * _PAGE / _PAGE_ROOM + pieces * _KEY


def _share_of_page(row: int) -> float:
    """Return the bytes that a row takes of pages which have whole rows alone."""
    return _PAGE / (_PAGE_ROOM // (_aligned(row) + _POINTER))


def _aligned(size: float) -> int:
    return 8 * math.ceil(size / 8)
