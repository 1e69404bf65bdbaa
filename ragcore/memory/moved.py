"""Metadata of passages that moved in their documents: what replaces those in the passage files.

    moved.arrow     the numbers of passages, ascending, and their metadata as JSON

Knows this file; knows nothing of how passages are compared. A line that is inserted at the head of
a document changes the place of all its passages, and neither their texts nor their vectors: so the
passages stay, and only this file is written. It is mapped from disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ragcore.errors import CorpusError, StoreCorruptError
from ragcore.memory.columns import ColumnWriter, metadata_to_json, read_batches
from ragcore.retrievers.hits import among
from ragcore.types import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

__all__ = ["MovedMetadata", "MovedRow", "MovedWriter", "RowBatch", "read_rows"]

_SCHEMA: Final = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)


class MovedRow(NamedTuple):
    """A passage that moved.

    Attributes:
        number: of the passage; see `Passages`.
        metadata: that it has now, as JSON.
    """

    number: int
    metadata: str

    @classmethod
    def of(cls, number: int, passage: Passage) -> MovedRow:
        """Return the row of a passage.

        Raises:
            CorpusError: its metadata cannot be written as JSON or as UTF-8.
        """
        text = metadata_to_json(passage)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"passage {passage.id!r}: its metadata has a lone surrogate, "
                f"{text[error.start]!r}, which is no Unicode text: repair the corpus"
            ) from None
        return cls(number, text)


class MovedWriter(ColumnWriter[MovedRow]):
    """Writes rows to a new file; `MovedMetadata` reads it if the numbers ascend.

    Attributes:
        count: how many rows were written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)
        self.count = 0

    def write(self, row: MovedRow) -> None:
        """Append a row."""
        self.count += 1
        self._append(row, len(row.metadata))

    def _columns(self, rows: Sequence[MovedRow]) -> list[Any]:
        numbers, texts = zip(*rows, strict=True)
        return [pa.array(numbers, pa.int64()), pa.array(texts, pa.string())]


class RowBatch(NamedTuple):
    """Rows that are mapped from disk.

    Attributes:
        numbers: of m passages, int64 [m].
        metadata: of these as JSON, an Arrow array of m texts.
    """

    numbers: Numbers
    metadata: Any


class MovedMetadata:
    """The metadata of the passages that moved, by their numbers; several threads may read them."""

    def __init__(self, path: Path, stored: int, kept: Numbers | None) -> None:
        """Open a file that `MovedWriter` wrote, and read its numbers once.

        Args:
            path: of the file.
            stored: how many passages the passage files have.
            kept: the numbers of those that are in the version, ascending, int64 [n]; None for all.

        Raises:
            StoreCorruptError: the file is missing or broken, its numbers do not ascend, or one of
                them is of no passage of the version.
        """
        self._batches = read_rows(path)
        self._lasts = [int(batch.numbers[-1]) for batch in self._batches]
        before = -1
        for numbers, _ in self._batches:
            ascends = numbers[0] > before and (numbers[1:] > numbers[:-1]).all()
            before = int(numbers[-1])
            if not ascends or before >= stored or not _are_kept(numbers, kept):
                raise StoreCorruptError(
                    f"{path} lists passages from {numbers[0]} to {before}, which do not ascend "
                    f"within the passages of the version ({stored} are stored): rebuild this "
                    "version of the memory"
                )

    def get(self, number: int) -> str | None:
        """Return the metadata of a passage as JSON; None where it did not move."""
        index = bisect_left(self._lasts, number)
        if index == len(self._batches):
            return None
        numbers, metadata = self._batches[index]
        offset = int(numbers.searchsorted(number))
        if numbers[offset] != number:
            return None
        text: str = metadata[offset].as_py()
        return text

    def among(self, numbers: Numbers) -> Iterator[tuple[int, str]]:
        """Yield the position and the metadata of each of these passages that moved.

        Args:
            numbers: of passages of the version that follow each other, int64 [m].
        """
        if not len(numbers):
            return
        for index in range(bisect_left(self._lasts, int(numbers[0])), len(self._batches)):
            moved, metadata = self._batches[index]
            first, stop = np.searchsorted(moved, (numbers[0], numbers[-1] + 1))
            if first == stop:
                return
            # All of them are passages of the version, so that each is one of these.
            positions = np.searchsorted(numbers, moved[first:stop]).tolist()
            yield from zip(positions, metadata.slice(first, stop - first).to_pylist(), strict=True)


def read_rows(path: Path) -> list[RowBatch]:
    """Map a file of rows, in any order, into memory; batches without a row are left out.

    Raises:
        StoreCorruptError: the file is missing or broken.
    """
    batches = []
    for batch in read_batches(path, _SCHEMA, "metadata of passages that moved"):
        numbers, metadata = batch.columns
        if numbers.null_count or metadata.null_count:
            raise StoreCorruptError(
                f"{path} has rows without a number or metadata: rebuild this version of the memory"
            )
        if batch.num_rows:
            batches.append(RowBatch(numbers.to_numpy(zero_copy_only=True), metadata))
    return batches


def _are_kept(numbers: Numbers, kept: Numbers | None) -> bool:
    """Return whether all numbers are in an ascending list; None is the list of all numbers."""
    return kept is None or bool(among(numbers, kept).all())
