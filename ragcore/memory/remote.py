"""Passages in a passage store, such as a database; a version's folder has a pointer to them.

    passages/remote.json    which component has them, under which name; their number and digests

Knows pointers, and what of their passages is compared; knows nothing of databases, which components
reach, nor of which passages a version leaves out.
"""

from __future__ import annotations

import os
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import pyarrow as pa

from ragcore.contracts import PassageField, PassageRecord, PassageStore
from ragcore.disk.remote import POINTER, RemotePointer
from ragcore.errors import (
    CorpusError,
    MemoryMismatchError,
    MemoryUnavailableError,
    StoreCorruptError,
)
from ragcore.memory.arrow import encoding_message, is_unicode
from ragcore.memory.columns import BATCH_CHARACTERS, BATCH_ROWS, metadata_to_json
from ragcore.registry.components import ComponentSpec
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["KIND", "RemotePassageWriter", "RemotePassages", "StoreChoice", "drop_segment"]

KIND: Final = "passages"
"""The kind of component that keeps passages, as pointers name it."""

FIELDS: Final[tuple[PassageField, ...]] = ("id", "title", "text", "metadata")

StoreChoice = Callable[[str], PassageStore]
"""Returns the passage store to read with, by the name under which its component is registered."""

_BLOCKS: Final = 16
_BLOCK: Final = 64
"""How many blocks of how many passages are samples."""


class RemotePassageWriter:
    """Writes passages to a new segment of a passage store, in order; a context manager.

    The pointer is on the disk before the segment is made, and is complete when the context ends
    without an error; `RemotePassages` reads it. Without a passage neither is made. At most 4,096
    passages are in memory, or four million characters and the passage that exceeds them.
    """

    def __init__(self, folder: Path, spec: ComponentSpec[PassageStore]) -> None:
        """Note where to write.

        Args:
            folder: of the pointer; it is made.
            spec: of the passage store.
        """
        self._folder = folder
        self._spec = spec
        self._store: PassageStore | None = None
        self._segment = f"ragcore_passages_{uuid.uuid4().hex}"
        self._pending: list[PassageRecord] = []
        self._characters = 0
        self._written = 0
        self._digest = _RecordDigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
            if self._store is not None:
                self._finish(self._store)

    def write(self, passages: Sequence[Passage]) -> None:
        """Append passages.

        Raises:
            CorpusError: a passage cannot be written: its metadata is not JSON, or a text has a lone
                surrogate, which UTF-8 cannot encode.
            MemoryUnavailableError: the store does not answer, or refuses.
        """
        for passage in passages:
            record = PassageRecord(
                passage.id, passage.title, passage.text, metadata_to_json(passage)
            )
            self._pending.append(record)
            self._characters += sum(map(len, record))
            if len(self._pending) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            self._digest.add(self._pending)
        except UnicodeEncodeError as error:
            raise CorpusError(encoding_message(self._pending, self._written, error)) from None
        if self._store is None:
            self._store = self._begin()
        self._store.append(self._segment, self._written, self._pending)
        self._written += len(self._pending)
        self._pending, self._characters = [], 0

    def _begin(self) -> PassageStore:
        store = self._spec.shared()
        store.prepare()
        self._folder.mkdir()
        # Before the segment, so that what a killed program leaves is found.
        details = {"database": store.identity}
        RemotePointer(KIND, self._spec.use, self._segment, details).write(self._folder)
        store.begin(self._segment)
        return store

    def _finish(self, store: PassageStore) -> None:
        store.finish(self._segment, self._written)
        samples = _RecordDigest()
        records = store.take(self._segment, _sample_positions(self._written), FIELDS)
        samples.add([PassageRecord(*record) for record in records])
        details = {
            "database": store.identity,
            "rows": self._written,
            "sha256": self._digest.hexdigest(),
            "samples": samples.hexdigest(),
        }
        RemotePointer(KIND, self._spec.use, self._segment, details).write(self._folder)


