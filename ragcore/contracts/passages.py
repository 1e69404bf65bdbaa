"""Where the passages of a memory are, if not in files of its versions: a database, for example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from ragcore.contracts.component import Component

__all__ = ["PassageField", "PassageRecord", "PassageStore"]

PassageField = Literal["id", "title", "text", "metadata"]


class PassageRecord(NamedTuple):
    """A passage as it is stored: four texts of any Unicode characters, NUL among them.

    Attributes:
        id: of the passage.
        title: of the passage.
        text: of the passage.
        metadata: as JSON.
    """

    id: str
    title: str
    text: str
    metadata: str


@runtime_checkable
class PassageStore(Component, Protocol):
    """Keeps passages outside of the folders of versions; several threads may use it.

    Passages are in *segments*. One is written once, then never changes; several versions share it.
    Its name consists of lower-case letters, digits and underscores, at most 63, and no other
    segment in the world has it. A passage's *position* is its place in its segment, from 0.

    All methods wait no longer than the store's time-out, and try a second time where that does no
    harm.

    Raises:
        MemoryUnavailableError: the store does not answer, or refuses.
    """

    @property
    def location(self) -> str:
        """Say where the segments are, for people, without a user's name or a secret."""
        ...

    @property
    def identity(self) -> str:
        """Say which database it is, the same from every host and for every user; no secret.

        It stays where the database is moved to another host, so it is no address.

        Raises:
            MemoryMismatchError: nothing was written to it yet.
        """
        ...

    def prepare(self) -> None:
        """Make ready what segments need; the first call gives the database its identity."""
        ...

    def begin(self, segment: str) -> None:
        """Make an empty segment; what a killed program has left under its name is replaced."""
        ...

    def append(self, segment: str, first: int, records: Sequence[PassageRecord]) -> None:
        """Write passages at the positions from `first` on, which follow those that are there.

        Called a second time with the same `first`, where the first call failed, it writes none
        twice.
        """
        ...

    def finish(self, segment: str, count: int) -> None:
        """Make a segment of so many passages ready to be read; what was written is durable."""
        ...

    def count(self, segment: str) -> int:
        """Return how many passages a segment has, without reading them all.

        Raises:
            StoreCorruptError: there is no such segment.
        """
        ...

    def take(
        self, segment: str, positions: Sequence[int], fields: Sequence[PassageField]
    ) -> list[tuple[str, ...]]:
        """Read fields of passages, in the order of their positions, as the texts that were written.

        Args:
            segment: that was finished.
            positions: of the passages, each inside it; a `range` of up to some thousands where
                passages are read one after the other. One may occur twice.
            fields: which texts, in the order in which they are returned.

        Raises:
            StoreCorruptError: there is no such segment, or it lacks a position.
        """
        ...

    def find(self, segment: str, ids: Sequence[str]) -> list[int]:
        """Return the positions of all passages with one of these ids, ascending.

        Raises:
            StoreCorruptError: there is no such segment.
        """
        ...

    def lease(self, segment: str) -> None:
        """Keep a segment from being dropped elsewhere, until `release` was called as often.

        Called before a version's passages are read; the lease ends with the program, too.
        """
        ...

    def release(self, segment: str) -> None:
        """End a lease; where the store does not answer, no error."""
        ...

    def drop(self, segment: str) -> bool:
        """Remove a segment, finished or not; nothing where there is none.

        Returns:
            Whether it is removed; False where another program has a lease of it.
        """
        ...
