"""One encoder's vectors by the digests of their texts, in one file of SQLite.

SQLite keeps the file whole where a process is killed, and lets several processes share it. Each
vector has a digest of its own: one that the disk has changed is never returned. Vectors that were
added together are in a block, and a block knows when it was last used: eviction goes by blocks.

Knows keys and bytes; knows nothing of passages, of other encoders or of how much room there is.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, Self

from ragcore.disk.atomic import locked
from ragcore.errors import StoreError

__all__ = ["Block", "VectorFile", "delete_file", "is_damage", "vector_files"]

_FORMAT: Final = 1
_SUFFIX: Final = ".sqlite"
_JOURNAL: Final = "-journal"
"""What SQLite appends to the name of a file for that of its journal."""
_LOCK: Final = "lock"
_BLOCK_BITS: Final = 10
"""A block has up to 2 ** 10 vectors."""
_CHECK: Final = 8
_KEYS_PER_QUERY: Final = 500
"""Below the limit of 999 parameters that old SQLite has."""
_PAGE: Final = 16384
"""Bytes: ten vectors of 384 numbers fill a page to 96 %, where 4096 would leave a quarter empty."""
_WAIT: Final = 60.0
"""Seconds for which another process may hold the file."""
_SCHEMA: Final = """
CREATE TABLE about (fingerprint TEXT NOT NULL, dim INTEGER NOT NULL);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, digest BLOB NOT NULL, vector BLOB NOT NULL
);
CREATE TABLE blocks (block INTEGER PRIMARY KEY, used INTEGER NOT NULL);
"""
_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}
)
"""SQLITE_ERROR is a fault in the statement, whose tables or columns are not there then."""


class DamagedFileError(sqlite3.DatabaseError):
    """A file of SQLite has other values than were written."""


class Block(NamedTuple):
    """Some vectors that were added together.

    Attributes:
        number: of the block in its file.
        used: when one of its vectors was last added or returned, seconds since 1970.
    """

    number: int
    used: int


class VectorFile:
    """An open file with the vectors of one encoder.

    All methods raise `sqlite3.Error` where the file cannot be read or written; `is_damage` tells
    whether that is damage.

    Attributes:
        path: of the file.
        fingerprint: the encoder's.
        dim: d, the length of the vectors.
        damaged: how many vectors were not returned since the disk has changed them.
        writable: whether vectors can be added.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Open a file that exists."""
        self.path: Final = path
        self.writable: Final = writable
        self.damaged = 0
        # Blocks that a vector was returned of since `touch` was last called.
        self._used: set[int] = set()
        mode = "rw" if writable else "ro"
        self._connection: Final = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_WAIT,
            isolation_level=None,
            check_same_thread=False,
        )
        # Damage may turn any value into a text, of bytes that are no UTF-8.
        self._connection.text_factory = bytes
        try:
            if writable:
                self._set_up()
            self.fingerprint, self.dim = self._about()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def of(cls, folder: Path, fingerprint: str, dim: int) -> VectorFile:
        """Open the file of an encoder, made if there is none; not writable where the disk is not.

        Args:
            folder: of the cache, which exists.
            fingerprint: the encoder's.
            dim: d, the length of its vectors.

        Raises:
            OSError: there is none, and none can be made.
            StoreError: the file system cannot lock files, or the file is another encoder's.
        """
        name = _name(fingerprint, dim)
        path = cls.path_of(folder, fingerprint, dim)
        if path is None:
            with locked(folder / _LOCK):
                # Another process may have made it meanwhile.
                path = next(_named(folder, name), None) or _new(folder, name, fingerprint, dim)
        # SQLite writes a journal next to the file.
        writable = all(os.access(each, os.W_OK, effective_ids=True) for each in (path, folder))
        file = cls(path, writable=writable)
        if (file.fingerprint, file.dim) != (fingerprint, dim):
            file.close()
            raise StoreError(f"{path} has the vectors of another encoder: delete it")
        return file

    @staticmethod
    def path_of(folder: Path, fingerprint: str, dim: int) -> Path | None:
        """Return the file of an encoder, None where there is none."""
        return next(_named(folder, _name(fingerprint, dim)), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __len__(self) -> int:
        """Return the number of vectors, which reads all keys."""
        return int(self._connection.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the vectors of those keys that have one, each 4 d bytes."""
        vectors: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            query = f"SELECT id, key, digest, vector FROM vectors WHERE key IN ({marks})"
            for number, key, digest, vector in self._connection.execute(query, some):
                intact = isinstance(vector, bytes) and len(vector) == 4 * self.dim
                if not intact or _digest(key, vector) != digest:
                    self.damaged += 1
                    continue
                vectors[key] = vector
                self._used.add(number >> _BLOCK_BITS)
        return vectors

    def put(self, vectors: Mapping[bytes, bytes], used: int) -> None:
        """Add vectors by key, each 4 d bytes, all or none; they replace those of the same keys."""
        with self._transaction():
            last = self._connection.execute("SELECT max(id) FROM vectors").fetchone()[0] or 0
            self._connection.executemany(
                "INSERT INTO vectors (key, digest, vector) VALUES (?, ?, ?) ON CONFLICT (key) "
                "DO UPDATE SET digest = excluded.digest, vector = excluded.vector",
                ((key, _digest(key, vector), vector) for key, vector in vectors.items()),
            )
            end = self._connection.execute("SELECT max(id) FROM vectors").fetchone()[0] or 0
            added = range((last + 1) >> _BLOCK_BITS, (end >> _BLOCK_BITS) + 1)
            self._mark({*added, *self._used} if end > last else self._used, used)
        self._used.clear()

    def touch(self, used: int) -> None:
        """Record when the blocks were used whose vectors were returned."""
        if self._used:
            with self._transaction():
                self._mark(self._used, used)
            self._used.clear()

    def blocks(self) -> list[Block]:
        """List the blocks, those first that were used least recently."""
        rows = self._connection.execute("SELECT block, used FROM blocks ORDER BY used, block")
        blocks = [Block(number, used) for number, used in rows]
        if not all(isinstance(number, int) for block in blocks for number in block):
            raise DamagedFileError(f"{self.path.name} has a block without numbers")
        return blocks

    def drop(self, blocks: Iterable[int]) -> None:
        """Remove blocks, and make the file smaller."""
        numbers = list(blocks)
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM vectors WHERE id BETWEEN ? AND ?",
                ((n << _BLOCK_BITS, ((n + 1) << _BLOCK_BITS) - 1) for n in numbers),
            )
            self._connection.executemany(
                "DELETE FROM blocks WHERE block = ?", ((number,) for number in numbers)
            )
        self._shrink()

    def remove(self, keys: Iterable[bytes]) -> int:
        """Remove the vectors of these keys; zeros replace them in the file. Return how many."""
        before = self._connection.total_changes
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM vectors WHERE key = ?", ((key,) for key in keys)
            )
        removed = self._connection.total_changes - before
        self._shrink()
        return removed

    def _about(self) -> tuple[str, int]:
        """Read whose vectors the file has, and their length."""
        match self._connection.execute("SELECT fingerprint, dim FROM about").fetchone():
            case (bytes(fingerprint), int(dim)):
                return fingerprint.decode("utf-8", "replace"), dim
        raise DamagedFileError(f"{self.path.name} does not say whose vectors it has")

    def _mark(self, blocks: Collection[int], used: int) -> None:
        # A block that another process has dropped meanwhile comes back empty, which is harmless.
        self._connection.executemany(
            "INSERT INTO blocks (block, used) VALUES (?, ?) ON CONFLICT (block) "
            "DO UPDATE SET used = max(used, excluded.used)",
            ((block, used) for block in blocks),
        )

    def _set_up(self) -> None:
        # What is forgotten or evicted is overwritten, so that nobody reads it from the free pages.
        self._connection.execute("PRAGMA secure_delete = ON")
        # WAL would be faster, and breaks on network file systems, where home folders often are.
        self._connection.execute("PRAGMA journal_mode = TRUNCATE")

    def _shrink(self) -> None:
        # A script, since `execute` would end after the first page that is freed.
        self._connection.executescript("PRAGMA incremental_vacuum")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has rolled back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error means that the file is damaged, or is none of SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    # The low byte is the kind, the others say more.
    is_known = code is not None and code & 0xFF in _DAMAGE
    return is_known or isinstance(error, DamagedFileError)


