"""The index `hnswlib`: a graph of near neighbours (Malkov and Yashunin, 2016), in memory.

Gives hnswlib places as its labels and keeps the row of each place; makes room, hides what was
removed, and finds by hand what the graph does not reach. Knows nothing of texts or encoders.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import hnswlib  # type: ignore[import-untyped, import-not-found, unused-ignore]
import numpy as np

from ragcore.disk.arrays import save_array
from ragcore.disk.loading import reading
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
)
from ragcore.types import MISSING_ROW, Hits
from ragcore_hnswlib.config import HnswlibConfig
from ragcore_hnswlib.file import check_file

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors


__all__ = ["Hnswlib"]

_FORMAT: Final = 1
_FEW: Final = 1_000
"""So few allowed rows are compared one by one: quicker than a graph that is filtered, and exact."""
_BLOCK: Final = 4_096


class Hnswlib:
    """See `ragcore.contracts.Index`; searches may run in several threads, changes in one.

    What is removed is marked and hidden; its room comes back when the memory is built anew. Scores
    are float32, as hnswlib sums them: 1 - (1 - x·y).
    """

    Config: ClassVar[type[HnswlibConfig]] = HnswlibConfig
    capabilities: frozenset[str] = frozenset({"add", "filter", "remove"})

    def __init__(self, config: HnswlibConfig, *, dim: int) -> None:
        graph = hnswlib.Index(space=config.space, dim=dim)
        graph.init_index(
            max_elements=_BLOCK,
            M=config.m,
            ef_construction=config.ef_construction,
            random_seed=config.seed,
        )
        self._adopt(config, dim, graph, np.zeros(0, np.int64))

    def _adopt(self, config: HnswlibConfig, dim: int, graph: Any, rows: Rows) -> None:
        self._config = config
        self._dim = dim
        self._graph = graph
        # The row of each place; MISSING_ROW where it was removed.
        self._rows = rows
        self._size = int((rows != MISSING_ROW).sum())
        self._last = int(rows.max(initial=-1))
        self._lock = threading.Lock()
        graph.set_ef(config.ef_search)
        graph.set_num_threads(config.threads or hardware_threads())
        # What is kept for cosines is scaled to length 1.
        if config.space == "ip":
            self.capabilities = type(self).capabilities | {"vectors"}

    def __len__(self) -> int:
        return self._size

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n], making room where that is needed.

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
            first, after = len(self._rows), len(self._rows) + len(new)
            room = self._graph.get_max_elements()
            if after > room:
                self._graph.resize_index(max(after, 2 * room))
            self._graph.add_items(values, np.arange(first, after))
            self._rows = np.concatenate([self._rows, new])
            self._size += len(new)
            self._last = max(self._last, int(new.max()))

    def remove(self, rows: Rows) -> None:
        """Hide rows.

        Raises:
            ComponentError: a row is not there; then none is hidden.
        """
        gone = np.unique(np.asarray(rows, np.int64))
        with self._lock:
            places = self._places(gone, "it cannot be removed")
            for place in places.tolist():
                self._graph.mark_deleted(place)
            kept = self._rows.copy()
            kept[places] = MISSING_ROW
            self._rows = kept
            self._size -= len(gone)

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows [n], float32 [n, d], as they were added; of space `ip` only.

        Raises:
            ComponentError: a row is not there.
            UnsupportedOperation: the space is cosine, whose vectors are kept scaled.
        """
        if "vectors" not in self.capabilities:
            raise UnsupportedOperation.of("index 'hnswlib' (cosine)", "vectors")
        asked, back = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        return self._kept(self._places(asked, "it has no vector"))[back]

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """The k rows of highest score for each of queries [B, d], as far as the graph finds them.

        Raises:
            ComponentError: k is less than 1, or shapes do not fit.
        """
        if k < 1:
            raise ComponentError(f"index 'hnswlib' was asked for {k} hits: ask for 1 or more")
        values = self._checked(queries)
        held = self._rows
        options: dict[str, Any] = {}
        among = None
        findable = self._size
        if allowed is not None:
            mask = np.isin(held, allowed) & (held != MISSING_ROW)
            among = np.flatnonzero(mask)
            findable = len(among)
            # Looked up by hnswlib for each vector that it meets.
            options = {"filter": mask.tobytes().__getitem__, "num_threads": 1}
        wanted = min(k, findable) if len(values) else 0
        if not wanted:
            return Hits.empty(len(values), k)
        if among is not None and len(among) <= _FEW:
            found, near = self._compared(values, wanted, among)
        else:
            try:
                places, far = self._graph.knn_query(values, wanted, **options)
                found, near = places.view(np.int64), 1 - far
            except RuntimeError:
                # The graph does not reach so many from where it begins.
                every = np.flatnonzero(held != MISSING_ROW) if among is None else among
                found, near = self._compared(values, wanted, every)
        best, best_scores = _in_order(held[found], near)
        if wanted == k:
            return Hits(best, best_scores)
        rest = Hits.empty(len(values), k - wanted)
        return Hits(
            np.concatenate([best, rest.rows], axis=1),
            np.concatenate([best_scores, rest.scores], axis=1),
        )

    def save(self, folder: Path) -> None:
        """Write hnswlib's own file, the rows and a note of how it was built.

        Raises:
            StoreError: hnswlib could not write its file.
        """
        path = folder / "graph.hnsw"
        with self._lock:
            self._graph.save_index(str(path))
            # hnswlib does not look whether what it writes arrives.
            if path.stat().st_size != self._graph.index_file_size():
                raise StoreError(
                    f"hnswlib wrote {path.stat().st_size} bytes to {path}, expected "
                    f"{self._graph.index_file_size()}: free some room, or use another folder"
                )
            save_array(folder / "rows.npy", self._rows)
        about = {"format": _FORMAT, "space": self._config.space, "m": self._config.m}
        about["dim"] = self._dim
        (folder / "hnswlib.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: HnswlibConfig, *, mmap: bool = True) -> Hnswlib:
        """What `save` wrote, read into memory; `ef_search` may differ from then.

        Raises:
            MemoryMismatchError: it was built with another space or `m`.
            StoreCorruptError: a file is missing or broken.
        """
        with reading(folder / "hnswlib.json") as path:
            record = json.loads(path.read_bytes())
            dim = int(record["dim"])
            built = {key: record[key] for key in ("format", "space", "m")}
        with reading(folder / "rows.npy") as path:
            rows = np.load(path, allow_pickle=False)
        said = {"format": _FORMAT, "space": config.space, "m": config.m}
        if built != said:
            raise MemoryMismatchError(
                f"{folder} was built with {built}, but the configuration says {said}: build the "
                "memory anew, or set the index's space and m as they were"
            )
        path = folder / "graph.hnsw"
        check_file(path, dim=dim, m=config.m, count=len(rows))
        graph = hnswlib.Index(space=config.space, dim=dim)
        try:
            graph.load_index(str(path), max_elements=len(rows))
        except RuntimeError as error:
            raise StoreCorruptError(
                f"hnswlib cannot read {path} ({error}): rebuild this version of the memory"
            ) from error
        loaded = cls.__new__(cls)
        loaded._adopt(config, dim, graph, rows)
        return loaded

    def _checked(self, vectors: Vectors) -> Vectors:
        values = np.ascontiguousarray(vectors, np.float32)
        if values.ndim != 2 or values.shape[1] != self._dim:
            raise ComponentError(
                f"index 'hnswlib' holds vectors of {self._dim} dimensions and was given an array "
                f"of shape {values.shape}: it must be [n, {self._dim}]"
            )
        if not np.isfinite(values).all():
            raise ComponentError("index 'hnswlib' was given a vector that is not finite")
        return values

    def _refuse_taken(self, new: Rows) -> None:
        if new.min() < 0:
            raise ComponentError(f"index 'hnswlib': row {new.min()} is negative")
        if len(np.unique(new)) < len(new):
            raise ComponentError("index 'hnswlib': the same row was given twice in one call")
        # Rows mostly ascend; only when they do not must all be compared.
        if new.min() <= self._last:
            taken = new[np.isin(new, self._rows)]
            if len(taken):
                raise ComponentError(f"index 'hnswlib': row {taken[0]} is already there")

    def _places(self, rows: Rows, otherwise: str) -> Rows:
        """The places of rows, which ascend and are each there once."""
        places = np.flatnonzero(np.isin(self._rows, rows) & (self._rows != MISSING_ROW))
        if len(places) < len(rows):
            absent = np.setdiff1d(rows, self._rows[places])[0]
            raise ComponentError(f"index 'hnswlib' has no row {absent}: {otherwise}")
        ordered: Rows = places[np.argsort(self._rows[places])]
        return ordered

    def _kept(self, places: Rows) -> Vectors:
        """The vectors of places as the graph holds them, [n, d]."""
        if not len(places):
            return np.zeros((0, self._dim), np.float32)
        kept: Vectors = np.asarray(self._graph.get_items(places), np.float32)
        return kept

    def _compared(self, queries: Vectors, k: int, places: Rows) -> tuple[Rows, Vectors]:
        """The k best of these places, at least k, and their scores [B, k], one by one compared."""
        best = np.zeros((len(queries), 0), np.int64)
        scores = np.zeros((len(queries), 0), np.float32)
        for block, near in self._blocks(queries, places):
            best = np.concatenate([best, np.broadcast_to(block, near.shape)], axis=1)
            scores = np.concatenate([scores, near], axis=1)
            if scores.shape[1] > k:
                first = np.argpartition(-scores, k - 1, axis=1)[:, :k]
                best = np.take_along_axis(best, first, axis=1)
                scores = np.take_along_axis(scores, first, axis=1)
        return best, scores

    def _blocks(self, queries: Vectors, places: Rows) -> Iterator[tuple[Rows, Vectors]]:
        """Some places at a time, with the scores [B, n] that the graph would give them."""
        for start in range(0, len(places), _BLOCK):
            block = places[start : start + _BLOCK]
            # Its own brute force sums in the order in which the graph does.
            plain = hnswlib.BFIndex(space=self._config.space, dim=self._dim)
            plain.init_index(max_elements=len(block))
            plain.add_items(self._kept(block), np.arange(len(block)))
            order, far = plain.knn_query(queries, len(block))
            near = np.empty_like(far)
            np.put_along_axis(near, order.astype(np.int64), 1 - far, axis=1)
            yield block, near


def hardware_threads() -> int:
    """How many threads this process may run at once."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(rows: Rows, scores: Vectors) -> tuple[Rows, Vectors]:
    """By falling score, ties by row; hnswlib gives its own results by score already."""
    if (scores[:, 1:] < scores[:, :-1]).all():
        return rows, scores
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
