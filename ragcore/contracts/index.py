"""An index, which finds rows by their vectors, and what it may do beyond the minimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Hits

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.filters.predicates import ColumnKind
    from ragcore.types import Rows, Vectors

__all__ = [
    "EmptySpawner",
    "FilteringIndex",
    "GraphIndex",
    "Index",
    "JoiningIndex",
    "RemoteData",
    "SavedIndex",
    "VectorSource",
]


@runtime_checkable
class Index(Component, Protocol):
    """Finds rows by inner product with their vectors. Constructed as `Index(config, dim=d)`.

    It may have a further member, which is used where it exists:

    - `searches_in_one_thread: bool`, whether a search for one query leaves all processors but one
      idle. Then several indexes, as a memory has after updates, are searched in threads.
    """

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n]; adding a row twice is an error."""
        ...

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k rows of highest inner product for each query.

        Args:
            queries: float32 [B, d].
            k: hits per query.
            allowed: int64, the only rows to search (capability `filter`).

        Returns:
            Hits [B, k]; rows of equal score are in ascending order.
        """
        ...

    def remove(self, rows: Rows) -> None:
        """Forget rows (capability `remove`)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything into an existing empty folder."""
        ...

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Index:
        """Load what `save` wrote; `config` may change settings that only searching depends on."""
        ...


class VectorSource(Index, Protocol):
    """An index with the capability `vectors`."""

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n], float32 [n, d], bit for bit as they were added."""
        ...


class FilteringIndex(Index, Protocol):
    """An index with the capability `where`: it stores some fields of metadata with the vectors.

    A filter on these fields alone is evaluated where the vectors are, which saves sending millions
    of rows. `ragcore.filters.predicates` has what a filter means on columns.
    """

    @property
    def columns(self) -> Mapping[str, ColumnKind]:
        """The fields that are stored, with their kinds."""
        ...

    def add_with_metadata(
        self, rows: Rows, vectors: Vectors, metadata: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add vectors [n, d] under rows [n], as `add` does, with the metadata of the n passages.

        What `add` adds lacks all fields. A value that does not fit into its field's column is no
        error: `expresses` is false for that field from then on.
        """
        ...

    def metadata(self, rows: Rows) -> list[dict[str, Any]]:
        """Return metadata of rows [n]: added to another index, they have the same columns there.

        That index expresses no filter which this one does not.
        """
        ...

    def expresses(self, where: Filter) -> bool:
        """Return whether `search_where` can evaluate a filter, with exactly its meaning."""
        ...

    def search_where(self, queries: Vectors, k: int, where: Filter) -> Hits:
        """Find the k rows of highest inner product among those whose metadata match a filter.

        Args:
            queries: float32 [B, d].
            k: hits per query.
            where: one that the index `expresses`.

        Returns:
            Hits [B, k], as of `search` with the rows that match as `allowed`.
        """
        ...


class GraphIndex(Index, Protocol):
    """An index with the capability `width`: a search considers so many candidates, as of a graph.

    Of several, each is searched less widely than one index of all rows would be.
    """

    @property
    def width(self) -> int:
        """How many candidates `search` considers for a few hits, by the settings."""
        ...

    def search_width(self, queries: Vectors, k: int, width: int) -> Hits:
        """Find the k rows of highest inner product among so many candidates.

        Args:
            queries: float32 [B, d].
            k: hits per query.
            width: candidates to consider, at least 1; k if that is more.

        Returns:
            Hits [B, k], as many of them as of `search`, which this equals at the index's own
            `width`. Searches in other threads are not affected.
        """
        ...


class EmptySpawner(Index, Protocol):
    """An index with the capability `spawn_empty`."""

    def spawn_empty(self) -> Index:
        """Make an empty index with the same training: a vector has the same score in both."""
        ...


@dataclass(frozen=True, slots=True)
class SavedIndex:
    """An index on disk that is joined with others.

    Attributes:
        folder: that it was saved into.
        shift: what is added to its rows where they become rows of the joined index.
        hidden: those of its rows that are left out, int64 [h], ascending, without the shift.
    """

    folder: Path
    shift: int
    hidden: Rows


class JoiningIndex(Index, Protocol):
    """An index with the capability `join`."""

    @property
    def joined_is_quicker(self) -> bool:
        """Whether one index is searched much faster than its parts, one after the other."""
        ...

    def join(self, parts: Sequence[SavedIndex], folder: Path) -> bool:
        """Write saved indexes as one, into an existing empty folder, for `load`.

        Each vector has the same score in it as in its part. It does not depend on this index's own
        vectors, and should take less memory than the parts have together.

        Args:
            parts: one or more that were built with this one's config, in each of which a row is
                left. Their files are not changed.
            folder: that is written.

        Returns:
            False, and nothing is written, if the parts were not trained alike.
        """
        ...


class RemoteData(Protocol):
    """A component with the capability `remote`: its folder holds a pointer to data in a database.

    The pointer is the file remote.json (`ragcore.disk.remote.RemotePointer`). One table or
    collection belongs to one pointer, and never changes once `save` has returned; versions that
    share it have copies of the pointer. A store drops a table with the last of these.

    - It has the capability `scratch`, too. Before it writes to the database, it writes a pointer
      into a new subfolder of its scratch folder, so that the table of a killed build is found.
      Several indexes may have the same scratch folder. Pointers that are there already are the
      store's to follow, which knows whether a version has their tables.
    - `save` completes the table and writes the pointer into the folder. `load` does not connect.
    - An index without a scratch folder whose `save` was never called drops its table when it is
      garbage-collected.
    - Each call that reaches the database ends after the time-out of the config, and one retry
      where nothing was changed, with MemoryUnavailableError. No error, log or repr holds a
      password.
    """

    def check(self, *, full: bool) -> None:
        """Check that what the pointer leads to is there, and is what it says.

        Args:
            full: compare number of rows and digest, for which all of it is read; where False, only
                what takes no longer than a search.

        Raises:
            StoreCorruptError: the table is missing, or another one.
            MemoryMismatchError: the config leads to another database than the pointer.
            MemoryUnavailableError: the database does not answer.
        """
        ...

    @classmethod
    def drop(cls, folder: Path, config: Any) -> bool:
        """Remove the data that a pointer leads to; nothing where they are removed already.

        Called for what no version uses any longer: after `gc`, `forget`, a failed build.

        Args:
            folder: with the pointer, which stays as it is.
            config: how to connect; an instance of the class's `Config`.

        Returns:
            Whether they are removed; False where a program elsewhere has them open.

        Raises:
            StoreCorruptError: the pointer is broken.
            MemoryMismatchError: the config leads to another database than the pointer.
            MemoryUnavailableError: the database does not answer, or refuses.
        """
        ...
