"""Look into the folder of an embedding cache, make it smaller, and forget texts.

Needs no encoder, and imports neither numpy nor a model library.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

from ragcore.embeddings.database import (
    Block,
    VectorFile,
    delete_file,
    is_damage,
    vector_files,
)
from ragcore.embeddings.keys import key_of
from ragcore.errors import StoreError
from ragcore.types import Passage

__all__ = ["CachedEncoder", "Forgotten", "clear", "encoders", "evict", "forget", "size_of"]


_CLOCKS_DIFFER: Final = 60
"""Seconds between the clocks of machines that share a folder."""


@dataclass(frozen=True, slots=True)
class CachedEncoder:
    """The vectors of one encoder.

    Attributes:
        fingerprint: the encoder's; empty where the file is damaged.
        dim: d, the length of its vectors.
        vectors: how many there are.
        bytes: of the file.
        used: when a vector was last added or read, seconds since 1970; None where none was.
        broken: why the file cannot be read; None where it can.
    """

    fingerprint: str
    dim: int
    vectors: int
    bytes: int
    used: int | None
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed of some texts.

    Attributes:
        vectors: how many, of all encoders together.
        left: files that could not be read or written, with the reason: what they have stays.
    """

    vectors: int
    left: dict[str, str] = field(default_factory=dict)


def encoders(folder: Path) -> list[CachedEncoder]:
    """List the encoders whose vectors a folder has; empty where there is no folder."""
    listed = []
    for path in vector_files(folder):
        size = _size(path)
        try:
            with VectorFile(path, writable=False) as file:
                used = max((block.used for block in file.blocks()), default=None)
                row = CachedEncoder(file.fingerprint, file.dim, len(file), size, used)
        except sqlite3.Error as error:
            row = CachedEncoder("", 0, 0, size, None, f"{path.name}: {error}")
        listed.append(row)
    return listed


def size_of(folder: Path) -> int:
    """Return the bytes of all vectors' files in a folder."""
    return sum(map(_size, vector_files(folder)))


def evict(folder: Path, max_bytes: float, *, unused_since: float | None = None) -> int:
    """Remove vectors until a folder has at most so many bytes; the least recently used ones first.

    Args:
        folder: of the cache.
        max_bytes: how many bytes may stay; 0 removes all that may go.
        unused_since: only vectors that were not used since then, in seconds since 1970.

    Returns:
        How many bytes are free now that were not before.

    Raises:
        StoreError: a file cannot be written, or not be locked.
    """
    before = size_of(folder)
    try:
        _evict(folder, max_bytes, inf if unused_since is None else unused_since)
    except sqlite3.Error as error:
        raise StoreError(
            f"the embedding cache {folder} cannot be made smaller: {error}: free some room, get "
            "permission to write there, or wait until no other program writes"
        ) from error
    return before - size_of(folder)


def _evict(folder: Path, max_bytes: float, limit: float) -> None:
    """Remove blocks that were last used before `limit`, seconds since 1970; see `evict`."""
    # A time to come is that of a clock that was wrong, or of a damaged disk.
    latest = time.time() + _CLOCKS_DIFFER
    timed = [
        (0 if block.used > latest else block.used, path, block.number, size)
        for path, block, size in _blocks(folder)
    ]
    blocks = deque(sorted(timed))
    while blocks and (excess := size_of(folder) - max_bytes) > 0:
        chosen: dict[Path, list[int]] = {}
        # The share is an estimate: where it is too high, another turn follows.
        while blocks and excess > 0 and blocks[0][0] < limit:
            _, path, number, size = blocks.popleft()
            chosen.setdefault(path, []).append(number)
            excess -= size
        if not chosen:
            break
        for path, numbers in chosen.items():
            with VectorFile(path) as file:
                file.drop(numbers)


def clear(folder: Path) -> int:
    """Remove all vectors of all encoders, damaged files too; return how many bytes they had.

    Raises:
        OSError: a file cannot be removed.
        StoreError: the file system cannot lock files.
    """
    before = size_of(folder)
    for path in vector_files(folder):
        delete_file(path)
    return before


def forget(folder: Path, passages: Iterable[Passage]) -> Forgotten:
    """Remove the vectors of texts, of every encoder; zeros replace them on the disk.

    A passage of another id with the same title and text has the same vector, which goes with it.

    Args:
        folder: of the cache; need not exist.
        passages: whose titles and texts are forgotten.
    """
    keys = {key_of(passage) for passage in passages}
    count, left = 0, {}
    for path in vector_files(folder):
        try:
            with VectorFile(path) as file:
                count += file.remove(keys)
        except (sqlite3.Error, OSError, StoreError) as error:
            left[str(path)] = str(error)
    return Forgotten(count, left)


def _blocks(folder: Path) -> Iterator[tuple[Path, Block, float]]:
    """List all blocks, each with its file and its share of the file's bytes; damaged files go."""
    for path in vector_files(folder):
        try:
            with VectorFile(path) as file:
                blocks = file.blocks()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            delete_file(path)
            continue
        for block in blocks:
            yield path, block, _size(path) / len(blocks)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        # Another process has deleted it since it was listed.
        return 0
