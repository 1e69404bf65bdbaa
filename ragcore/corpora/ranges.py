"""Divide the files of a corpus into parts, so that each of several workers reads only its own.

A plain file of lines is divided anywhere: a part has the lines that begin in its bytes. A packed
file belongs to the part that its first byte is in. Knows sizes and names; knows nothing of what a
line holds.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ragcore.corpora.compression import is_packed
from ragcore.corpora.fields import Keys
from ragcore.corpora.lines import ByteRange
from ragcore.corpora.rows import CorpusConfig, RowCorpus
from ragcore.corpora.shards import Shard
from ragcore.disk.atomic import sha256_of_samples
from ragcore.errors import CorpusError

if TYPE_CHECKING:
    from ragcore.contracts import Capabilities

__all__ = ["DividedRows", "Part", "bounds_of", "ranges_of", "sketch"]

Part = tuple[int, int]
"""The number of a part, from 0, and how many there are."""


class DividedRows(RowCorpus):
    """A `RowCorpus` with the capability `parts`, but where ids depend on all rows.

    With `ids: content` a text that occurs again has a number behind its digest.
    """

    def __init__(self, config: CorpusConfig, keys: Keys) -> None:
        super().__init__(config, keys)
        self._part: Part | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Those of every corpus of rows, and `parts`."""
        if self._settings.ids == "content":
            return super().capabilities
        return super().capabilities | {"parts"}

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its files."""
        return self._part is None

    @abstractmethod
    def files(self) -> list[Path]:
        """Return the files that are read, in order."""

    @property
    def fingerprint(self) -> str:
        """Name the files' contents, as far as sizes and samples tell; see `DividedCorpus`."""
        return sketch(self.files())

    def part(self, number: int, of: int) -> Self:
        """Return a part; see `DividedCorpus`."""
        part = copy.copy(self)
        part._part = (number, of)
        return part


def bounds_of(part: Part, total: int) -> tuple[int, int]:
    """Return where a part of so many bytes, or rows, begins and ends."""
    number, of = part
    return total * number // of, total * (number + 1) // of


def ranges_of(
    shards: Sequence[Shard], part: Part | None
) -> Iterator[tuple[Shard, ByteRange | None]]:
    """Yield the files that a part has lines of, each with its range; None where it has all.

    Args:
        shards: all files, in order.
        part: None for the whole.

    Raises:
        CorpusError: a file cannot be read again, such as a pipe.
    """
    if part is None:
        yield from ((shard, None) for shard in shards)
        return
    sizes = [_size(shard.path) for shard in shards]
    start, stop = bounds_of(part, sum(sizes))
    begin = 0
    for shard, size in zip(shards, sizes, strict=True):
        first, last = max(start - begin, 0), min(stop - begin, size)
        if first < last:
            if not is_packed(shard.path):
                yield shard, ByteRange(shard.path, first, last)
            elif not first:
                yield shard, None
        begin += size


def sketch(files: Sequence[Path]) -> str:
    """Return a digest of files' sizes and samples, in order; the same wherever they lie.

    Raises:
        CorpusError: a file cannot be read again, such as a pipe.
    """
    digest = blake2b(digest_size=16)
    for file in files:
        digest.update(f"{file.name}\0{_size(file)}\0{sha256_of_samples(file)}\n".encode())
    return f"files:{digest.hexdigest()}"


def _size(path: Path) -> int:
    if not path.is_file():
        raise CorpusError(
            f"{path}: no file of a disk, which each shard can read again: write it to a file"
        )
    return path.stat().st_size
