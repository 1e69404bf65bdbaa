"""The check of the head of hnswlib's file, before hnswlib reads it.

hnswlib trusts the sizes in the head; a changed head would make it read memory outside its own.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from ragcore.disk.loading import reading
from ragcore.errors import StoreCorruptError

__all__ = ["check_file"]

_HEAD: Final = struct.Struct("=6QiI3QdQ")
"""Offsets and counts, the highest level, its entry point, neighbours, level factor, ef."""


def check_file(path: Path, *, dim: int, m: int, count: int) -> None:
    """Refuse a file whose head is not that of `count` vectors of `dim` numbers.

    Raises:
        StoreCorruptError: it describes another graph, or is cut off.
    """
    with reading(path), path.open("rb") as file:
        head = file.read(_HEAD.size)
    # Bytes of each vector: its neighbours with their number, its numbers, its label.
    neighbours = 4 * 2 * m + 4
    size = neighbours + 4 * dim + 8
    fits = len(head) == _HEAD.size
    if fits:
        offset, room, stored, each, label, data, _, entry, upper, lower, m_stored, _, _ = (
            _HEAD.unpack(head)
        )
        fits = (offset, stored, each, label, data) == (0, count, size, size - 8, neighbours)
        fits &= (upper, lower, m_stored) == (m, 2 * m, m)
        fits &= room >= stored and (entry < stored or not stored)
    if not fits:
        raise StoreCorruptError(
            f"{path} is no graph of {count} vectors of {dim} numbers with m={m}: rebuild this "
            "version of the memory"
        )
