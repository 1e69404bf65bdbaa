"""One segment of a logical index: an index of its own, its rows, and those that were removed.

Knows an index and the files of one segment; `segments.py` knows how several answer as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.contracts import FilteringIndex, GraphIndex, Index, VectorSource, supports
from ragcore.disk.arrays import load_rows, save_array
from ragcore.disk.links import share, share_tree
from ragcore.disk.loading import reading
from ragcore.errors import StoreCorruptError, UnsupportedOperation
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.hits import among, search_deeper
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors


__all__ = ["NO_ROWS", "Segment", "folder_of", "hidden_file", "read_rows", "rows_file"]

NO_ROWS: Final = np.zeros(0, np.int64)

FEW_LISTED: Final = 10_000
"""So many rows are sent as a list, of 80 kB, even if the index could evaluate the filter."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An index, and which of its rows are visible.

    Attributes:
        index: finds rows.
        rows: int64 [n], all rows that the index has, ascending.
        hidden: int64 [h], those of `rows` that were removed, ascending.
        saved: folder of its index files; None if it was built since.
        shift: what is added to a row of the index: segments of merged memories count from 0 in
            their files, which are shared as they are.
    """

    index: Index
    rows: Rows
    hidden: Rows = field(default_factory=lambda: NO_ROWS)
    saved: Path | None = None
    shift: int = 0

    def __len__(self) -> int:
        return len(self.rows) - len(self.hidden)

    @property
    def grows(self) -> bool:
        """Whether rows may still be added to its index: not once it is saved or has hidden rows."""
        return self.saved is None and not len(self.hidden)

    @property
    def rebuildable(self) -> bool:
        """Whether its index returns the vectors that another one can be built from."""
        return supports(self.index, VectorSource)

    @property
    def visible(self) -> Rows:
        """The rows that were not removed, ascending."""
        return np.setdiff1d(self.rows, self.hidden, assume_unique=True)

    def shows(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which of `rows`, of any shape, are in the index and not removed."""
        return among(rows, self.rows) & ~among(rows, self.hidden)

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n], float32 [n, d].

        Raises:
            UnsupportedOperation: the index has no capability `vectors`.
        """
        if not supports(self.index, VectorSource):
            raise UnsupportedOperation.of(f"index {type(self.index).__name__!r}", "vectors")
        return self.index.vectors(rows - self.shift)

    def metadata(self, rows: Rows) -> list[dict[str, Any]]:
        """Return the metadata that the index stores of rows [n]; nothing where it stores none."""
        if not supports(self.index, FilteringIndex):
            return [{} for _ in range(len(rows))]
        return self.index.metadata(rows - self.shift)

    def search(
        self,
        queries: Vectors,
        k: int,
        allowed: Rows | None,
        where: Filter | None = None,
        width: int | None = None,
    ) -> Hits:
        """Find the k best visible rows of queries [B, d], [B, k], as the index ranks them.

        Args:
            queries: float32 [B, d].
            k: hits per query.
            allowed: the only rows to search; None for all.
            where: a filter of which `allowed` are the rows; None for any other rows.
            width: candidates to consider in all rows, of a `GraphIndex`; None for as many as its
                settings say.
        """
        if allowed is not None:
            visible = allowed[self.shows(allowed)]
            if not len(visible):
                return Hits.empty(len(queries), k)
            if where is not None and len(visible) > FEW_LISTED:
                index = self.index
                if supports(index, FilteringIndex) and index.expresses(where):
                    return self._search_where(index, queries, k, where, visible)
            return self._shifted(self.index.search(queries, k, allowed=visible - self.shift))
        if not len(self.hidden):
            return self._ranked(queries, k, width)
        return search_deeper(
            lambda remaining, depth: self._ranked(queries[remaining], depth, width),
            lambda rows: (rows != MISSING_ROW) & ~among(rows, self.hidden),
            len(queries),
            k,
            depth=k + min(k, len(self.hidden)),
            size=len(self.rows),
            available=len(self),
            exact="exact" in self.index.capabilities,
        )

    def _ranked(self, queries: Vectors, k: int, width: int | None) -> Hits:
        """Return the k best rows of queries [B, d], removed ones among them."""
        if width is not None and supports(self.index, GraphIndex):
            return self._shifted(self.index.search_width(queries, k, width))
        return self._shifted(self.index.search(queries, k))

    def _search_where(
        self, index: FilteringIndex, queries: Vectors, k: int, where: Filter, visible: Rows
    ) -> Hits:
        """Search by a filter, which the index evaluates, too, for rows that were removed here."""
        if not len(self.hidden):
            return self._shifted(index.search_where(queries, k, where))
        return search_deeper(
            lambda remaining, depth: self._shifted(
                index.search_where(queries[remaining], depth, where)
            ),
            lambda rows: among(rows, visible),
            len(queries),
            k,
            depth=k + min(k, len(self.hidden)),
            size=len(self.rows),
            available=len(visible),
            exact="exact" in index.capabilities,
        )

    def save(self, folder: Path, number: int) -> None:
        """Write it as the segment of a number; files of one that was loaded are shared."""
        index_folder = folder_of(folder, number)
        if self.saved is None:
            index_folder.mkdir()
            self.index.save(index_folder)
            # A memory built in one go has the rows from 0 on, which need no list.
            if not np.array_equal(self.rows, np.arange(len(self.rows))):
                save_array(rows_file(index_folder), self.rows)
        else:
            share_tree(self.saved, index_folder)
            if rows_file(self.saved).exists():
                share(rows_file(self.saved), rows_file(index_folder))
        if len(self.hidden):
            save_array(hidden_file(index_folder), self.hidden)

    @classmethod
    def load(
        cls,
        index_folder: Path,
        spec: ComponentSpec[Index],
        shift: int,
        *,
        first: int = 0,
        mmap: bool,
    ) -> Segment:
        """Load the segment whose index lies in a folder.

        Args:
            index_folder: see `folder_of`.
            spec: of the index.
            shift: see the attribute.
            first: what is added to the rows in its lists, where it becomes one of another memory.
            mmap: map files into memory, where the index can.

        Raises:
            StoreCorruptError: a list of rows cannot be read, or is not one of the index's rows.
        """
        index = spec.load(index_folder, mmap=mmap)
        rows = read_rows(rows_file(index_folder), mmap, first)
        if rows is None:
            rows = np.arange(shift, shift + len(index), dtype=np.int64)
        elif len(rows) != len(index):
            raise StoreCorruptError(
                f"{rows_file(index_folder)} lists {len(rows)} rows, but the index in "
                f"{index_folder} has {len(index)}: rebuild this version of the memory"
            )
        hidden = read_rows(hidden_file(index_folder), mmap, first)
        if hidden is not None and not among(hidden, rows).all():
            raise StoreCorruptError(
                f"{hidden_file(index_folder)} hides a row that is not in the index: rebuild "
                "this version of the memory"
            )
        return cls(index, rows, NO_ROWS if hidden is None else hidden, index_folder, shift)

    def _shifted(self, hits: Hits) -> Hits:
        """Return hits in the rows of the index as hits in those of the memory."""
        if not self.shift:
            return hits
        rows = np.where(hits.rows == MISSING_ROW, MISSING_ROW, hits.rows + self.shift)
        return Hits(rows, hits.scores)


def folder_of(folder: Path, number: int) -> Path:
    """Return the folder of a segment's index; the segment's row lists lie next to it."""
    return folder / (f"index-{number}" if number else "index")


def rows_file(index_folder: Path) -> Path:
    """Return the file with the rows of a segment, next to its index."""
    return index_folder.with_name(f"{index_folder.name}.rows.npy")


def hidden_file(index_folder: Path) -> Path:
    """Return the file with those of a segment's rows that were removed, next to its index."""
    return index_folder.with_name(f"{index_folder.name}.hidden.npy")


def read_rows(path: Path, mmap: bool, first: int = 0) -> Rows | None:
    """Read a list of ascending rows, to each of which `first` is added; None without a file."""
    if not path.exists():
        return None
    rows = load_rows(path, mmap=mmap)
    with reading(path):
        if rows.min(initial=0) < 0 or not (rows[1:] > rows[:-1]).all():
            raise ValueError("its rows do not ascend")
    return np.asarray(rows) + first if first else np.asarray(rows)
