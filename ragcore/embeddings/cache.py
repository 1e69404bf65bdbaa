"""The embedding cache as a build uses it: vectors by encoder and text, so none is computed twice.

Decides which passages an encoder still has to read, and when vectors are written. A fault of the
cache never stops a build: what cannot be read is encoded, and a warning says why.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

import numpy as np

from ragcore.embeddings.database import VectorFile, delete_file, is_damage
from ragcore.embeddings.keys import key_of
from ragcore.embeddings.upkeep import evict, size_of
from ragcore.errors import ComponentError, StoreError
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Vectors

__all__ = ["EmbeddingCache", "Encodings"]

_WRITE_AT: Final = 1 << 24
"""Bytes of vectors that are written together; a killed build has them in its journal."""
_ROOM: Final = 0.9
"""The share of the largest size that eviction leaves, so that it is not needed at each write."""

_LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Encodings:
    """How the vectors of a build or an update came about.

    Attributes:
        encoded: how many the encoder computed.
        from_cache: how many the embedding cache had, or another passage of the same text.
        resumed: how many an interrupted build had computed.
    """

    encoded: int
    from_cache: int
    resumed: int = 0


class _Encoder(NamedTuple):
    fingerprint: str
    dim: int


class EmbeddingCache:
    """The cache during a build or an update; a context manager. See `VectorCache`.

    Several threads and processes may use the same folder at the same time.
    """

    def __init__(self, folder: Path | None, max_bytes: float, *, read: bool = True) -> None:
        """Begin with nothing read.

        Args:
            folder: of the cache, made when the first vector is looked up; where None there is no
                cache, and encodings are counted alone.
            max_bytes: how large the folder's files may become. Vectors that were not used for the
                longest time make room; where there are none but this build's, no more are added.
            read: use the vectors that are there; False encodes all passages, and replaces them.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._read = read
        self._started: Final = int(time.time())
        self._lock: Final = Lock()
        self._files: dict[_Encoder, VectorFile | None] = {}
        self._new: dict[_Encoder, dict[bytes, bytes]] = {}
        self._is_full = False
        self._asked = 0
        self._from_cache = 0
        self._resumed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def encodings(self) -> Encodings | None:
        """How many vectors were computed and read; None where no retriever asked for any."""
        if not self._asked:
            return None
        encoded = self._asked - self._from_cache - self._resumed
        return Encodings(encoded, self._from_cache, self._resumed)

    def vectors(
        self,
        encoder: str,
        dim: int,
        passages: Sequence[Passage],
        encode: Callable[[Sequence[Passage]], Vectors],
    ) -> Vectors:
        """Return the vectors of passages, [n, d]; see `VectorCache`.

        Raises:
            ComponentError: `encode` returns vectors of another shape than [u, d].
        """
        with self._lock:
            self._asked += len(passages)
            if self._folder is None or not passages:
                return encode(passages)
            return self._vectors(self._folder, _Encoder(encoder, dim), passages, encode)

    def resumed(self, count: int) -> None:
        """Count passages that `encode` took from an interrupted build; see `VectorCache`."""
        self._resumed += count

    def close(self) -> None:
        """Write what is not written yet, and close the files."""
        with self._lock:
            for encoder in list(self._files):
                self._write(encoder)
                file = self._files.pop(encoder)
                if file is None:
                    continue
                if file.damaged:
                    _LOG.warning(
                        "the embedding cache %s: the disk has changed %d of its vectors; these "
                        "passages were encoded again",
                        file.path,
                        file.damaged,
                    )
                file.close()

    def _vectors(
        self,
        folder: Path,
        encoder: _Encoder,
        passages: Sequence[Passage],
        encode: Callable[[Sequence[Passage]], Vectors],
    ) -> Vectors:
        keys = [key_of(passage) for passage in passages]
        known = self._known(folder, encoder, keys)
        positions: dict[bytes, int] = {}
        for position, key in enumerate(keys):
            if key not in known:
                positions.setdefault(key, position)
        unknown = list(positions)
        if unknown:
            encoded = encode([passages[position] for position in positions.values()])  # [u, d]
            if encoded.shape != (len(unknown), encoder.dim):
                raise ComponentError(
                    f"a retriever encoded {len(unknown)} passages as vectors of shape "
                    f"{encoded.shape}: expected {(len(unknown), encoder.dim)}"
                )
            rows = np.ascontiguousarray(encoded, "<f4")
            vectors = {key: row.tobytes() for key, row in zip(unknown, rows, strict=True)}
            known |= vectors
            self._add(encoder, vectors)
        self._from_cache += len(keys) - len(unknown)
        numbers = np.frombuffer(b"".join(known[key] for key in keys), "<f4")  # [n * d]
        return numbers.reshape(len(keys), encoder.dim).astype(np.float32)

    def _known(self, folder: Path, encoder: _Encoder, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the vectors that are there, by key."""
        new = self._new.get(encoder, {})
        known = {key: new[key] for key in keys if key in new}
        if encoder not in self._files:
            self._files[encoder] = self._opened(folder, encoder)
        if self._read:
            missing = [key for key in dict.fromkeys(keys) if key not in known]
            known |= self._attempt(encoder, lambda file: file.get(missing)) or {}
        return known

    def _add(self, encoder: _Encoder, vectors: dict[bytes, bytes]) -> None:
        file = self._files[encoder]
        if file is None or not file.writable or self._is_full:
            return
        new = self._new.setdefault(encoder, {})
        new |= vectors
        if 4 * encoder.dim * len(new) >= _WRITE_AT:
            self._write(encoder)

    def _write(self, encoder: _Encoder) -> None:
        """Write new vectors, and what was used; make room before if necessary."""
        new = self._new.pop(encoder, {})
        if new and not self._has_room(4 * encoder.dim * len(new)):
            new = {}

        def write(file: VectorFile) -> None:
            if not file.writable:
                return
            if new:
                file.put(new, self._started)
            else:
                file.touch(self._started)

        self._attempt(encoder, write)

    def _has_room(self, count: int) -> bool:
        """Return whether that many bytes more fit; vectors that this build does not use may go."""
        folder = self._folder
        if folder is None or self._is_full:
            return False
        try:
            if size_of(folder) + count > self._max_bytes:
                evict(folder, self._max_bytes * _ROOM - count, unused_since=self._started)
            self._is_full = size_of(folder) + count > self._max_bytes
        except (OSError, StoreError) as error:
            # Once is enough: nothing more is added.
            self._is_full = True
            self._warn(folder, error)
            return False
        if self._is_full:
            _LOG.warning(
                "the embedding cache %s is full: what this build encodes from here on is encoded "
                "again by the next one; raise memory.cache.max_gib, which is %.2f",
                folder,
                self._max_bytes / (1 << 30),
            )
        return not self._is_full

    def _opened(self, folder: Path, encoder: _Encoder) -> VectorFile | None:
        """Open the file of an encoder, a new one in place of a damaged one; None if impossible."""
        try:
            if not folder.is_dir():
                # Vectors tell much of their texts: for the user's eyes, as the store may be.
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                file = VectorFile.of(folder, *encoder)
            except sqlite3.DatabaseError as error:
                if not is_damage(error) or not self._discarded(folder, encoder):
                    raise
                file = VectorFile.of(folder, *encoder)
        except (sqlite3.Error, OSError, StoreError) as error:
            self._warn(folder, error)
            return None
        if not file.writable:
            _LOG.warning(
                "the embedding cache %s cannot be written: what this build encodes is encoded "
                "again by the next one",
                folder,
            )
        return file

    def _attempt(self, encoder: _Encoder, act: Callable[[VectorFile], T]) -> T | None:
        """Do something with the file of an encoder; go on without it where that fails."""
        file = self._files.get(encoder)
        if file is None:
            return None
        try:
            return act(file)
        except sqlite3.Error as error:
            file.close()
            self._files[encoder] = None
            folder = file.path.parent
            if is_damage(error) and self._discarded(folder, encoder):
                self._files[encoder] = self._opened(folder, encoder)
            else:
                self._warn(folder, error)
            return None

    def _discarded(self, folder: Path, encoder: _Encoder) -> bool:
        """Delete the damaged file of an encoder; return whether that was possible."""
        path = VectorFile.path_of(folder, *encoder)
        if path is None:
            return True
        _LOG.warning(
            "the embedding cache %s is damaged: it is replaced, and passages are encoded again",
            path,
        )
        try:
            delete_file(path)
        except (OSError, StoreError) as error:
            self._warn(folder, error)
            return False
        return True

    @staticmethod
    def _warn(folder: Path, error: Exception) -> None:
        _LOG.warning(
            "the embedding cache %s cannot be used: %s: the build goes on without it; name another "
            "folder in memory.cache.folder, or switch it off with cache: null",
            folder,
            error,
        )
