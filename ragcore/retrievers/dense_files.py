"""The files of a dense memory: its record, and how saved memories are merged into one.

    dense.json                  the index's name, its segments, what the encoder chose
    index/, index-1/, …         files of the segments, see segment.py

Knows these names. Merging opens no index but one that can be joined, mapped into memory: it takes
none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from ragcore.contracts import Fragments, Index, JoiningIndex, SavedIndex, SavedRetriever, supports
from ragcore.disk.arrays import save_array
from ragcore.disk.links import share_tree
from ragcore.disk.loading import reading
from ragcore.errors import MemoryMismatchError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers import combining
from ragcore.retrievers.combining import join_saved
from ragcore.retrievers.segment import (
    NO_ROWS,
    Segment,
    folder_of,
    hidden_file,
    read_rows,
    rows_file,
)

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["DenseRecord", "merge_saved", "saved_fragments"]

_RECORD: Final = "dense.json"


@dataclass(frozen=True, slots=True)
class DenseRecord:
    """What dense.json says.

    Attributes:
        index: the registered name of the index.
        shifts: of each segment, what is added to the rows in its files; see `Segment`.
        chosen: what the encoder chose, if it chooses.
    """

    index: str
    shifts: tuple[int, ...]
    chosen: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write it; shifts only where there are any."""
        record: dict[str, Any] = {"index": self.index, "segments": len(self.shifts)}
        if any(self.shifts):
            record["shifts"] = self.shifts
        if self.chosen:
            record["encoder"] = self.chosen
        (folder / _RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it.

        Raises:
            StoreCorruptError: it is missing or broken.
        """
        with reading(folder / _RECORD) as path:
            record = json.loads(path.read_bytes())
            # A memory of ragcore 0.1.0 has one segment and does not record the number.
            segments = int(record.get("segments", 1))
            shifts = tuple(int(shift) for shift in record.get("shifts", (0,) * segments))
            if len(shifts) != segments or min(shifts, default=0) < 0:
                raise ValueError(f"it has shifts {shifts} for {segments} segments")
            chosen = {str(key): str(value) for key, value in record.get("encoder", {}).items()}
            return cls(record["index"], shifts, chosen)

    def check_index(self, folder: Path, use: str) -> None:
        """Check that the memory was built with the index of a name.

        Raises:
            MemoryMismatchError: it was built with another.
        """
        if self.index != use:
            raise MemoryMismatchError(
                f"{folder} was built with index {self.index!r}, but the index in use is {use!r}: "
                f"rebuild the memory or set memory.retriever.index.use to {self.index}"
            )


def saved_fragments(folder: Path) -> Fragments:
    """Return how many segments a folder has, and how many of their rows were removed.

    Raises:
        StoreCorruptError: the record or a list of rows is missing or broken.
    """
    segments = len(DenseRecord.read(folder).shifts)
    hidden = [
        read_rows(hidden_file(folder_of(folder, number)), mmap=True) for number in range(segments)
    ]
    return Fragments(segments, sum(len(rows) for rows in hidden if rows is not None))


class _Saved(NamedTuple):
    """A segment of a part.

    Attributes:
        folder: of its index.
        shift: what is added to the rows in its files.
        first: what is added to the rows in its lists of rows.
        size: how many rows it has, where that is known without opening its index.
    """

    folder: Path
    shift: int
    first: int
    size: int | None

    def visible(self, spec: ComponentSpec[Index]) -> tuple[Rows, Rows]:
        """Return its rows that were not removed, and those that were, ascending."""
        if self.size is not None and not any(
            name(self.folder).exists() for name in (rows_file, hidden_file)
        ):
            return np.arange(self.shift, self.shift + self.size, dtype=np.int64), NO_ROWS
        segment = Segment.load(self.folder, spec, self.shift, first=self.first, mmap=True)
        return segment.visible, segment.hidden


def merge_saved(parts: Sequence[SavedRetriever], folder: Path, spec: ComponentSpec[Index]) -> None:
    """Write saved dense retrievers as one; see `MergingRetriever`.

    Its segments are theirs, whose files are shared. But indexes that can be joined are written as
    one segment, if they were trained alike, and are searched much faster as one or have few rows.

    Args:
        parts: one or more.
        folder: an existing empty one.
        spec: of the index.

    Raises:
        MemoryMismatchError: a part has another index, or its encoder chose something else.
        StoreCorruptError: the record, an index or a list of rows of a part is missing or broken.
    """
    records = [DenseRecord.read(part.folder) for part in parts]
    segments: list[_Saved] = []
    for part, record in zip(parts, records, strict=True):
        record.check_index(part.folder, spec.use)
        if record.chosen != records[0].chosen:
            raise MemoryMismatchError(
                f"{part.folder} was encoded with {record.chosen}, and {parts[0].folder} with "
                f"{records[0].chosen}: build all parts with the same settings of the encoder, such "
                "as its dtype"
            )
        alone = len(record.shifts) == 1
        segments += [
            _Saved(
                folder_of(part.folder, number),
                shift + part.first,
                part.first,
                part.count if alone else None,
            )
            for number, shift in enumerate(record.shifts)
        ]
    shifts: tuple[int, ...] = (0,)
    if not _join(segments, folder, spec):
        for number, segment in enumerate(segments):
            _share_segment(segment, folder_of(folder, number))
        shifts = tuple(segment.shift for segment in segments)
    DenseRecord(spec.use, shifts, records[0].chosen).write(folder)


def _join(segments: Sequence[_Saved], folder: Path, spec: ComponentSpec[Index]) -> bool:
    """Write segments as one; return whether that is possible and of use."""
    declared = spec.component.capabilities
    # To see what it can do an index is opened, which may take memory for others.
    if len(segments) < 2 or not (isinstance(declared, Set) and "mmap" in declared):
        return False
    index = spec.load(segments[0].folder, mmap=True)
    if not supports(index, JoiningIndex):
        return False
    visible: list[Rows] = []
    joined: list[SavedIndex] = []
    for segment in segments:
        rows, hidden = segment.visible(spec)
        if len(rows):
            visible.append(rows)
            joined.append(SavedIndex(segment.folder, segment.shift, hidden - segment.shift))
    # Of the others, small ones: a search of a segment takes some time in any case.
    if not index.joined_is_quicker and sum(map(len, visible)) > combining.LARGEST:
        return False
    return join_saved(index, joined, np.concatenate(visible), folder_of(folder, 0))


def _share_segment(segment: _Saved, target: Path) -> None:
    """Share the files of a segment, and write its lists of rows as the merged memory has them."""
    share_tree(segment.folder, target)
    for name in (rows_file, hidden_file):
        rows = read_rows(name(segment.folder), mmap=True, first=segment.first)
        if rows is not None:
            save_array(name(target), rows)