class RemotePassages:
    """The passages of one segment, read-only, by their positions; several threads may use it.

    Opening reads the pointer alone. Each batch is fetched when it is read, and again the next time.

    Attributes:
        ends: how many passages there are up to the end of each batch.
        unavailable: why the last reading found no store to ask; None where it found one.
    """

    def __init__(self, folder: Path, choose: StoreChoice) -> None:
        """Read a pointer that `RemotePassageWriter` wrote.

        Args:
            folder: with the pointer.
            choose: returns the passage store; called when it is first needed.

        Raises:
            StoreCorruptError: the pointer is missing or broken, or its segment was not finished.
        """
        pointer = RemotePointer.read(folder)
        rows, *digests = (pointer.details.get(key) for key in ("rows", "sha256", "samples"))
        if type(rows) is not int or rows < 1 or not all(isinstance(each, str) for each in digests):
            raise StoreCorruptError(
                f"{folder / POINTER} leads to passages that were not written to their end: "
                "rebuild this version of the memory"
            )
        self._folder = folder
        self._pointer = pointer
        self._rows = rows
        self._choose = choose
        self._chosen: PassageStore | None = None
        self.unavailable: str | None = None
        self.ends = [*range(BATCH_ROWS, rows, BATCH_ROWS), rows]

    def __len__(self) -> int:
        return self._rows

    def columns(self, batch: int, fields: Sequence[int]) -> list[Any]:
        """Fetch the Arrow arrays of a batch, those of some fields, by their numbers."""
        start = self.ends[batch - 1] if batch else 0
        records = self._take(range(start, self.ends[batch]), [FIELDS[field] for field in fields])
        return [pa.array(column, pa.string()) for column in zip(*records, strict=True)]

    def take(self, positions: Sequence[int]) -> list[tuple[str, ...]]:
        """Fetch all fields of passages, in the order of their positions."""
        return self._take(positions, FIELDS) if len(positions) else []

    def ids(self, positions: Rows) -> list[str]:
        """Fetch the ids of passages, int64 [n], in the order of their positions."""
        ids = []
        for start in range(0, len(positions), BATCH_ROWS):
            chunk = positions[start : start + BATCH_ROWS].tolist()
            ids += [id_ for (id_,) in self._take(chunk, ("id",))]
        return ids

    def find(self, ids: Sequence[str]) -> Rows:
        """Return the positions of all passages with one of these ids, ascending."""
        stored = [each for each in dict.fromkeys(ids) if is_unicode(each)]
        positions: list[int] = []
        for start in range(0, len(stored), BATCH_ROWS):
            positions += self._store.find(self._pointer.name, stored[start : start + BATCH_ROWS])
        return np.array(sorted(positions), np.int64)

    def problems(
        self, digests: bool | Literal["full", "sampled"], *, low_priority: bool = False
    ) -> Iterator[str]:
        """Yield what is wrong with the segment; nothing where it is as the pointer says.

        Args:
            digests: "full", or True: compare the digest of all passages, for which all are read;
                "sampled": of some of them; False: only their number.
            low_priority: sleep as long as each read took.

        Raises:
            MemoryUnavailableError: the store does not answer.
        """
        where = f"{self._pointer.name} in {self._store.location}"
        try:
            count = self._store.count(self._pointer.name)
            if count != self._rows:
                yield f"{where} has {count} passages, expected {self._rows}"
                return
            if not digests:
                return
            key = "samples" if digests == "sampled" else "sha256"
            digest = self._digest(sampled=digests == "sampled", low_priority=low_priority)
        except StoreCorruptError as error:
            yield str(error)
            return
        if digest != self._pointer.details[key]:
            what = "some of its passages have" if digests == "sampled" else "its passages have"
            yield f"{where}: {what} sha256 {digest}, expected {self._pointer.details[key]}"

    def _digest(self, *, sampled: bool, low_priority: bool) -> str:
        digest = _RecordDigest()
        starts = [0, *self.ends]
        pieces: Sequence[Sequence[int]] = [range(*pair) for pair in pairwise(starts)]
        for positions in [_sample_positions(self._rows)] if sampled else pieces:
            started = time.perf_counter()
            records = self._take(positions, FIELDS)
            digest.add([PassageRecord(*record) for record in records])
            if low_priority:
                time.sleep(time.perf_counter() - started)
        return digest.hexdigest()

    def _take(
        self, positions: Sequence[int], fields: Sequence[PassageField]
    ) -> list[tuple[str, ...]]:
        try:
            records = self._store.take(self._pointer.name, positions, fields)
        except MemoryUnavailableError as error:
            self.unavailable = str(error)
            raise
        self.unavailable = None
        if len(records) != len(positions):
            raise StoreCorruptError(
                f"{self._pointer.name} in {self._store.location} returned {len(records)} of "
                f"{len(positions)} passages: rebuild this version of the memory"
            )
        return records

    @property
    def _store(self) -> PassageStore:
        if self._chosen is None:
            store = self._choose(self._pointer.use)
            _check_database(self._folder, self._pointer, store)
            store.lease(self._pointer.name)
            # The process that forked has the lease, and a program that ends loses it.
            weakref.finalize(self, _release, os.getpid(), store, self._pointer.name).atexit = False
            self._chosen = store
        return self._chosen


