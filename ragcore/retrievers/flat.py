"""The index `exact`: all inner products, computed anew for each search.

Owns the vectors and their rows; knows nothing of passages or encoders. For up to some hundred
thousand vectors it is as quick as an approximate index is, and it is what others are held against.

A fast matrix product rounds differently from one batch of questions to the next. So it only picks
candidates, all those within its rounding error of the k-th; their scores are then summed in double
precision. Hence a score depends on the question and the passage alone, and equal vectors tie.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Final, Literal

import numpy as np

from ragcore.disk.arrays import save_array
from ragcore.errors import ComponentError, StoreCorruptError
from ragcore.registry.components import ComponentConfig
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Vectors


__all__ = ["Exact"]

BLOCK: Final = 16_384
"""Vectors multiplied at once; bounds the memory of a search to B times as many scores."""


class Exact:
    """See `ragcore.contracts.Index`; safe to search from several threads."""

    class Config(ComponentConfig):
        """There is nothing to say."""

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"add", "exact", "filter", "mmap", "remove", "scratch", "vectors"}
    )

    def __init__(self, config: Config, *, dim: int) -> None:
        self._dim = dim
        self._parts: list[_Block] = []
        self._last = -1
        self._scratch: Path | None = None

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self._parts)

    def use_scratch(self, folder: Path) -> int:
        """Keep vectors in this folder while it is built, not in memory: all but the last 8,192.

        Returns:
            0: what is found there is removed, since vectors are given again.
        """
        for left in folder.glob("vectors-*.npy"):
            left.unlink()
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
        if rows.min() <= self._last:
            taken = rows[np.isin(rows, self._all_rows())]
            if len(taken):
                raise ComponentError(f"index 'exact' already has row {taken[0]}: remove it first")
        parts, new = list(self._parts), _Block(rows, vectors)
        # Small parts grow into larger ones, each number being copied a few times at most.
        while parts and len(parts[-1].rows) <= len(new.rows) <= BLOCK // 2:
            new = parts.pop().joined(new)
        if self._scratch is not None and len(new.rows) > BLOCK // 2:
            new = new.on_disk(self._scratch / f"vectors-{len(parts)}.npy")
        # Assigned at once, so that a search under way sees the old list or the new.
        self._parts = [*parts, new]
        self._last = max(self._last, int(rows.max()))

    def remove(self, rows: Rows) -> None:
        """Forget rows.

        Raises:
            ComponentError: a row is not there.
        """
        absent = np.setdiff1d(rows, self._all_rows())
        if len(absent):
            raise ComponentError(f"index 'exact' has no row {absent[0]}: it cannot be removed")
        kept = [part.only(~np.isin(part.rows, rows)) for part in self._parts]
        self._parts = [part for part in kept if len(part.rows)]

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows [n], float32 [n, d], as they were added.

        Raises:
            ComponentError: a row is not there.
        """
        rows = np.asarray(rows, np.int64)
        absent = np.setdiff1d(rows, self._all_rows())
        if len(absent):
            raise ComponentError(f"index 'exact' has no row {absent[0]}, so no vector of it")
        given = np.empty((len(rows), self._dim), np.float32)
        for part in self._parts:
            order = np.argsort(part.rows, kind="stable")
            places = np.searchsorted(part.rows, rows, sorter=order)
            found = order[np.minimum(places, len(order) - 1)]
            own = part.rows[found] == rows
            given[own] = part.vectors[found[own]]
        return given

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """The k rows of highest inner product for each of queries [B, d], ties by row.

        Raises:
            ComponentError: k is less than 1, or the queries have another length or no number.
        """
        queries = np.asarray(queries, np.float32)
        if k < 1 or queries.ndim != 2 or queries.shape[1] != self._dim:
            raise ComponentError(
                f"index 'exact' was asked for {k} hits of queries of shape {queries.shape}: "
                f"expected 1 or more, of [B, {self._dim}]"
            )
        if not np.isfinite(queries).all():
            raise ComponentError("index 'exact' was asked for a vector with NaN or infinity")
        rows = np.full((len(queries), k), MISSING_ROW, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        lengths = np.linalg.norm(queries, axis=1)
        for held, vectors, longest in self._blocks(allowed):
            products = queries @ vectors.T
            # |fl(x·y) - x·y| <= d·u/(1 - d·u)·|x||y| in whatever order it is summed (Higham,
            # Accuracy and Stability of Numerical Algorithms, section 3.1), u being half of eps.
            error = self._dim * float(np.finfo(np.float32).eps) * longest * lengths
            for at, row in enumerate(products):
                bound = -np.inf
                if len(row) > k:
                    bound = np.partition(row, len(row) - k)[len(row) - k] - 2 * error[at]
                near = np.flatnonzero(row >= bound)
                exact = _inner(vectors[near], queries[at])
                candidates = np.concatenate([rows[at], held[near]])
                found = np.concatenate([scores[at], exact])
                best = np.lexsort((candidates, -found))[:k]
                rows[at], scores[at] = candidates[best], found[best]
        return Hits(rows, scores)

    def save(self, folder: Path) -> None:
        """Write rows.npy and vectors.npy into an existing empty folder."""
        save_array(folder / "rows.npy", self._all_rows())
        about = {"descr": "<f4", "fortran_order": False, "shape": (len(self), self._dim)}
        with (folder / "vectors.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, about)
            # ComponentSpec by part: joined in memory the vectors would be there twice.
            for part in self._parts:
                part.write(file)

    @classmethod
    def load(cls, folder: Path, config: Config, *, mmap: bool = True) -> Exact:
        """What `save` wrote; the vectors stay on disk until they are read.

        Raises:
            StoreCorruptError: a file is missing, broken, or does not fit the other.
        """
        try:
            rows = np.load(folder / "rows.npy", allow_pickle=False)
            mode: Literal["r"] | None = "r" if mmap and len(rows) else None
            vectors = np.load(folder / "vectors.npy", mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreCorruptError(
                f"index 'exact' cannot be read from {folder} ({error}): rebuild this version of "
                "the memory"
            ) from error
        if (
            rows.ndim != 1
            or vectors.ndim != 2
            or len(rows) != len(vectors)
            or (rows.dtype, vectors.dtype) != (np.int64, np.float32)
        ):
            raise StoreCorruptError(
                f"{folder} has rows {rows.dtype}{list(rows.shape)} and vectors "
                f"{vectors.dtype}{list(vectors.shape)}: expected int64[n] and float32[n, d]; "
                "rebuild this version of the memory"
            )
        loaded = cls(config, dim=vectors.shape[1])
        loaded._parts = [_Block(rows, vectors)] if len(rows) else []
        loaded._last = int(rows.max(initial=-1))
        return loaded

    def _all_rows(self) -> Rows:
        return np.concatenate([np.zeros(0, np.int64), *(part.rows for part in self._parts)])

    def _blocks(self, allowed: Rows | None) -> Iterator[tuple[Rows, Vectors, float]]:
        """Rows that may be found, their vectors, and a bound on their length; none are empty."""
        for part in self._parts:
            for start in range(0, len(part.rows), BLOCK):
                place = slice(start, start + BLOCK)
                rows, vectors = part.rows[place], part.vectors[place]
                if allowed is not None:
                    keep = np.isin(rows, allowed)
                    rows, vectors = rows[keep], vectors[keep]
                if len(rows):
                    yield rows, vectors, part.longest


class _Block:
    """Some rows [n] with their vectors [n, d], which may lie in a file of their own."""

    def __init__(self, rows: Rows, vectors: Vectors, path: Path | None = None) -> None:
        self.rows = rows
        self.vectors = vectors
        self._path = path

    @functools.cached_property
    def longest(self) -> float:
        """The Euclidean length of the longest vector."""
        return math.sqrt(np.einsum("nd,nd->n", self.vectors, self.vectors).max())

    def joined(self, other: _Block) -> _Block:
        """Both, in memory."""
        return _Block(
            np.concatenate([self.rows, other.rows]), np.concatenate([self.vectors, other.vectors])
        )

    def on_disk(self, path: Path) -> _Block:
        """The part with its vectors in a file, which the system reads when they are asked for."""
        save_array(path, self.vectors)
        return _Block(self.rows, np.load(path, mmap_mode="r", allow_pickle=False), path)

    def write(self, file: BinaryIO) -> None:
        """Append the vectors to a file."""
        # Read out of its own file, not the map, whose pages would stay.
        vectors = self.vectors if self._path is None else np.load(self._path, allow_pickle=False)
        file.write(np.ascontiguousarray(vectors, "<f4").data)

    def only(self, keep: npt.NDArray[np.bool_]) -> _Block:
        """The part without the rows that are not kept."""
        return _Block(self.rows[keep], self.vectors[keep])


def _inner(vectors: Vectors, query: Vectors) -> Vectors:
    """Inner products [n], summed in double precision in an order that does not depend on n."""
    products = vectors.astype(np.float64) * query.astype(np.float64)
    total: Vectors = products.sum(axis=1).astype(np.float32)
    return total
