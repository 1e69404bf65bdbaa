"""Metadata of passages that moved in their documents: what replaces those in the passage files.

    moved.arrow     the numbers of passages, ascending, and their metadata as JSON

Knows this file; knows nothing of how passages are compared. A line that is inserted at the head of
a document changes the place of all its passages, and neither their texts nor their vectors: so the
passages stay, and only this file is written. It is mapped from disk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
import pyarrow as pa

from ragcore.errors import CorpusError, StoreCorruptError
from ragcore.memory.columns import BATCH_CHARACTERS, BATCH_ROWS, metadata_to_json, read_batches
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


class MovedWriter:
    """Writes rows to a new file; a context manager.

    At most 4,096 rows are in memory, or four million characters and the row that exceeds them.
    `MovedMetadata` reads the file if the numbers ascend.

    Attributes:
        count: how many rows were written.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._pending: list[MovedRow] = []
        self._characters = 0
        self._file = path.open("wb")
        self._writer = pa.ipc.new_file(self._file, _SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._writer.close()
        finally:
            self._file.close()

    def write(self, row: MovedRow) -> None:
        """Append a row."""
        self._pending.append(row)
        self._characters += len(row.metadata)
        self.count += 1
        if len(self._pending) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        numbers, texts = zip(*self._pending, strict=True)
        columns = [pa.array(numbers, pa.int64()), pa.array(texts, pa.string())]
        self._writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
        self._pending, self._characters = [], 0


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
