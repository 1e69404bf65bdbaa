"""Carry the metadata of passages that moved from a version to the next, with what moved since.

Knows how the file of one version follows from that of its parent; knows nothing of how passages
are compared. What is held for each passage that moves is 24 bytes.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa

from ragcore.disk.links import share
from ragcore.memory.columns import BATCH_ROWS
from ragcore.memory.moved import MovedRow, MovedWriter, read_rows
from ragcore.retrievers.hits import among
from ragcore.store.layout import MOVED, VersionFolder
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["MovedPassages", "carry_moved"]

_UNSORTED: Final = "moved-unsorted.arrow"


class MovedPassages:
    """Passages that moved, as an update comes upon them; a context manager.

    Their metadata wait in a file until all are known, since the numbers of passages that are
    compared one after the other need not ascend.

    Attributes:
        count: how many moved.
    """

    def __init__(self, staging: Path) -> None:
        """Begin the file in the folder of a new version."""
        self.count = 0
        self._path = staging / _UNSORTED
        self._numbers = array("q")
        self._writer = MovedWriter(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        self._writer.__exit__(kind, *details)

    def add(self, number: int, passage: Passage) -> None:
        """Note a passage that moved, once.

        Args:
            number: of the passage, which stays.
            passage: with its new metadata.

        Raises:
            CorpusError: its metadata cannot be written.
        """
        self._writer.write(MovedRow.of(number, passage))
        self._numbers.append(number)
        self.count += 1

    def write(self, base: VersionFolder, staging: Path, removed: Rows) -> None:
        """Write the file of the new version, after the context has ended; see `carry_moved`."""
        numbers = np.array(self._numbers, np.int64)  # [m]
        if len(numbers):
            order = np.argsort(numbers)  # [m]
            numbers.sort()
            _write(base, staging, removed, numbers, self._ascending(numbers, order))
        else:
            carry_moved(base, staging, removed)
        self._path.unlink()

    def _ascending(self, numbers: Rows, order: Rows) -> Iterator[MovedRow]:
        """Yield the rows in the order of their numbers.

        Args:
            numbers: ascending, int64 [m].
            order: where the row of each is in the file, int64 [m].
        """
        batches = read_rows(self._path)
        ends = np.array(list(accumulate(len(batch.numbers) for batch in batches)))
        for start in range(0, len(order), BATCH_ROWS):
            positions = order[start : start + BATCH_ROWS]
            indexes = np.searchsorted(ends, positions, side="right")
            offsets = positions - np.where(indexes, ends[indexes - 1], 0)
            chunk = numbers[start : start + BATCH_ROWS]
            for number, index, offset in zip(
                chunk.tolist(), indexes.tolist(), offsets.tolist(), strict=True
            ):
                yield MovedRow(number, batches[index].metadata[offset].as_py())


def carry_moved(base: VersionFolder, staging: Path, removed: Rows) -> None:
    """Give a new version the metadata of those passages that moved earlier and stay.

    The file is shared where all of them stay, and left out where none does.

    Args:
        base: the version that the new one is derived from.
        staging: the new version's folder.
        removed: numbers of the passages that do not stay, int64 [r], ascending.
    """
    if base.moved is None:
        return
    if any(among(batch.numbers, removed).any() for batch in read_rows(base.moved)):
        _write(base, staging, removed, np.zeros(0, np.int64), ())
    else:
        share(base.moved, staging / MOVED)


def _write(
    base: VersionFolder, staging: Path, removed: Rows, numbers: Rows, moved: Iterable[MovedRow]
) -> None:
    """Write the file of a new version; none where it would have no row.

    Args:
        base: the version that the new one is derived from.
        staging: the new version's folder.
        removed: numbers of the passages that do not stay, int64 [r], ascending.
        numbers: of those that moved now, int64 [m], ascending.
        moved: these, in the same order.
    """
    target = staging / MOVED
    with MovedWriter(target) as writer:
        for row in heapq.merge(_staying(base, removed, numbers), moved):
            writer.write(row)
    if not writer.count:
        target.unlink()


def _staying(base: VersionFolder, removed: Rows, numbers: Rows) -> Iterator[MovedRow]:
    """Yield the rows of a version without passages that are removed or have moved again."""
    for batch in [] if base.moved is None else read_rows(base.moved):
        stays = ~(among(batch.numbers, removed) | among(batch.numbers, numbers))
        texts = batch.metadata.filter(pa.array(stays)).to_pylist()
        yield from map(MovedRow, batch.numbers[stays].tolist(), texts)
