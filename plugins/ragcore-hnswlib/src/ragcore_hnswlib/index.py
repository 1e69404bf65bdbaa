"""The index `hnswlib`: a graph of near neighbours (Malkov and Yashunin, 2016), in memory.

Gives hnswlib places as its labels and keeps the row of each place; makes room, hides removed rows,
and compares vectors one by one where the graph does not reach enough of them. Knows nothing of
texts or encoders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from operator import gt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import hnswlib  # type: ignore[import-untyped, import-not-found, unused-ignore]
import numpy as np

from ragcore.disk.arrays import load_rows, save_array
from ragcore.disk.loading import reading
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
)
from ragcore.process.cpus import usable_cpus
from ragcore.process.fork import new_lock
from ragcore.scaling import checked_scale, common_scale, in_range, need_no_scale, scales
from ragcore.types import MISSING_ROW, Hits
from ragcore_hnswlib.config import HnswlibConfig
from ragcore_hnswlib.file import check_file

if TYPE_CHECKING:
    from ragcore.types import Rows, Scores, Vectors


__all__ = ["Hnswlib"]

_FORMAT: Final = 1
_SCALED_FORMAT: Final = 2
"""As 1, with the number by which the stored vectors were multiplied."""

_FEW: Final = 1_000
"""Up to so many allowed rows are compared one by one: faster than a filtered graph, and exact."""

_SHORT: Final = 128
"""So many scores are compared faster in Python than by several calls of numpy."""

_BLOCK: Final = 4_096
"""Places that a new graph has, and vectors compared at a time."""


class Hnswlib:
    """See `ragcore.contracts.Index`; searches may run in several threads, changes in one.

    Removed rows are marked and hidden; their room is freed when the memory is built again. Scores
    are float32, as hnswlib sums them: 1 - (1 - x·y). For short vectors that would be 0, or a coarse
    number, so that they and short queries are multiplied by a power of two, which is exact.
    """

    Config: ClassVar[type[HnswlibConfig]] = HnswlibConfig
    searches_in_one_thread: ClassVar[bool] = True
    capabilities: frozenset[str] = frozenset({"add", "filter", "remove", "width"})

    def __init__(self, config: HnswlibConfig, *, dim: int) -> None:
        graph = hnswlib.Index(space=config.space, dim=dim)
        graph.init_index(
            max_elements=_BLOCK,
            M=config.m,
            ef_construction=config.ef_construction,
            random_seed=config.seed,
        )
        self._adopt(config, dim, graph, np.zeros(0, np.int64), scale=None)

    def _adopt(
        self, config: HnswlibConfig, dim: int, graph: Any, rows: Rows, scale: float | None
    ) -> None:
        self._config = config
        # What the vectors in the graph were multiplied by; None as long as all are zeros.
        self._scale = scale
        self._dim = dim
        self._graph = graph
        # The row of each place; MISSING_ROW where it was removed.
        self._rows = rows
        self._size = int((rows != MISSING_ROW).sum())
        self._last = int(rows.max(initial=-1))
        self._lock = new_lock()
        # hnswlib considers as many candidates as hits are asked for, or so many if that is more.
        # Each search asks for its own width, since a setting would be that of other threads, too.
        graph.set_ef(1)
        graph.set_num_threads(config.threads or usable_cpus())
        # For cosines hnswlib stores vectors scaled to length 1, not those that were added.
        if config.space == "ip":
            self.capabilities = type(self).capabilities | {"vectors"}

    def __len__(self) -> int:
        return self._size

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n]; make room if needed.

        Raises:
            ComponentError: shapes do not fit, a vector is not finite, a row is negative or taken.
        """
        new = np.array(rows, np.int64)
        values = self._checked(vectors)
        if new.shape != (len(values),):
            raise ComponentError(
                f"index 'hnswlib': {len(values)} vectors were added under rows of shape "
                f"{new.shape}: give one row for each vector"
            )
        if not len(new):
            return
        with self._lock:
            self._refuse_taken(new)
            # Where all rows are removed, the next vectors choose again.
            scale = self._scale if self._size else None
            if scale is None:
                scale = 1.0 if self._config.space == "cosine" else common_scale(values)
            scaled = self._scaled(values, scale)
            first, after = len(self._rows), len(self._rows) + len(new)
            room = self._graph.get_max_elements()
            if after > room:
                self._graph.resize_index(max(after, 2 * room))
            self._graph.add_items(scaled, np.arange(first, after))
            self._scale = scale
            self._rows = np.concatenate([self._rows, new])
            self._size += len(new)
            self._last = max(self._last, int(new.max()))

    def remove(self, rows: Rows) -> None:
        """Hide rows.

        Raises:
            ComponentError: a row is not there; then none is hidden.
        """
        removed = np.unique(np.asarray(rows, np.int64))
        with self._lock:
            places = self._places(removed, "it cannot be removed")
            for place in places.tolist():
                self._graph.mark_deleted(place)
            # A new array: running searches read the old one.
            left = self._rows.copy()
            left[places] = MISSING_ROW
            self._rows = left
            self._size -= len(removed)

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n], float32 [n, d], as they were added; space `ip` only.

        Raises:
            ComponentError: a row is not there.
            UnsupportedOperation: the space is cosine, whose vectors are stored scaled.
        """
        if "vectors" not in self.capabilities:
            raise UnsupportedOperation.of("index 'hnswlib' (cosine)", "vectors")
        distinct, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        stored = self._stored(self._places(distinct, "it has no vector"))[inverse]
        return stored / np.float32(self._scale or 1)

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Return the k rows of highest score for each of queries [B, d] that the graph reaches.

        Raises:
            ComponentError: k is less than 1, or shapes do not fit.
        """
        return self._search(queries, k, allowed, self.width)

    @property
    def width(self) -> int:
        """The setting `ef_search`."""
        return self._config.ef_search

    def search_width(self, queries: Vectors, k: int, width: int) -> Hits:
        """Search with another `ef_search`; see `GraphIndex`.

        Raises:
            ComponentError: k is less than 1, or shapes do not fit.
        """
        return self._search(queries, k, None, width)

    def _search(self, queries: Vectors, k: int, allowed: Rows | None, width: int) -> Hits:
        if k < 1:
            raise ComponentError(f"index 'hnswlib' was asked for {k} hits: ask for 1 or more")
        values = self._checked(queries)
        divisors = None
        if self._scale not in (None, 1) or not need_no_scale(values):
            factors = self._scales(values)  # [B]
            values = values * factors[:, None]
            divisors = (factors * np.float32(self._scale or 1))[:, None]  # [B, 1]
        all_rows = self._rows
        options: dict[str, Any] = {}
        among = None
        findable = self._size
        if allowed is not None:
            mask = np.isin(all_rows, allowed) & (all_rows != MISSING_ROW)
            among = np.flatnonzero(mask)  # places
            findable = len(among)
            # hnswlib calls the filter for each vector that it meets.
            options = {"filter": mask.tobytes().__getitem__, "num_threads": 1}
        count = min(k, findable) if len(values) else 0
        if not count:
            return Hits.empty(len(values), k)
        if among is not None and len(among) <= _FEW:
            places, scores = self._compared(values, count, among)
        else:
            try:
                depth = min(max(count, width), findable)
                labels, distances = self._graph.knn_query(values, depth, **options)
                places, scores = labels[:, :count].view(np.int64), 1 - distances[:, :count]
            except RuntimeError:
                # The graph does not reach so many from its entry point.
                every = np.flatnonzero(all_rows != MISSING_ROW) if among is None else among
                places, scores = self._compared(values, count, every)
        if divisors is not None:
            scores = scores / divisors
        rows, scores = _in_order(all_rows[places], scores)
        if count == k:
            return Hits(rows, scores)
        rest = Hits.empty(len(values), k - count)
        return Hits(
            np.concatenate([rows, rest.rows], axis=1),  # [B, k]
            np.concatenate([scores, rest.scores], axis=1),
        )

    def save(self, folder: Path) -> None:
        """Write hnswlib's own file, the rows and a note of how it was built.

        Raises:
            StoreError: hnswlib could not write its file.
        """
        path = folder / "graph.hnsw"
        with self._lock:
            self._graph.save_index(str(path))
            # hnswlib does not check whether its writes succeed.
            if path.stat().st_size != self._graph.index_file_size():
                raise StoreError(
                    f"hnswlib wrote {path.stat().st_size} bytes to {path}, expected "
                    f"{self._graph.index_file_size()}: free some room, or use another folder"
                )
            save_array(folder / "rows.npy", self._rows)
        about: dict[str, Any] = {"format": _FORMAT, "space": self._config.space}
        about |= {"m": self._config.m, "dim": self._dim}
        if self._scale is None:
            about["scale"] = None
        elif self._scale != 1:
            about |= {"format": _SCALED_FORMAT, "scale": self._scale}
        (folder / "hnswlib.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: HnswlibConfig, *, mmap: bool = True) -> Hnswlib:
        """Load what `save` wrote into memory; `ef_search` may differ from then.

        Raises:
            MemoryMismatchError: it was built with another space or `m`.
            StoreCorruptError: a file is missing, broken, or not what hnswlib may read.
        """
        with reading(folder / "hnswlib.json") as path:
            record = json.loads(path.read_bytes())
            dim = int(record["dim"])
            built = {key: record[key] for key in ("format", "space", "m")}
            scale = 1.0 if record.get("scale", 1) is not None else None
            if record["format"] == _SCALED_FORMAT:
                scale = checked_scale(record["scale"])
        rows = load_rows(folder / "rows.npy", mmap=False)
        layout = _SCALED_FORMAT if built["format"] == _SCALED_FORMAT else _FORMAT
        expected = {"format": layout, "space": config.space, "m": config.m}
        if built != expected:
            raise MemoryMismatchError(
                f"{folder} was built with {built}, but the configuration says {expected}: build "
                "the memory again, or set the index's space and m as they were"
            )
        path = folder / "graph.hnsw"
        check_file(path, dim=dim, m=config.m, rows=rows)
        graph = hnswlib.Index(space=config.space, dim=dim)
        try:
            graph.load_index(str(path), max_elements=len(rows))
        except RuntimeError as error:
            raise StoreCorruptError(
                f"hnswlib cannot read {path} ({error}): rebuild this version of the memory"
            ) from error
        loaded = cls.__new__(cls)
        loaded._adopt(config, dim, graph, rows, scale)
        return loaded

    def _scales(self, vectors: Vectors) -> Scores:
        """Return what to multiply vectors [n, d] by; 1 for cosines, which need no length."""
        if self._config.space == "cosine":
            return np.ones(len(vectors), np.float32)
        return scales(vectors)

    def _checked(self, vectors: Vectors) -> Vectors:
        values = np.ascontiguousarray(vectors, np.float32)
        if values.ndim != 2 or values.shape[1] != self._dim:
            raise ComponentError(
                f"index 'hnswlib' holds vectors of {self._dim} dimensions and was given an array "
                f"of shape {values.shape}: it must be [n, {self._dim}]"
            )
        if not (need_no_scale(values) or np.isfinite(values).all()):
            raise ComponentError("index 'hnswlib' was given a vector that is not finite")
        return values

    def _scaled(self, values: Vectors, scale: float | None) -> Vectors:
        """Multiply vectors [n, d] by the index's scale.

        Raises:
            ComponentError: the products of a number are then infinite.
        """
        scaled: Vectors = values * np.float32(scale or 1)
        # hnswlib divides vectors by their lengths for cosines, and so takes long ones.
        if self._config.space == "cosine" or in_range(scaled):
            return scaled
        reason = "whose products may be infinite"
        if scale not in (None, 1):
            reason = (
                f"but its first vectors were so short that it multiplies all by {scale:g}, and the "
                "product is too large"
            )
        raise ComponentError(
            f"index 'hnswlib' was given a vector with the number {np.abs(values).max():g}, "
            f"{reason}: build the memory again with vectors of about one length"
        )

    def _refuse_taken(self, new: Rows) -> None:
        if new.min() < 0:
            raise ComponentError(f"index 'hnswlib': row {new.min()} is negative: rows count from 0")
        if len(np.unique(new)) < len(new):
            raise ComponentError("index 'hnswlib': the same row was given twice in one call")
        # Rows mostly ascend; only when they do not, all must be compared.
        if new.min() <= self._last:
            taken = new[np.isin(new, self._rows)]
            if len(taken):
                raise ComponentError(f"index 'hnswlib': row {taken[0]} is already there")

    def _places(self, rows: Rows, otherwise: str) -> Rows:
        """Return the places of ascending, distinct rows; `otherwise` ends the error."""
        places = np.flatnonzero(np.isin(self._rows, rows) & (self._rows != MISSING_ROW))
        if len(places) < len(rows):
            absent = np.setdiff1d(rows, self._rows[places])[0]
            raise ComponentError(f"index 'hnswlib' has no row {absent}: {otherwise}")
        ordered: Rows = places[np.argsort(self._rows[places])]
        return ordered

    def _stored(self, places: Rows) -> Vectors:
        """Return the vectors of places as the graph stores them, [n, d]."""
        if not len(places):
            return np.zeros((0, self._dim), np.float32)
        vectors: Vectors = np.asarray(self._graph.get_items(places), np.float32)
        return vectors

    def _compared(self, queries: Vectors, k: int, places: Rows) -> tuple[Rows, Vectors]:
        """Return the k best of these places (k or more) and their scores, [B, k], comparing all."""
        best = np.zeros((len(queries), 0), np.int64)
        scores = np.zeros((len(queries), 0), np.float32)
        for block, block_scores in self._blocks(queries, places):
            best = np.concatenate([best, np.broadcast_to(block, block_scores.shape)], axis=1)
            scores = np.concatenate([scores, block_scores], axis=1)  # [B, at most k + _BLOCK]
            if scores.shape[1] > k:
                first = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                best = np.take_along_axis(best, first, axis=1)  # [B, k]
                scores = np.take_along_axis(scores, first, axis=1)
        return best, scores

    def _blocks(self, queries: Vectors, places: Rows) -> Iterator[tuple[Rows, Vectors]]:
        """Yield places in blocks [n] with the scores [B, n] that the graph would give them."""
        # hnswlib's brute force does not scale a question to length 1 for cosines, as its graph
        # does. The stored vectors are scaled already, so the inner product is the cosine.
        if self._config.space == "cosine":
            queries = _scaled(queries)
        for start in range(0, len(places), _BLOCK):
            block = places[start : start + _BLOCK]
            # hnswlib's own brute force sums in the same order as its graph.
            plain = hnswlib.BFIndex(space="ip", dim=self._dim)
            plain.init_index(max_elements=len(block))
            plain.add_items(self._stored(block), np.arange(len(block)))
            order, distances = plain.knn_query(queries, len(block))  # [B, n] each, nearest first
            scores = np.empty_like(distances)
            np.put_along_axis(scores, order.astype(np.int64), 1 - distances, axis=1)
            yield block, scores


def _scaled(queries: Vectors) -> Vectors:
    """Scale queries [B, d] to length 1 as hnswlib does; one of zeros stays as it is."""
    # In two steps, so that the squares of large or small numbers stay within float32.
    largest = np.abs(queries).max(axis=1, initial=0.0, keepdims=True)  # [B, 1]
    scaled = queries / np.where(largest > 0, largest, 1)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    vectors: Vectors = (scaled / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return vectors


def _in_order(rows: Rows, scores: Vectors) -> tuple[Rows, Vectors]:
    """Sort hits [B, k] by falling score, ties by row; hnswlib's are sorted by score already."""
    if scores.size <= _SHORT:
        falls = all(all(map(gt, line, line[1:])) for line in scores.tolist())
    else:
        falls = bool((scores[:, 1:] < scores[:, :-1]).all())
    if falls:
        return rows, scores
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
