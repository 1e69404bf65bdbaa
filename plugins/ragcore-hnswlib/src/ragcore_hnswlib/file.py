"""Check hnswlib's file whole, before hnswlib reads it.

hnswlib trusts every number in it: a changed size, neighbour or level would make it read or write
memory outside its own. Layout: a head; for each element its neighbours in the lowest layer, its
vector and its label; then for each element the size of its lists in higher layers, and the lists.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.disk.loading import reading
from ragcore.disk.threads import yield_gil
from ragcore.errors import StoreCorruptError
from ragcore.types import MISSING_ROW

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

    Numbers = npt.NDArray[Any]

__all__ = ["check_file"]

_HEAD: Final = struct.Struct("=6QiI3QdQ")
"""Offsets and counts, the highest level, its entry point, neighbours, level factor, ef."""
_BLOCK: Final = 4_096
_HIGHEST: Final = 1_000
"""More levels than any graph has: they fall off exponentially."""


def check_file(path: Path, *, dim: int, m: int, rows: Rows) -> None:
    """Refuse a file that is not a sound graph of these rows' vectors.

    Args:
        path: hnswlib's file.
        dim: length of the vectors.
        m: neighbours of a vector in the higher layers; twice as many in the lowest.
        rows: int64 [n], the row of each label; `MISSING_ROW` where it was removed.

    Raises:
        StoreCorruptError: it describes another graph, is cut off, or has a number that hnswlib
            would follow out of its memory.
    """
    try:
        with reading(path):
            if path.stat().st_size < _HEAD.size:
                raise _FaultError("its head is cut off")
            data = np.memmap(path, np.uint8, "r")
            _check(data, dim, m, rows)
    except _FaultError as error:
        raise StoreCorruptError(
            f"{path} is no graph of {len(rows)} vectors of {dim} numbers with m={m} ({error}): "
            "rebuild this version of the memory"
        ) from None


class _FaultError(Exception):
    """What is wrong with the file."""


def _check(data: Numbers, dim: int, m: int, rows: Rows) -> None:
    count = len(rows)
    offset, room, stored, each, label, start, highest, entry, upper, lower, m_stored, factor, ef = (
        _HEAD.unpack(data[: _HEAD.size].tobytes())
    )
    # Bytes of each element: its neighbours with their number, its numbers, its label.
    neighbours = 4 * 2 * m + 4
    size = neighbours + 4 * dim + 8
    fits = (offset, stored, each, label, start) == (0, count, size, size - 8, neighbours)
    fits &= (upper, lower, m_stored) == (m, 2 * m, m)
    fits &= room >= stored and ef >= m and math.isclose(factor, 1 / math.log(m))
    if not fits:
        raise _FaultError("its head does not fit")
    end = _HEAD.size + count * size
    if len(data) < end or (len(data) - end) % 4:
        raise _FaultError("it is cut off")
    if not count:
        if len(data) > end or highest != -1:
            raise _FaultError("it has a graph, but no vectors")
        return
    levels, lists = _upper_lists(data[end:].view(np.uint32), count, m)
    if not (entry < count and 0 <= highest <= _HIGHEST and levels[entry] == highest):
        raise _FaultError("its entry point is not in the highest layer")
    if levels.max() > highest:
        raise _FaultError("a vector is in a layer above the highest")
    for level, links in lists:
        _check_links(links, m, levels, level)
    labels = np.empty(count, np.uint64)
    elements = data[_HEAD.size : end].reshape(count, size)
    for first in range(0, count, _BLOCK):
        block = elements[first : first + _BLOCK]
        links = np.ascontiguousarray(block[:, :neighbours]).view(np.uint32)  # [n, 2m + 1]
        _check_links(links, 2 * m, levels, 0)
        vectors = np.ascontiguousarray(block[:, neighbours : size - 8]).view(np.float32)
        if not np.isfinite(vectors).all():
            raise _FaultError("a vector is not finite")
        labels[first : first + len(block)] = np.ascontiguousarray(block[:, size - 8 :]).view(
            np.uint64
        )[:, 0]
        yield_gil()
    if labels.max() >= count or len(np.unique(labels)) < count:
        raise _FaultError("its labels are not the numbers of the rows")
    # The mark of a removed element is in the third byte of the number of its neighbours.
    removed = elements[:, 2] == 1
    if not np.array_equal(removed, rows[labels.astype(np.int64)] == MISSING_ROW):
        raise _FaultError("it hides other vectors than were removed")


def _upper_lists(numbers: Numbers, count: int, m: int) -> tuple[Numbers, list[tuple[int, Numbers]]]:
    """Return each element's highest layer, and the links [e, m + 1] of each layer above 0."""
    levels = np.zeros(count, np.int64)
    starts: list[tuple[int, int]] = []
    width, position = m + 1, 0
    for element in range(count):
        if position >= len(numbers):
            raise _FaultError("its higher layers are cut off")
        size = int(numbers[position])
        position += 1
        if not size:
            continue
        if size % (4 * width) or size // 4 > len(numbers) - position:
            raise _FaultError("a list of its higher layers has a wrong size")
        levels[element] = size // (4 * width)
        starts += [(level + 1, position + level * width) for level in range(levels[element])]
        position += size // 4
    if position != len(numbers):
        raise _FaultError("it is longer than its graph")
    lists = []
    if starts:
        table = np.array(starts)  # [lists, 2]
        for level in np.unique(table[:, 0]).tolist():
            firsts = table[table[:, 0] == level, 1]
            lists.append((level, numbers[firsts[:, None] + np.arange(width)]))
    return levels, lists


def _check_links(links: Numbers, most: int, levels: Numbers, level: int) -> None:
    """Check links [n, 1 + most] of one layer: how many, then which elements."""
    counts = links[:, 0] & np.uint32(0xFFFF)
    marks = links[:, 0] >> np.uint32(16)
    if counts.max() > most or marks.max() > (1 if level == 0 else 0):
        raise _FaultError("a vector has more neighbours than fit")
    used = links[:, 1:][np.arange(most) < counts[:, None]]
    if len(used) and (used.max() >= len(levels) or levels[used].min() < level):
        raise _FaultError("a neighbour is not in the layer")
