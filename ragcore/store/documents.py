"""The documents of a version on disk: their ids, their keys, and which passages belong to each.

    documents.arrow     id, key, and the numbers of its passages in the document's order
    documents.npy       uint64 [2, n]: digests of the ids, ascending, and the position of each

Knows these two files; knows nothing of how documents are compared. Both are mapped from disk, so
that a lookup needs no memory; writing takes 32 bytes for each document.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ragcore.disk.arrays import save_array
from ragcore.disk.loading import reading
from ragcore.errors import CorpusError, StoreCorruptError
from ragcore.memory.columns import ColumnWriter

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

__all__ = [
    "DOCUMENT_FILES",
    "DocumentRecord",
    "DocumentWriter",
    "Documents",
    "KeylessDocuments",
    "NoDocuments",
]

_RECORDS: Final = "documents.arrow"
_POSITIONS: Final = "documents.npy"
DOCUMENT_FILES: Final = (_RECORDS, _POSITIONS)
"""The names of the files in a version's folder."""

_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("passages", pa.list_(pa.int64()), nullable=False),
    ]
)


class DocumentRecord(NamedTuple):
    """A document as a version records it.

    Attributes:
        id: of the document.
        key: that its corpus gave it; empty where its passages were changed by other means since.
        numbers: of its passages, in the document's order; see `Passages`.
    """

    id: str
    key: str
    numbers: Sequence[int]


class NoDocuments:
    """Documents of which none is known; see `KnownDocuments`."""

    def key(self, document_id: str) -> str | None:
        """Return None."""
        return None


class KeylessDocuments:
    """Documents of which only the ids count; see `KnownDocuments`.

    Their keys are from a corpus with other settings, so that each has to be compared. That they
    are known still matters: a corpus tells of a page that is no article any more if it is.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def key(self, document_id: str) -> str | None:
        """Return "" for a document that is known, None for others."""
        return None if self._documents.position(document_id) is None else ""


class DocumentWriter(ColumnWriter[DocumentRecord]):
    """Writes the documents of a version into its folder, in order; a context manager.

    The files are complete when the context ends without an error.

    Attributes:
        count: how many of the documents have passages.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / _RECORDS, _SCHEMA)
        self._folder = folder
        self._digests = array("Q")
        self.count = 0

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        super().__exit__(kind, *details)
        if kind is None:
            self._write_positions()

    def write(self, record: DocumentRecord) -> None:
        """Append a document, whose id and key are texts."""
        self._digests.append(_digest(record.id))
        self.count += bool(len(record.numbers))
        self._append(record, len(record.id) + len(record.key))

    def _columns(self, rows: Sequence[DocumentRecord]) -> list[Any]:
        ids, keys, numbers = zip(*rows, strict=True)
        lists = [list(each) for each in numbers]
        columns = [pa.array(ids, pa.string()), pa.array(keys, pa.string())]
        return [*columns, pa.array(lists, _SCHEMA.field("passages").type)]

    def _write_positions(self) -> None:
        """Write where each document is.

        Raises:
            CorpusError: two documents have the same id.
        """
        digests = np.frombuffer(self._digests, np.uint64)  # [n]
        order = np.argsort(digests, kind="stable")  # [n]
        positions = np.empty((2, len(order)), np.uint64)
        np.take(digests, order, out=positions[0])
        positions[1] = order
        save_array(self._folder / _POSITIONS, positions)
        equal = np.flatnonzero(positions[0, 1:] == positions[0, :-1])
        if not len(equal):
            return
        # Nearly always the same id; two ids have the same digest once in many billions.
        documents = Documents(self._folder)
        for start in equal.tolist():
            first, second = (
                documents.at(int(positions[1, start + offset])).id for offset in (0, 1)
            )
            if first == second:
                raise CorpusError(
                    f"the corpus gave the document {first!r} twice: ids of documents must be unique"
                )


class Documents:
    """The documents of a version; they can be pickled, and several threads may read them.

    Pickled, they are the path of their folder, and are opened again where they are used.
    """

    def __init__(self, folder: Path) -> None:
        """Open the documents of a version.

        Raises:
            StoreCorruptError: a file is missing or broken.
        """
        self._folder = folder
        path = folder / _RECORDS
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
            if not reader.schema.equals(_SCHEMA):
                raise StoreCorruptError(
                    f"{path} has columns {reader.schema.names}, expected {_SCHEMA.names}: rebuild "
                    "this version of the memory"
                )
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except FileNotFoundError:
            raise StoreCorruptError(
                f"{path} is missing: rebuild this version of the memory"
            ) from None
        except (pa.ArrowException, OSError) as error:
            raise StoreCorruptError(
                f"{path} cannot be read as documents ({error}): rebuild this version of the memory"
            ) from error
        self._columns: list[list[Any]] = [batch.columns for batch in batches]
        self._ends = list(accumulate(batch.num_rows for batch in batches))
        self._positions = _read_positions(folder / _POSITIONS, len(self))

    def __getstate__(self) -> Path:
        return self._folder

    def __setstate__(self, folder: Path) -> None:
        Documents.__init__(self, folder)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def key(self, document_id: str) -> str | None:
        """Return the key of a document; see `KnownDocuments`."""
        position = self.position(document_id)
        if position is None:
            return None
        batch, offset = self._place(position)
        key: str = self._columns[batch][1][offset].as_py()
        return key

    def position(self, document_id: str) -> int | None:
        """Return the position of a document, None where there is none of this id."""
        try:
            digest = np.uint64(_digest(document_id))
        except UnicodeEncodeError:
            # No stored id has a lone surrogate.
            return None
        digests, positions = self._positions
        index = int(np.searchsorted(digests, digest))
        while index < len(digests) and digests[index] == digest:
            position = int(positions[index])
            batch, offset = self._place(position)
            if self._columns[batch][0][offset].as_py() == document_id:
                return position
            index += 1
        return None

    def at(self, position: int) -> DocumentRecord:
        """Read the document at a position, from 0 to n - 1."""
        batch, offset = self._place(position)
        return DocumentRecord(*(column[offset].as_py() for column in self._columns[batch]))

    def __iter__(self) -> Iterator[DocumentRecord]:
        """Yield all documents in order, with one batch in memory at a time."""
        for columns in self._columns:
            yield from map(
                DocumentRecord._make,
                zip(*(column.to_pylist() for column in columns), strict=True),
            )

    def numbers(self) -> Iterator[Rows]:
        """Yield the numbers of the passages that belong to documents, in arrays int64 [m]."""
        for _, _, passages in self._columns:
            yield passages.flatten().to_numpy()

    def _place(self, position: int) -> tuple[int, int]:
        """Return the batch of a position, and the offset in it."""
        batch = bisect_right(self._ends, position)
        return batch, position - (self._ends[batch - 1] if batch else 0)


def _read_positions(path: Path, count: int) -> npt.NDArray[np.uint64]:
    """Map the positions [2, n] of n documents.

    Raises:
        StoreCorruptError: the file is missing, or holds something else.
    """
    with reading(path):
        positions = np.load(path, mmap_mode="r", allow_pickle=False)
        if positions.dtype != np.uint64 or positions.shape != (2, count):
            raise ValueError(f"it holds no positions of {count} documents")
        if count and int(positions[1].max()) >= count:
            raise ValueError(f"position {positions[1].max()} of {count} documents")
    mapped: npt.NDArray[np.uint64] = positions
    return mapped


def _digest(document_id: str) -> int:
    """Return 64 bits that stand for an id."""
    return int.from_bytes(blake2b(document_id.encode("utf-8"), digest_size=8).digest(), "little")
