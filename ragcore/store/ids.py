"""Sorted digests of the passages' ids of a shard, to find ids that several shards have.

    ids.npy                     uint64 [2, n]: the two halves of each digest, ascending

Knows this file. It is compared in sections, so that memory does not grow with the passages.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from ragcore.disk.arrays import save_array
from ragcore.disk.loading import reading
from ragcore.types import Passage

if TYPE_CHECKING:
    import numpy.typing as npt

    Digests = npt.NDArray[np.uint64]

__all__ = ["IDS", "IdDigests", "Repeated", "digest_of", "find_repeated", "read_digests"]

IDS: Final = "ids.npy"
_HEADER: Final = 128
"""Bytes of a .npy file without numbers."""
_SECTION: Final = 1 << 20
"""Digests that are compared at a time, about."""


class Repeated(NamedTuple):
    """An id that occurs twice.

    Attributes:
        digest: of the id.
        sources: the numbers of the two lists that have it.
    """

    digest: bytes
    sources: tuple[int, int]


class IdDigests:
    """Collects the ids of passages that are streamed; 16 bytes for each."""

    def __init__(self) -> None:
        self._halves = array("Q")

    def noting(self, passages: Iterator[Passage]) -> Iterator[Passage]:
        """Stream passages, and note the id of each."""
        for passage in passages:
            digest = digest_of(passage.id)
            self._halves.append(int.from_bytes(digest[:8], "big"))
            self._halves.append(int.from_bytes(digest[8:], "big"))
            yield passage

    def save(self, folder: Path) -> None:
        """Write their digests, ascending."""
        halves = np.frombuffer(self._halves, np.uint64).reshape(-1, 2)  # [n, 2]
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        save_array(folder / IDS, np.ascontiguousarray(halves[order].T))


def digest_of(id_: str) -> bytes:
    """Return the digest of an id, 16 bytes."""
    return blake2b(id_.encode("utf-8"), digest_size=16).digest()


def read_digests(folder: Path) -> Digests:
    """Map the digests [2, n] of a folder.

    Raises:
        StoreCorruptError: the file is missing, or holds something else.
    """
    with reading(folder / IDS) as path:
        # Without numbers, a file cannot be mapped.
        mode: Literal["r"] | None = "r" if path.stat().st_size > _HEADER else None
        digests = np.load(path, mmap_mode=mode, allow_pickle=False)
        if digests.dtype != np.uint64 or digests.ndim != 2 or len(digests) != 2:
            raise ValueError("it holds no digests of ids")
        return np.asarray(digests)


def find_repeated(lists: Sequence[Digests]) -> Repeated | None:
    """Return an id that two lists have, or one list twice; None where there is none.

    Args:
        lists: of digests, uint64 [2, n] each, ascending.
    """
    total = sum(each.shape[1] for each in lists)
    if not total:
        return None
    sections = total // _SECTION + 1
    limits = [(number << 64) // sections for number in range(1, sections)]
    bounds = np.array([0, *limits], np.uint64)
    starts = [np.searchsorted(each[0], bounds) for each in lists]
    for number in range(sections):
        parts, owners = [], []
        for source, (each, start) in enumerate(zip(lists, starts, strict=True)):
            end = start[number + 1] if number + 1 < sections else each.shape[1]
            part = each[:, start[number] : end]
            parts.append(part)
            owners.append(np.full(part.shape[1], source))
        repeated = _repeated_in(np.concatenate(parts, axis=1), np.concatenate(owners))
        if repeated is not None:
            return repeated
    return None


def _repeated_in(digests: Digests, owners: npt.NDArray[np.int64]) -> Repeated | None:
    """Return a digest that occurs twice among [2, m], with the owners [m] of both."""
    order = np.lexsort((digests[1], digests[0]))
    ordered = digests[:, order]
    equal = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).all(axis=0))
    if not len(equal):
        return None
    first = int(equal[0])
    digest = b"".join(int(half).to_bytes(8, "big") for half in ordered[:, first])
    lower, higher = sorted(owners[order[first : first + 2]].tolist())
    return Repeated(digest, (lower, higher))
