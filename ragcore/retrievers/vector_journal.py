"""A journal of vectors: an encoder's output on disk, so that a killed build resumes from there.

One file that only grows: for each batch of passages the digest of its texts, the number of vectors,
the digest of these two and the vectors, and the vectors. When the journal is opened, the digest
shows a record that a kill cut short, and it is removed. Knows passages and vectors; knows nothing
of encoders or builds.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Vectors


__all__ = ["Journal"]

_FORMAT: Final = 1
_DIGEST: Final = 16
_HEADER: Final = struct.Struct(f"<{_DIGEST}sI{_DIGEST}s")
"""The key of a batch, the number of its vectors, and the digest of these two and the vectors."""
_SYNC_EVERY: Final = 1 << 24
"""Bytes that may be lost if the machine fails; a killed process loses none."""


class Journal:
    """Vectors on disk by their passages; its owner lets only one process write.

    Attributes:
        passages: number of passages in it when it was opened.
    """

    def __init__(self, folder: Path, fingerprint: str, dim: int) -> None:
        """Open the journal in a folder; its file is created by the first `put`.

        Args:
            folder: an existing folder.
            fingerprint: the encoder's; journals of other encoders are ignored.
            dim: d, the length of the vectors.
        """
        name = blake2b(f"{_FORMAT} {dim} {fingerprint}".encode(), digest_size=8).hexdigest()
        self._path = folder / f"vectors-{name}.journal"
        self._dim = dim
        # For the key of each batch: byte offset of its vectors, and their number.
        self._entries: dict[bytes, tuple[int, int]] = {}
        self._unsynced = 0
        self.passages: Final = self._read_records() if self._path.exists() else 0

    def get(self, passages: Sequence[Passage]) -> Vectors | None:
        """Return the vectors [n, d] of a batch of exactly these passages, or None."""
        entry = self._entries.get(_key(passages))
        if entry is None:
            return None
        start, count = entry
        numbers = np.fromfile(self._path, "<f4", count * self._dim, offset=start)  # [n * d]
        return numbers.reshape(count, self._dim).astype(np.float32, copy=False)

    def put(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Append a batch with its vectors [n, d]; it survives a kill from then on."""
        key, data = _key(passages), np.ascontiguousarray(vectors, "<f4").tobytes()
        count = len(vectors)
        record = _HEADER.pack(key, count, _digest(key, count, data)) + data
        with self._path.open("ab") as file:
            start = file.tell()
            file.write(record)
            self._unsynced += len(record)
            if self._unsynced >= _SYNC_EVERY:
                file.flush()
                os.fsync(file.fileno())
                self._unsynced = 0
        self._entries[key] = (start + _HEADER.size, count)

    def _read_records(self) -> int:
        """Index the complete records, cut off the rest, and return their number of passages."""
        end, passages = 0, 0
        with self._path.open("r+b") as file:
            file_size = os.fstat(file.fileno()).st_size
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                key, count, digest = _HEADER.unpack(header)
                size = 4 * count * self._dim
                # A torn header may have any number as its size.
                data = file.read(size) if size <= file_size - end else b""
                if len(data) < size or _digest(key, count, data) != digest:
                    break
                self._entries[key] = (end + _HEADER.size, count)
                end += _HEADER.size + size
                passages += count
            file.truncate(end)
        return passages


def _key(passages: Sequence[Passage]) -> bytes:
    """Digest all that an encoder may read of a batch; lengths keep adjacent texts apart."""
    digest = blake2b(digest_size=_DIGEST)
    for passage in passages:
        for text in (passage.id, passage.title, passage.text, repr(dict(passage.metadata))):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<Q", len(data)))
            digest.update(data)
    return digest.digest()


def _digest(key: bytes, count: int, data: bytes) -> bytes:
    digest = blake2b(key, digest_size=_DIGEST)
    digest.update(struct.pack("<I", count))
    digest.update(data)
    return digest.digest()
