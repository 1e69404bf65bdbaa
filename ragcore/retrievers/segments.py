"""Indexes that answer as one: what came later is in a further one, and what went is hidden.

So a version can be derived from another in time proportional to what changed, with any index, also
one that cannot forget: the files of segments that were there before are shared, not written anew.
Knows rows and vectors, and nothing of passages or encoders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from ragcore.contracts import EmptySpawner, Index, ScratchUser, VectorSource
from ragcore.disk.arrays import save_array
from ragcore.disk.links import share, share_tree
from ragcore.errors import ComponentError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.hits import among, empty_hits
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Vectors


__all__ = ["Segments"]

_NONE: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class _Segment:
    """An index, and what it may show.

    Attributes:
        index: finds rows.
        rows: int64 [n], all that it holds, ascending.
        hidden: int64 [h], those of them that were removed, ascending.
        saved: where its files are, without ending; None if it was made since.
    """

    index: Index
    rows: Rows
    hidden: Rows = field(default_factory=lambda: _NONE)
    saved: Path | None = None

    def __len__(self) -> int:
        return len(self.rows) - len(self.hidden)

    @property
    def grows(self) -> bool:
        """Whether rows may still be added to its index; what is saved or hidden stays as it is."""
        return self.saved is None and not len(self.hidden)

    @property
    def gives_vectors(self) -> bool:
        """Whether its index can be made anew out of itself."""
        return "vectors" in self.index.capabilities

    @property
    def shown(self) -> Rows:
        """The rows that were not removed, ascending."""
        return np.setdiff1d(self.rows, self.hidden, assume_unique=True)

    def shows(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which of `rows` may be found."""
        return among(rows, self.rows) & ~among(rows, self.hidden)

    def search(self, queries: Vectors, k: int, allowed: Rows | None) -> Hits:
        """The k best of the rows that are shown, [B, k], as the index ranks them."""
        if allowed is not None:
            visible = allowed[self.shows(allowed)]
            if not len(visible):
                return empty_hits(len(queries), k)
            return self.index.search(queries, k, allowed=visible)
        if not len(self.hidden):
            return self.index.search(queries, k)
        found = empty_hits(len(queries), k)
        left = np.arange(len(queries))
        depth = min(len(self.rows), k + min(k, len(self.hidden)))
        while len(left):
            hits = self.index.search(queries[left], depth)
            keep = (hits.rows != MISSING_ROW) & ~among(hits.rows, self.hidden)
            # Those that are kept move to the front, in their order.
            order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
            wide = order.shape[1]
            kept = np.take_along_axis(keep, order, axis=1)
            rows = np.take_along_axis(hits.rows, order, axis=1)
            scores = np.take_along_axis(hits.scores, order, axis=1)
            found.rows[left, :wide] = np.where(kept, rows, MISSING_ROW)
            found.scores[left, :wide] = np.where(kept, scores, -np.inf)
            # A ranking that ends before `depth` has no more, unless a wider search of a graph has.
            exact = "exact" in self.index.capabilities
            ended = exact & (hits.rows == MISSING_ROW).any(axis=1) | (depth == len(self.rows))
            left = left[~(ended | (keep.sum(axis=1) >= k))]
            depth = min(len(self.rows), 2 * depth)
        return found


