"""One logical index over several. Later additions go to a new segment; removals are masked.

So a version is derived from another in time proportional to the change, with any index, even one
that cannot remove: the files of older segments are shared, not rewritten. Knows rows and vectors;
knows nothing of passages or encoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ragcore.contracts import EmptySpawner, GraphIndex, Index, ScratchUser, supports
from ragcore.errors import ComponentError, UnsupportedOperation
from ragcore.process.fork import new_lock
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.combining import Combiner, add_to, changeable, mostly_hidden, tiers
from ragcore.retrievers.hits import best_hits, best_positions
from ragcore.retrievers.parallel import map_segments, processors
from ragcore.retrievers.segment import NO_ROWS, Segment, folder_of
from ragcore.retrievers.widths import crowded, narrowed
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors


__all__ = ["Segments"]


class Segments:
    """The methods of an `Index`, over segments; several threads may search, one may change it.

    Args:
        spec: the index that each segment has.
    """

    def __init__(self, spec: ComponentSpec[Index]) -> None:
        self._spec = spec
        self._segments: list[Segment] = []
        self._scratch: Path | None = None
        # An empty index whose training new ones take.
        self._trained: EmptySpawner | None = None
        self._lock = new_lock()
        # Rows that were added to the last segment's index but are not in its `rows` yet.
        self._new_rows: list[Rows] = []
        # What the next `save` does beyond what every one does.
        self._compaction: Literal["hidden", "all"] | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of the index, and `add` and `remove` even if the index lacks them."""
        source = self._segments[0].index if self._segments else self._spec.component
        capabilities: frozenset[str] = source.capabilities
        passed_on = {"exact", "filter", "mmap", "vectors", "where"}
        return (capabilities & passed_on) | {"add", "remove"}

    def __len__(self) -> int:
        return sum(map(len, self._segments)) + sum(map(len, self._new_rows))

    def use_scratch(self, folder: Path) -> None:
        """Let indexes built from now on keep in this folder what is too large for memory."""
        self._scratch = folder

    def train(self, vectors: Vectors, folder: Path) -> None:
        """Train an index on vectors [n, d], and write it without them into an existing folder.

        Raises:
            UnsupportedOperation: the index cannot make an empty one with the same training.
        """
        index = self._spec.build(dim=vectors.shape[1])
        if not supports(index, EmptySpawner):
            raise UnsupportedOperation.of(f"index {self._spec.use!r}", "spawn_empty")
        index.add(np.arange(len(vectors), dtype=np.int64), vectors)
        target = folder_of(folder, 0)
        target.mkdir()
        index.spawn_empty().save(target)

    def use_training(self, folder: Path) -> None:
        """Give new indexes the training that `train` wrote."""
        index = self._spec.load(folder_of(folder, 0), mmap=False)
        if not supports(index, EmptySpawner):
            raise UnsupportedOperation.of(f"index {self._spec.use!r}", "spawn_empty")
        self._trained = index

    def add(
        self,
        rows: Rows,
        vectors: Vectors,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Add vectors [n, d] under rows [n], to a new segment if the last one was loaded.

        Args:
            rows: int64 [n].
            vectors: float32 [n, d].
            metadata: of the n passages, for an index that stores some fields; None for none.

        Raises:
            ComponentError: a row is there already, or the index refuses the rows or vectors.
        """
        if not len(rows):
            return
        new_rows = np.array(rows, np.int64)
        growing = bool(self._segments) and self._segments[-1].grows
        older = self._segments[:-1] if growing else self._settled()
        for segment in older:
            taken = new_rows[segment.shows(new_rows)]
            if len(taken):
                raise ComponentError(
                    f"index {self._spec.use!r} has row {taken[0]} already: remove it first"
                )
        last = (
            self._segments[-1] if growing else Segment(self._empty_index(vectors.shape[1]), NO_ROWS)
        )
        add_to(last.index, new_rows, vectors, metadata)
        self._segments = [*older, last]
        self._new_rows.append(new_rows)

    def remove(self, rows: Rows) -> None:
        """Hide rows from now on.

        Raises:
            ComponentError: a row is not there; then none is hidden.
        """
        removed = np.unique(np.asarray(rows, np.int64))
        segments = self._settled()
        masks = [segment.shows(removed) for segment in segments]
        absent = removed[~np.logical_or.reduce(masks)] if segments else removed
        if len(absent):
            raise ComponentError(
                f"index {self._spec.use!r} has no row {absent[0]}: it cannot be removed"
            )
        self._segments = [
            replace(segment, hidden=np.union1d(segment.hidden, removed[mask]))
            if mask.any()
            else segment
            for segment, mask in zip(segments, masks, strict=True)
        ]

    def compact(self, *, join: bool = False) -> bool:
        """Leave out the vectors of hidden rows in the next `save`, which would share them else.

        Args:
            join: write all segments as one, too, if they were not trained apart.

        Returns:
            Whether it can: an index must return the vectors that another is built from, or be one
            that can be joined.
        """
        stuck = [
            segment
            for segment in self._settled()
            if len(segment.hidden) and len(segment) and not changeable(segment)
        ]
        self._compaction = "all" if join else "hidden"
        return not stuck

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: Rows | None = None,
        where: Filter | None = None,
    ) -> Hits:
        """Find the k rows of highest score for each of queries [B, d], ties by row.

        Several graphs are searched less widely than one, see `widths.py`; under a filter each as
        widely as its settings say.

        Args:
            queries: float32 [B, d].
            k: hits per query.
            allowed: the only rows to search; None for all.
            where: a filter of which `allowed` are the rows, for segments that can evaluate it.

        Raises:
            ComponentError: the index refuses k or the queries.
        """
        segments = self._settled()
        if not segments:
            return Hits.empty(len(queries), k)
        if allowed is not None:
            allowed = np.unique(np.asarray(allowed, np.int64))
        if len(segments) == 1:
            return segments[0].search(queries, k, allowed, where)
        if allowed is None:
            widths, width = _widths(segments, k)
            if widths:
                return _search_graphs(segments, queries, k, widths, width)
        results = map_segments(
            lambda segment: segment.search(queries, k, allowed, where),
            segments,
            threads=_idle_threads(segments[0].index, len(queries)),
        )
        return best_hits(
            np.concatenate([hits.rows for hits in results], axis=1),  # [B, segments * k]
            np.concatenate([hits.scores for hits in results], axis=1),
            k,
        )

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n ≥ 1], float32 [n, d] (capability `vectors`).

        Raises:
            ComponentError: a row is not there.
            UnsupportedOperation: the index has no capability `vectors`.
        """
        rows = np.asarray(rows, np.int64)
        vectors: Vectors | None = None
        missing = np.ones(len(rows), bool)
        for segment in self._settled():
            mask = segment.shows(rows)  # [n]
            if mask.any():
                part = segment.vectors(rows[mask])
                if vectors is None:
                    vectors = np.empty((len(rows), part.shape[1]), np.float32)
                vectors[mask] = part
                missing &= ~mask
        if vectors is None or missing.any():
            raise ComponentError(f"index {self._spec.use!r} has no row {rows[missing][0]}")
        return vectors

    def save(self, folder: Path) -> int:
        """Write each segment into an existing folder; loaded ones are shared, not rewritten.

        Small ones are joined, see `tiers`, and one with more hidden rows than visible ones is
        written without them, up to `LARGEST` rows; after `compact` all that it promises.

        Returns:
            The number of segments.
        """
        segments = [segment for segment in self._settled() if len(segment)]
        compaction = self._compaction
        groups = [segments] if compaction == "all" and segments else tiers(segments)
        combiner = Combiner(folder, self._spec, self._empty_index)
        for group in groups:
            if len(group) > 1 and combiner.combine(group, join=compaction is not None):
                continue
            for segment in group:
                clean = len(segment.hidden) and (compaction or mostly_hidden(segment))
                if not (clean and combiner.combine([segment], join=compaction is not None)):
                    combiner.write(segment)
        self._segments, self._compaction = combiner.written, None
        return len(self._segments)

    @property
    def shifts(self) -> list[int]:
        """What is added to the rows in each segment's files, after `save`; see `Segment`."""
        return [segment.shift for segment in self._segments]

    @classmethod
    def load(
        cls, folder: Path, spec: ComponentSpec[Index], shifts: Sequence[int], *, mmap: bool
    ) -> Segments:
        """Load the segments that `save` wrote.

        Args:
            folder: that they were written into.
            spec: of the index.
            shifts: one for each segment.
            mmap: map files into memory, where the index can.

        Raises:
            StoreCorruptError: a list of rows cannot be read, or is not one of the index's rows.
        """
        loaded = cls(spec)
        loaded._segments = [
            Segment.load(folder_of(folder, number), spec, shift, mmap=mmap)
            for number, shift in enumerate(shifts)
        ]
        return loaded

    def _empty_index(self, dim: int) -> Index:
        """Build an empty index that gives a vector the same score as the existing ones do."""
        for segment in self._segments:
            if supports(segment.index, EmptySpawner):
                return segment.index.spawn_empty()
        if self._trained is not None:
            return self._trained.spawn_empty()
        index = self._spec.build(dim=dim)
        if self._scratch is not None and supports(index, ScratchUser):
            self._scratch.mkdir(exist_ok=True)
            index.use_scratch(self._scratch)
        return index

    def _settled(self) -> list[Segment]:
        """Return the segments after adding new rows to the last one's list."""
        with self._lock:
            if self._new_rows:
                *older, last = self._segments
                rows = np.sort(np.concatenate([last.rows, *self._new_rows]))
                self._segments, self._new_rows = [*older, replace(last, rows=rows)], []
            return self._segments


def _widths(segments: Sequence[Segment], k: int) -> tuple[list[int], int]:
    """Return how widely to search each of several graphs, and how widely one would be searched.

    No widths, if all are searched with the index's own one.
    """
    graph = segments[0].index
    if not supports(graph, GraphIndex):
        return [], 0
    stored = [len(segment.rows) for segment in segments]
    return narrowed([*map(len, segments)], stored, graph.width, k), graph.width


def _search_graphs(
    segments: Sequence[Segment], queries: Vectors, k: int, widths: Sequence[int], width: int
) -> Hits:
    """Find the k best rows of queries [B, d] in graphs; see `widths.py`."""
    threads = _idle_threads(segments[0].index, len(queries))
    results = map_segments(
        lambda number: segments[number].search(queries, k, None, width=widths[number]),
        range(len(segments)),
        threads=threads,
    )
    rows = np.concatenate([hits.rows for hits in results], axis=1)  # [B, segments * k]
    scores = np.concatenate([hits.scores for hits in results], axis=1)
    order = best_positions(rows, scores, k)  # [B, k]
    exists = np.take_along_axis(rows, order, axis=1) != MISSING_ROW
    wider = crowded(np.where(exists, order // k, -1), widths, width)  # [B, segments]
    numbers = np.flatnonzero(wider.any(axis=0)).tolist()
    if not numbers:
        return best_hits(rows, scores, k)
    results = map_segments(
        lambda number: segments[number].search(queries[wider[:, number]], k, None),
        numbers,
        threads=threads,
    )
    for number, hits in zip(numbers, results, strict=True):
        columns = slice(number * k, (number + 1) * k)
        rows[wider[:, number], columns] = hits.rows
        scores[wider[:, number], columns] = hits.scores
    return best_hits(rows, scores, k)


def _idle_threads(index: Index, queries: int) -> bool:
    """Return whether an index leaves processors idle that can search other segments meanwhile."""
    # Libraries divide several queries among threads of their own.
    return queries < processors() and getattr(index, "searches_in_one_thread", False)
