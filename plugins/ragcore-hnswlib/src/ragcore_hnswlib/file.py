"""The head of hnswlib's file, looked at before hnswlib reads it.

hnswlib believes what the head says of sizes; a head that was changed would have it read memory that
is not its own.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from ragcore.disk.loading import reading
from ragcore.errors import StoreCorruptError

__all__ = ["check_file"]

_HEAD: Final = struct.Struct("=6QiI3QdQ")
"""offsets and counts, the highest level and where it is entered, neighbours, their law, ef."""


def check_file(path: Path, *, dim: int, m: int, count: int) -> None:
    """Refuse a file whose head is not that of `count` vectors of `dim` numbers.

    Raises:
        StoreCorruptError: it is another's, or cut off.
    """
    with reading(path), path.open("rb") as file:
        head = file.read(_HEAD.size)
    # Of each vector: its neighbours with their number, its numbers, its label.
    neighbours = 4 * 2 * m + 4
    size = neighbours + 4 * dim + 8
    fits = len(head) == _HEAD.size
    if fits:
        offset, room, held, each, label, data, _, entered, upper, lower, own, _, _ = _HEAD.unpack(
            head
        )
        fits = (offset, held, each, label, data) == (0, count, size, size - 8, neighbours)
        fits &= (upper, lower, own) == (m, 2 * m, m)
        fits &= room >= held and (entered < held or not held)
    if not fits:
        raise StoreCorruptError(
            f"{path} is no graph of {count} vectors of {dim} numbers with m={m}: rebuild this "
            "version of the memory"
        )