class Segments:
    """What a `Index` does, over segments; searches may run in several threads, changes in one.

    Args:
        part: the index that each segment has.
    """

    def __init__(self, part: ComponentSpec[Index]) -> None:
        self._part = part
        self._segments: list[_Segment] = []
        self._scratch: Path | None = None
        self._lock = threading.Lock()
        # Rows that the last segment's index has been given, and that are not in its `rows` yet.
        self._new: list[Rows] = []

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of the index; it can add and remove, whatever that can."""
        held = self._segments[0].index if self._segments else self._part.component
        capabilities: frozenset[str] = held.capabilities
        return (capabilities & {"exact", "filter", "mmap", "vectors"}) | {"add", "remove"}

    def __len__(self) -> int:
        return sum(map(len, self._segments)) + sum(map(len, self._new))

    def use_scratch(self, folder: Path) -> None:
        """Let an index that is made from now on keep there what is too large for memory."""
        self._scratch = folder

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n], to a segment of their own if the others were loaded.

        Raises:
            ComponentError: a row is there already, or the index refuses something.
        """
        if not len(rows):
            return
        new = np.array(rows, np.int64)
        growing = bool(self._segments) and self._segments[-1].grows
        older = self._segments[:-1] if growing else self._settled()
        for segment in older:
            there = new[segment.shows(new)]
            if len(there):
                raise ComponentError(
                    f"index {self._part.use!r} has row {there[0]} already: remove it first"
                )
        last = self._segments[-1] if growing else _Segment(self._made(vectors.shape[1]), _NONE)
        last.index.add(new, vectors)
        self._segments = [*older, last]
        self._new.append(new)

    def remove(self, rows: Rows) -> None:
        """Hide rows.

        Raises:
            ComponentError: a row is not there; then none is hidden.
        """
        gone = np.unique(np.asarray(rows, np.int64))
        segments = self._settled()
        shown = [segment.shows(gone) for segment in segments]
        absent = gone[~np.logical_or.reduce(shown)] if segments else gone
        if len(absent):
            raise ComponentError(
                f"index {self._part.use!r} has no row {absent[0]}: it cannot be removed"
            )
        self._segments = [
            replace(segment, hidden=np.union1d(segment.hidden, gone[own])) if own.any() else segment
            for segment, own in zip(segments, shown, strict=True)
        ]

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """The k rows of highest score for each of queries [B, d], ties by row.

        Raises:
            ComponentError: the index refuses k or the queries.
        """
        segments = self._settled()
        if not segments:
            return empty_hits(len(queries), k)
        if allowed is not None:
            allowed = np.unique(np.asarray(allowed, np.int64))
        found = [segment.search(queries, k, allowed) for segment in segments]
        if len(found) == 1:
            return found[0]
        rows = np.concatenate([hits.rows for hits in found], axis=1)
        scores = np.concatenate([hits.scores for hits in found], axis=1)
        best = np.lexsort((rows, -scores), axis=1)[:, :k]
        return Hits(
            np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
        )

    def vectors(self, rows: Rows) -> Vectors:
        """The vectors of rows [n ≥ 1], float32 [n, d] (capability `vectors`).

        Raises:
            ComponentError: a row is not there.
        """
        rows = np.asarray(rows, np.int64)
        found: Vectors | None = None
        left = np.ones(len(rows), bool)
        for segment in self._settled():
            own = segment.shows(rows)
            if own.any():
                vectors = cast(VectorSource, segment.index).vectors(rows[own])
                if found is None:
                    found = np.empty((len(rows), vectors.shape[1]), np.float32)
                found[own] = vectors
                left &= ~own
        if found is None or left.any():
            raise ComponentError(f"index {self._part.use!r} has no row {rows[left][0]}")
        return found

    def save(self, folder: Path) -> int:
        """Write each segment into an existing folder; what was loaded is shared, not written.

        Returns:
            How many segments there are.
        """
        self._segments = _merged(self._settled(), self._made)
        for place, segment in enumerate(self._segments):
            named = _named(folder, place)
            if segment.saved is None:
                named.mkdir()
                segment.index.save(named)
                # A memory that was built at once has the rows from 0 on: those need no list.
                if not np.array_equal(segment.rows, np.arange(len(segment.rows))):
                    save_array(_rows_file(named), segment.rows)
            else:
                share_tree(segment.saved, named)
                if _rows_file(segment.saved).exists():
                    share(_rows_file(segment.saved), _rows_file(named))
            if len(segment.hidden):
                save_array(_hidden_file(named), segment.hidden)
        return len(self._segments)

    @classmethod
    def load(cls, folder: Path, part: ComponentSpec[Index], count: int, *, mmap: bool) -> Segments:
        """What `save` wrote: `count` segments."""
        loaded = cls(part)
        for place in range(count):
            named = _named(folder, place)
            index: Index = part.component.load(named, part.config, mmap=mmap)
            rows = _read(_rows_file(named), mmap)
            hidden = _read(_hidden_file(named), mmap)
            loaded._segments.append(
                _Segment(
                    index,
                    np.arange(len(index), dtype=np.int64) if rows is None else rows,
                    _NONE if hidden is None else hidden,
                    named,
                )
            )
        return loaded

    def _made(self, dim: int) -> Index:
        """An empty index that scores as those that are there."""
        for segment in self._segments:
            if "spawn_empty" in segment.index.capabilities:
                return cast(EmptySpawner, segment.index).spawn_empty()
        made: Index = self._part.build(dim=dim)
        if self._scratch is not None and "scratch" in made.capabilities:
            self._scratch.mkdir(exist_ok=True)
            cast(ScratchUser, made).use_scratch(self._scratch)
        return made

    def _settled(self) -> list[_Segment]:
        """The segments, of which the last knows all its rows."""
        with self._lock:
            if self._new:
                *before, last = self._segments
                rows = np.sort(np.concatenate([last.rows, *self._new]))
                self._segments, self._new = [*before, replace(last, rows=rows)], []
            return self._segments


def _merged(segments: list[_Segment], make: Callable[[int], Index]) -> list[_Segment]:
    """Fewer segments, so that there stay few: the last ones joined while they are of like size.

    A vector is copied anew at most as often as the number of rows can double. Segments whose index
    cannot give its vectors back stay as they are.
    """
    kept = []
    for segment in segments:
        if len(segment) < len(segment.hidden) and segment.gives_vectors:
            kept.append(_joined([segment], make))
        else:
            kept.append(segment)
    kept = [segment for segment in kept if len(segment)]
    while len(kept) > 1 and 2 * len(kept[-1]) >= len(kept[-2]):
        if not (kept[-1].gives_vectors and kept[-2].gives_vectors):
            break
        kept[-2:] = [_joined(kept[-2:], make)]
    return kept


def _joined(segments: list[_Segment], make: Callable[[int], Index]) -> _Segment:
    """What segments show, in one."""
    shown = [segment.shown for segment in segments]
    vectors = np.concatenate(
        [
            cast(VectorSource, segment.index).vectors(rows)
            for segment, rows in zip(segments, shown, strict=True)
        ]
    )
    rows = np.concatenate(shown)
    order = np.argsort(rows)
    index = make(vectors.shape[1])
    index.add(rows[order], vectors[order])
    return _Segment(index, rows[order])


def _named(folder: Path, place: int) -> Path:
    """The folder of a segment's index; its lists of rows lie beside it."""
    return folder / (f"index-{place}" if place else "index")


def _rows_file(named: Path) -> Path:
    return named.with_name(f"{named.name}.rows.npy")


def _hidden_file(named: Path) -> Path:
    return named.with_name(f"{named.name}.hidden.npy")


def _read(path: Path, mmap: bool) -> Rows | None:
    """A list of rows, or None where there is none."""
    if not path.exists():
        return None
    rows: Rows = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    return np.asarray(rows)
