"""An index, which finds rows by their vectors, and what it may do beyond the minimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Hits

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors

__all__ = ["EmptySpawner", "Index", "JoiningIndex", "SavedIndex", "VectorSource"]


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