def vector_files(folder: Path) -> list[Path]:
    """List the files of all encoders in the folder of a cache."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def delete_file(path: Path) -> None:
    """Delete the file of an encoder, which other processes may have open.

    They continue with what no other process sees. The file's name is never used again, so that
    the journals of two files are never taken for each other's.
    """
    with locked(path.parent / _LOCK):
        path.unlink(missing_ok=True)
        path.with_name(path.name + _JOURNAL).unlink(missing_ok=True)


def _new(folder: Path, name: str, fingerprint: str, dim: int) -> Path:
    """Make a file without vectors; the caller holds the folder's lock."""
    path = folder / f"{name}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
    # It gets its name when it is complete: a killed process leaves none that cannot be used.
    staging = path.with_suffix(".new")
    with closing(sqlite3.connect(staging, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE}")
        # Lets the file become smaller; can be set only before the first table.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.executescript(f"BEGIN;{_SCHEMA}")
        connection.execute("INSERT INTO about VALUES (?, ?)", (fingerprint, dim))
        connection.execute("COMMIT")
    staging.rename(path)
    return path


def _name(fingerprint: str, dim: int) -> str:
    return blake2b(f"{_FORMAT} {dim} {fingerprint}".encode(), digest_size=8).hexdigest()


def _named(folder: Path, name: str) -> Iterator[Path]:
    return iter(sorted(folder.glob(f"{name}-*{_SUFFIX}")))


def _digest(key: bytes, vector: bytes) -> bytes:
    digest = blake2b(key, digest_size=_CHECK)
    digest.update(vector)
    return digest.digest()
