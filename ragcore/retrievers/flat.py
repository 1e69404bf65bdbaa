"""The index `exact`: every search computes all inner products.

Owns the vectors and their rows; knows nothing of passages or encoders. For up to some hundred
thousand vectors it is as quick as an approximate index, and it is the reference that others are
compared with.

A fast matrix product rounds differently from one batch of questions to the next. So it only picks
candidates, all those within its rounding error of the k-th; their scores are then summed in double
precision. Hence a score depends on the question and the passage alone, and equal vectors tie.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final, Literal

import numpy as np

from ragcore.contracts import SavedIndex
from ragcore.disk.arrays import load_rows, samples, save_array
from ragcore.disk.loading import reading
from ragcore.errors import ComponentError, StoreCorruptError
from ragcore.retrievers.configs import ExactConfig
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Scores, Vectors


__all__ = ["Exact"]

BLOCK: Final = 16_384
"""Vectors in one matrix product; bounds the memory of a search to B times as many scores."""


class Exact:
    """An exact `Index`; several threads may search at the same time."""

    Config: ClassVar[type[ExactConfig]] = ExactConfig

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"add", "exact", "filter", "join", "mmap", "remove", "scratch", "vectors"}
    )

    def __init__(self, config: ExactConfig, *, dim: int) -> None:
        self._dim = dim
        self._blocks: list[_Block] = []
        self._highest_row = -1
        self._scratch: Path | None = None

    def __len__(self) -> int:
        return sum(len(block.rows) for block in self._blocks)

    def use_scratch(self, folder: Path) -> int:
        """Store vectors in this folder during a build, not in memory: all but the last 8,192.

        Returns:
            0: vectors of an earlier build are deleted, since all vectors are added again.
        """
        for orphan in folder.glob("vectors-*.npy"):
            orphan.unlink()
        self._scratch = folder
        return 0

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n].

        Raises:
            ComponentError: shapes do not fit, a number is not finite, or a row is there already.
        """
        rows = np.array(rows, np.int64)
        vectors = np.array(vectors, np.float32)
        if vectors.shape != (len(rows), self._dim) or rows.ndim != 1:
            raise ComponentError(
                f"index 'exact' was given rows of shape {rows.shape} and vectors of shape "
                f"{vectors.shape}: expected [n] and [n, {self._dim}]"
            )
        if not np.isfinite(vectors).all():
            raise ComponentError("index 'exact' was given a vector with NaN or infinity: repair it")
        if not len(rows):
            return
        if rows.min() < 0 or len(np.unique(rows)) < len(rows):
            raise ComponentError("index 'exact' was given a negative row, or one row twice")
        # Rows mostly ascend; only where they do not must all be compared.
        if rows.min() <= self._highest_row:
            taken = rows[np.isin(rows, self._all_rows())]
            if len(taken):
                raise ComponentError(f"index 'exact' already has row {taken[0]}: remove it first")
        blocks, last = list(self._blocks), _Block(rows, vectors)
        # Small blocks are joined to larger ones, so that a number is copied a few times at most.
        while blocks and len(blocks[-1].rows) <= len(last.rows) <= BLOCK // 2:
            last = blocks.pop().joined(last)
        if self._scratch is not None and len(last.rows) > BLOCK // 2:
            last = last.on_disk(self._scratch / f"vectors-{len(blocks)}.npy")
        # One assignment, so that a search in another thread sees the old list or the new one.
        self._blocks = [*blocks, last]
        self._highest_row = max(self._highest_row, int(rows.max()))

    def remove(self, rows: Rows) -> None:
        """Remove rows and their vectors.

        Raises:
            ComponentError: a row is not there.
        """
        absent = np.setdiff1d(rows, self._all_rows())
        if len(absent):
            raise ComponentError(f"index 'exact' has no row {absent[0]}: it cannot be removed")
        blocks = [block.only(~np.isin(block.rows, rows)) for block in self._blocks]
        self._blocks = [block for block in blocks if len(block.rows)]

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n], float32 [n, d], as they were added.

        Raises:
            ComponentError: a row is not there.
        """
        rows = np.asarray(rows, np.int64)
        absent = np.setdiff1d(rows, self._all_rows())
        if len(absent):
            raise ComponentError(f"index 'exact' has no row {absent[0]}, so no vector of it")
        vectors = np.empty((len(rows), self._dim), np.float32)
        for block in self._blocks:
            order = np.argsort(block.rows, kind="stable")
            ranks = np.searchsorted(block.rows, rows, sorter=order)
            positions = order[np.minimum(ranks, len(order) - 1)]  # [n]
            inside = block.rows[positions] == rows  # [n]
            vectors[inside] = block.vectors[positions[inside]]
        return vectors

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k rows of highest inner product for each of queries [B, d], ties by row.

        Raises:
            ComponentError: k is less than 1, or the queries have another length, or NaN or
                infinity in them.
        """
        queries = np.asarray(queries, np.float32)
        if k < 1 or queries.ndim != 2 or queries.shape[1] != self._dim:
            raise ComponentError(
                f"index 'exact' was asked for {k} hits of queries of shape {queries.shape}: "
                f"expected 1 or more, of [B, {self._dim}]"
            )
        if not np.isfinite(queries).all():
            raise ComponentError("index 'exact' was asked for a vector with NaN or infinity")
        hit_rows = np.full((len(queries), k), MISSING_ROW, np.int64)  # [B, k]
        hit_scores = np.full((len(queries), k), -np.inf, np.float32)  # [B, k]
        lengths = np.linalg.norm(queries, axis=1)  # [B]
        for rows, vectors, longest in self._visible(allowed):
            products = queries @ vectors.T  # [B, n]
            # |fl(x·y) - x·y| <= d·u/(1 - d·u)·|x||y| in any order of summation (Higham, Accuracy
            # and Stability of Numerical Algorithms, section 3.1), u being half of eps.
            error = self._dim * float(np.finfo(np.float32).eps) * longest * lengths  # [B]
            for i, approximate in enumerate(products):
                bound = -np.inf
                if len(approximate) > k:
                    kth = len(approximate) - k
                    bound = np.partition(approximate, kth)[kth] - 2 * error[i]
                near = np.flatnonzero(approximate >= bound)  # [c]
                candidates = np.concatenate([hit_rows[i], rows[near]])  # [k + c]
                scores = np.concatenate([hit_scores[i], _inner(vectors[near], queries[i])])
                best = np.lexsort((candidates, -scores))[:k]
                hit_rows[i], hit_scores[i] = candidates[best], scores[best]
        return Hits(hit_rows, hit_scores)

    def save(self, folder: Path) -> None:
        """Write rows.npy and vectors.npy into an existing empty folder."""
        with _writing(folder, self._all_rows(), self._dim) as file:
            # Block by block, since joining them would hold the vectors in memory twice.
            for block in self._blocks:
                block.write(file)

    @property
    def joined_is_quicker(self) -> bool:
        """False: to compare vectors takes as long in several files; see `JoiningIndex`."""
        return False

    def join(self, parts: Sequence[SavedIndex], folder: Path) -> bool:
        """Write the vectors of saved indexes as one, block by block; see `JoiningIndex`.

        Raises:
            StoreCorruptError: a file of a part is missing or broken.
        """
        blocks = [
            (part, block)
            for part in parts
            for block in type(self).load(part.folder, ExactConfig())._blocks
        ]
        stays = [~np.isin(block.rows, part.hidden) for part, block in blocks]
        rows = [
            block.rows[mask] + part.shift for (part, block), mask in zip(blocks, stays, strict=True)
        ]
        dim = blocks[0][1].vectors.shape[1]
        with _writing(folder, np.concatenate(rows), dim) as file:
            for (_, block), mask in zip(blocks, stays, strict=True):
                for start in range(0, len(mask), BLOCK):
                    block.only(mask, slice(start, start + BLOCK)).write(file)
        return True

    @classmethod
    def load(cls, folder: Path, config: ExactConfig, *, mmap: bool = True) -> Exact:
        """Load what `save` wrote; with `mmap` the vectors stay on disk until they are read.

        Raises:
            StoreCorruptError: a file is missing, broken, or does not fit the other.
        """
        rows = load_rows(folder / "rows.npy", mmap=False)
        mode: Literal["r"] | None = "r" if mmap and len(rows) else None
        with reading(folder / "vectors.npy") as path:
            vectors = np.load(path, mmap_mode=mode, allow_pickle=False)
            if not all(np.isfinite(block).all() for block in samples(vectors)):
                raise ValueError("a vector in it is not finite")
        if (
            vectors.ndim != 2
            or len(rows) != len(vectors)
            or rows.min(initial=0) < 0
            or vectors.dtype != np.float32
        ):
            raise StoreCorruptError(
                f"{folder} has rows {rows.dtype}{list(rows.shape)} and vectors "
                f"{vectors.dtype}{list(vectors.shape)}: expected int64[n] and float32[n, d]; "
                "rebuild this version of the memory"
            )
        loaded = cls(config, dim=vectors.shape[1])
        loaded._blocks = [_Block(rows, vectors)] if len(rows) else []
        loaded._highest_row = int(rows.max(initial=-1))
        return loaded

    def _all_rows(self) -> Rows:
        return np.concatenate([np.zeros(0, np.int64), *(block.rows for block in self._blocks)])

    def _visible(self, allowed: Rows | None) -> Iterator[tuple[Rows, Vectors, float]]:
        """Yield n ≥ 1 allowed rows at a time, their vectors [n, d], and a bound on their length."""
        for block in self._blocks:
            for start in range(0, len(block.rows), BLOCK):
                section = slice(start, start + BLOCK)
                rows, vectors = block.rows[section], block.vectors[section]
                if allowed is not None:
                    mask = np.isin(rows, allowed)
                    rows, vectors = rows[mask], vectors[mask]
                if len(rows):
                    yield rows, vectors, block.longest


