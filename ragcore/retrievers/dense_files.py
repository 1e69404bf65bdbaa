"""The files of a dense memory: its record, and how saved memories are merged into one.

    dense.json                  the index's name, its segments, what the encoder chose
    index/, index-1/, …         files of the segments, see segment.py

Knows these names; opens no index, so that merging takes no memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from ragcore.contracts import SavedRetriever
from ragcore.disk.arrays import save_array
from ragcore.disk.links import share_tree
from ragcore.disk.loading import reading
from ragcore.errors import MemoryMismatchError
from ragcore.retrievers.segment import folder_of, hidden_file, read_rows, rows_file

__all__ = ["DenseRecord", "merge_saved"]

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


def merge_saved(parts: Sequence[SavedRetriever], folder: Path, use: str) -> None:
    """Write saved dense retrievers as one, whose segments are theirs; see `MergingRetriever`.

    Args:
        parts: one or more.
        folder: an existing empty one.
        use: the registered name of the index.

    Raises:
        MemoryMismatchError: a part has another index, or its encoder chose something else.
        StoreCorruptError: the record or a list of rows of a part is missing or broken.
    """
    records = [DenseRecord.read(part.folder) for part in parts]
    numbers = count()
    shifts: list[int] = []
    for part, record in zip(parts, records, strict=True):
        record.check_index(part.folder, use)
        if record.chosen != records[0].chosen:
            raise MemoryMismatchError(
                f"{part.folder} was encoded with {record.chosen}, and {parts[0].folder} with "
                f"{records[0].chosen}: build all parts with the same settings of the encoder, such "
                "as its dtype"
            )
        shifts += _share_segments(part, record, folder, numbers)
    DenseRecord(use, tuple(shifts), records[0].chosen).write(folder)


def _share_segments(
    part: SavedRetriever, record: DenseRecord, folder: Path, numbers: Iterator[int]
) -> Iterator[int]:
    """Share the segments of a part under the next numbers; yield the shift of each."""
    for own, shift in enumerate(record.shifts):
        source, target = folder_of(part.folder, own), folder_of(folder, next(numbers))
        share_tree(source, target)
        for name in (rows_file, hidden_file):
            rows = read_rows(name(source), mmap=True)
            if rows is not None:
                save_array(name(target), rows + part.first)
        yield shift + part.first
