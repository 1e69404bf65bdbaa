"""A journal of vectors: what an encoder worked out, kept so that a killed build goes on from there.

One file that only grows: for each batch of passages the digest of what was encoded, the digest of
the rest of the record, and the vectors. A record that a kill cut short is seen by its digest when
the journal is opened, and cut off. Knows passages and vectors, and nothing of encoders or builds.
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
"""Bytes that a failing machine, other than a killed process, may lose."""


class Journal:
    """Vectors by the passages that they are of; one process writes, which its owner sees to.

    Attributes:
        passages: how many were in it when it was opened.
    """

    def __init__(self, folder: Path, fingerprint: str, dim: int) -> None:
        """Open the journal in a folder; files are made when there is something to keep.

        Args:
            folder: there already.
            fingerprint: of the encoder; what another worked out is not looked at.
            dim: d, the length of the vectors.
        """
        name = blake2b(f"{_FORMAT} {dim} {fingerprint}".encode(), digest_size=8).hexdigest()
        self._path = folder / f"vectors-{name}.journal"
        self._dim = dim
        self._places: dict[bytes, tuple[int, int]] = {}
        self._unsynced = 0
        self.passages: Final = self._read_records() if self._path.exists() else 0

    def get(self, passages: Sequence[Passage]) -> Vectors | None:
        """The vectors [n, d] of a batch of these very passages, or None."""
        place = self._places.get(_key(passages))
        if place is None:
            return None
        start, count = place
        read = np.fromfile(self._path, "<f4", count * self._dim, offset=start)
        return read.reshape(count, self._dim).astype(np.float32, copy=False)

    def put(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Append a batch with its vectors [n, d]; it outlives a kill from here on."""
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
        self._places[key] = (start + _HEADER.size, count)

    def _read_records(self) -> int:
        """Find the whole records and cut off what follows them; how many passages they have."""
        end, passages = 0, 0
        with self._path.open("r+b") as file:
            all_bytes = os.fstat(file.fileno()).st_size
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                key, count, digest = _HEADER.unpack(header)
                size = 4 * count * self._dim
                # What a torn header says of its size may be anything.
                data = file.read(size) if size <= all_bytes - end else b""
                if len(data) < size or _digest(key, count, data) != digest:
                    break
                self._places[key] = (end + _HEADER.size, count)
                end += _HEADER.size + size
                passages += count
            file.truncate(end)
        return passages


def _key(passages: Sequence[Passage]) -> bytes:
    """What an encoder may read of a batch of passages, as a digest; lengths keep texts apart."""
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