def drop_segment(folder: Path, store: PassageStore) -> bool:
    """Drop the segment that a pointer leads to, finished or not.

    Args:
        folder: with the pointer.
        store: a passage store of its name.

    Returns:
        Whether it is removed; False where a program elsewhere has it open.

    Raises:
        MemoryMismatchError: it is in another database.
        MemoryUnavailableError: the store does not answer, or refuses.
    """
    pointer = RemotePointer.read(folder)
    _check_database(folder, pointer, store)
    return store.drop(pointer.name)


def _release(process: int, store: PassageStore, segment: str) -> None:
    if process == os.getpid():
        store.release(segment)


def _check_database(folder: Path, pointer: RemotePointer, store: PassageStore) -> None:
    """Check that a passage store is in the database that a pointer leads to.

    Raises:
        MemoryMismatchError: it is in another.
    """
    found, expected = store.identity, pointer.details.get("database")
    if found != expected:
        raise MemoryMismatchError(
            f"{folder / POINTER} leads to passages in the database {expected!r}, and the passage "
            f"store in use, {store.location}, is in {found!r}: connect to the other one"
        )


class _RecordDigest:
    """The digest of passages in their order, however they are divided into batches.

    SHA-256 of eight digests: for each field that of the lengths of its texts in bytes, as int64
    (little endian), and that of their bytes in UTF-8.
    """

    def __init__(self) -> None:
        self._hashes = [sha256() for _ in range(2 * len(FIELDS))]

    def add(self, records: Sequence[PassageRecord]) -> None:
        """Add passages.

        Raises:
            UnicodeEncodeError: a text has a lone surrogate; nothing was added.
        """
        columns = [
            [text.encode("utf-8") for text in column] for column in zip(*records, strict=True)
        ]
        for number, column in enumerate(columns):
            lengths = np.fromiter(map(len, column), "<i8", len(column))
            self._hashes[2 * number].update(lengths.tobytes())
            self._hashes[2 * number + 1].update(b"".join(column))

    def hexdigest(self) -> str:
        """Return the digest of all that was added, in hexadecimal."""
        return sha256(b"".join(each.digest() for each in self._hashes)).hexdigest()


def _sample_positions(count: int) -> list[int]:
    """Return the positions of samples among so many passages: blocks, the first and the last too.

    All of them where they are few.
    """
    if count <= _BLOCKS * _BLOCK:
        return list(range(count))
    free = count - _BLOCK
    starts = [free * number // (_BLOCKS - 1) for number in range(_BLOCKS)]
    return [start + offset for start in starts for offset in range(_BLOCK)]
