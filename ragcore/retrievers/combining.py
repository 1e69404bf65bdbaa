"""Which segments become one, and how: their saved indexes are joined, or their vectors added again.

Knows sizes, files and capabilities; knows nothing of searching.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.contracts import Index, JoiningIndex, SavedIndex, ScratchUser, supports
from ragcore.disk.arrays import save_array
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.segment import Segment, folder_of, rows_file

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors

__all__ = ["LARGEST", "Combiner", "changeable", "join_saved", "tiers"]

LARGEST: Final = 1 << 18
"""Rows up to which an update joins segments: with 768 dimensions, 0.8 GB of vectors."""

_PARTS: Final = "parts"
"""A folder for what is only needed until segments are combined."""


def changeable(segment: Segment) -> bool:
    """Return whether another segment can have its vectors: they are returned, or it can be joined.

    Args:
        segment: saved or not.
    """
    return segment.rebuildable or supports(segment.index, JoiningIndex)


def tiers(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Group segments so that there are always few: the last ones while they are of similar size.

    A vector is copied at most as often as the number of rows can double, up to `LARGEST`: a memory
    of large segments is not rewritten for one removal. Of n rows there are at most
    2 n / LARGEST + log2(LARGEST) groups. Segments of an index that neither returns its vectors nor
    can be joined stay as they are.
    """
    groups = [[segment] for segment in segments if len(segment)]
    while len(groups) > 1:
        sizes = [sum(map(len, group)) for group in groups[-2:]]
        if 2 * sizes[1] < sizes[0] or sum(sizes) > LARGEST:
            break
        if not all(map(changeable, groups[-2] + groups[-1])):
            break
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups


def mostly_hidden(segment: Segment) -> bool:
    """Return whether an update writes a segment again since most of its rows were removed.

    Above `LARGEST` it stays until a compaction: a removal takes time by the number of rows that it
    removes, not by that of all.
    """
    return len(segment) < len(segment.hidden) and len(segment) <= LARGEST


class Combiner:
    """Writes segments into a folder, some of them as one.

    Args:
        folder: of all segments, an existing one.
        spec: of their index.
        empty_index: builds an empty index from a number of dimensions, or spawns one.
    """

    def __init__(
        self, folder: Path, spec: ComponentSpec[Index], empty_index: Callable[[int], Index]
    ) -> None:
        self._folder = folder
        self._spec = spec
        self._empty_index = empty_index
        self._written: list[Segment] = []

    @property
    def written(self) -> list[Segment]:
        """The segments in the folder, by their numbers."""
        return self._written

    def write(self, segment: Segment) -> None:
        """Write one as it is."""
        segment.save(self._folder, len(self._written))
        self._written.append(segment)

    def combine(self, segments: Sequence[Segment], *, join: bool) -> bool:
        """Write several, or one without its hidden rows, as one segment.

        Args:
            segments: each with a visible row at least.
            join: join saved indexes where that is possible, even if they return their vectors: it
                takes no memory, and reads what was not saved yet.

        Returns:
            False, and nothing is written, where the index can do neither, or the segments were
            trained apart.
        """
        try:
            if all(segment.rebuildable for segment in segments):
                return (join and self._joined(segments)) or self._rebuilt(segments)
            return self._joined(segments)
        finally:
            if (self._folder / _PARTS).exists():
                shutil.rmtree(self._folder / _PARTS)

    def _joined(self, segments: Sequence[Segment]) -> bool:
        index = segments[0].index
        if not supports(index, JoiningIndex):
            return False
        number = len(self._written)
        parts = []
        for place, segment in enumerate(segments):
            source = segment.saved
            if source is None:
                source = self._folder / _PARTS / str(place)
                source.mkdir(parents=True)
                segment.index.save(source)
            parts.append(SavedIndex(source, segment.shift, segment.hidden - segment.shift))
        rows = np.sort(np.concatenate([segment.visible for segment in segments]))
        if not join_saved(index, parts, rows, folder_of(self._folder, number)):
            return False
        self._written.append(self._loaded(number))
        return True

    def _rebuilt(self, segments: Sequence[Segment]) -> bool:
        """Add the vectors of segments to an index, at most `LARGEST` at a time."""
        rows = np.sort(np.concatenate([segment.visible for segment in segments]))
        index: Index | None = None
        scratch = self._folder / _PARTS / "scratch"
        for first in range(0, len(rows), LARGEST):
            block = rows[first : first + LARGEST]
            vectors = _vectors(segments, block)
            if index is None:
                index = self._empty_index(vectors.shape[1])
                if len(rows) > LARGEST:
                    _use_scratch(index, scratch)
            index.add(block, vectors)
        assert index is not None  # Each segment has a visible row.
        self.write(Segment(index, rows))
        if scratch.exists():
            # The vectors of the index that was built are in files that go.
            self._written[-1] = self._loaded(len(self._written) - 1)
        return True

    def _loaded(self, number: int) -> Segment:
        return Segment.load(folder_of(self._folder, number), self._spec, 0, mmap=True)


def _use_scratch(index: Index, folder: Path) -> None:
    """Let an index keep in a new folder what is too large for memory, if it can.

    One in a database keeps its vectors there. The folder goes before the version is in place, and
    a pointer in it would go without its table.
    """
    if "remote" not in index.capabilities and supports(index, ScratchUser):
        folder.mkdir(parents=True)
        index.use_scratch(folder)


def join_saved(index: JoiningIndex, parts: Sequence[SavedIndex], rows: Rows, folder: Path) -> bool:
    """Write saved indexes as the index of one segment.

    Args:
        index: one of the kind of the parts.
        parts: that are joined.
        rows: that the segment has then, ascending.
        folder: of its index; made by this.

    Returns:
        False, and there is no folder, where the parts were trained apart.
    """
    folder.mkdir()
    if not index.join(parts, folder):
        folder.rmdir()
        return False
    # A memory built in one go has the rows from 0 on, which need no list.
    if not np.array_equal(rows, np.arange(len(rows))):
        save_array(rows_file(folder), rows)
    return True


def _vectors(segments: Sequence[Segment], rows: Rows) -> Vectors:
    """Return the vectors of ascending rows [n], each in one of the segments, float32 [n, d]."""
    vectors: Vectors | None = None
    for segment in segments:
        mask = segment.shows(rows)
        if mask.any():
            part = segment.vectors(rows[mask])
            if mask.all():
                return part
            if vectors is None:
                vectors = np.empty((len(rows), part.shape[1]), np.float32)
            vectors[mask] = part
    assert vectors is not None  # The rows are those of the segments.
    return vectors