class _Block:
    """Rows [n] with their vectors [n, d], which may be in a file of their own."""

    def __init__(self, rows: Rows, vectors: Vectors, path: Path | None = None) -> None:
        self.rows = rows
        self.vectors = vectors
        self._path = path

    @functools.cached_property
    def longest(self) -> float:
        """The Euclidean length of the longest vector."""
        return math.sqrt(np.einsum("nd,nd->n", self.vectors, self.vectors).max())

    def joined(self, other: _Block) -> _Block:
        """Join two blocks in memory."""
        return _Block(
            np.concatenate([self.rows, other.rows]), np.concatenate([self.vectors, other.vectors])
        )

    def on_disk(self, path: Path) -> _Block:
        """Write the vectors to a file and return the block with the file mapped into memory."""
        save_array(path, self.vectors)
        return _Block(self.rows, np.load(path, mmap_mode="r", allow_pickle=False), path)

    def write(self, file: BinaryIO) -> None:
        """Append the vectors to a file."""
        # Read from the file, not through the map, whose pages would stay in memory.
        vectors = self.vectors if self._path is None else np.load(self._path, allow_pickle=False)
        file.write(np.ascontiguousarray(vectors, "<f4").data)

    def only(self, mask: npt.NDArray[np.bool_], section: slice = slice(None)) -> _Block:
        """Return the block of the rows that the mask [n] selects, in a section of it."""
        chosen = mask[section]
        return _Block(self.rows[section][chosen], self.vectors[section][chosen])


@contextmanager
def _writing(folder: Path, rows: Rows, dim: int) -> Iterator[BinaryIO]:
    """Write the rows of an index, and the head of the file of its vectors, which is open then."""
    save_array(folder / "rows.npy", rows)
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), dim)}
    with (folder / "vectors.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def _inner(vectors: Vectors, query: Vectors) -> Scores:
    """Sum inner products [n] in double precision, in an order that does not depend on n."""
    products = vectors.astype(np.float64) * query.astype(np.float64)  # [n, d]
    total: Scores = products.sum(axis=1).astype(np.float32)  # [n]
    return total
