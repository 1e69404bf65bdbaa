"""A retriever, which finds rows for questions, and what it may do beyond the minimum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ragcore.contracts.component import Component
from ragcore.types import Hits, Passage

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors

__all__ = [
    "CacheUser",
    "CompactingRetriever",
    "FilteringRetriever",
    "Fragments",
    "IndexTrainer",
    "MergingRetriever",
    "PassageReader",
    "PassageSource",
    "Retriever",
    "SavedRetriever",
    "ScratchUser",
    "VectorCache",
]


@runtime_checkable
class Retriever(Component, Protocol):
    """Finds rows for questions. A dense one has an encoder and an index; BM25 needs neither.

    It may have a further member, which is used where it exists:

    - `deepest_search: int | None`, of how many hits its ranking is at most, whatever `k` is; None
      for no limit. A reranker scores so many passages. Evaluation does not measure deeper.
    """

    @property
    def fingerprint(self) -> str:
        """Name what must be the same when building and when searching: encoder or analyser."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add n passages under rows [n]; called batch by batch while a memory is built."""
        ...

    def search(self, questions: Sequence[str], k: int, *, allowed: Rows | None = None) -> Hits:
        """Find the k best rows for each of B questions.

        Args:
            questions: B questions.
            k: hits per question.
            allowed: int64, the only rows to search (capability `filter`).

        Returns:
            Hits [B, k]; their scores are the logits of p(z|x).
        """
        ...

    def remove(self, rows: Rows) -> None:
        """Forget rows (capability `remove`)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything into an existing empty folder, subfolders allowed."""
        ...

    @classmethod
    def load(cls, folder: Path, config: Any, *, mmap: bool = True) -> Retriever:
        """Load what `save` wrote, for searching only."""
        ...


class ScratchUser(Protocol):
    """A retriever or index with the capability `scratch`.

    Nothing else uses the folder until the component is saved or discarded. Files that it finds
    there were written by itself, or by an equal component, before an interruption.
    """

    def use_scratch(self, folder: Path) -> int:
        """Keep costly or large intermediate results here; called once, before the first `add`.

        Returns:
            How many passages need no work again, if they are added in the same order as before.
        """
        ...


class VectorCache(Protocol):
    """Vectors of passages by encoder and text, which outlive a build."""

    def vectors(
        self,
        encoder: str,
        dim: int,
        passages: Sequence[Passage],
        encode: Callable[[Sequence[Passage]], Vectors],
    ) -> Vectors:
        """Return the vectors of n passages, float32 [n, d]; only unknown texts are encoded.

        Args:
            encoder: the encoder's fingerprint.
            dim: d, the length of its vectors.
            passages: whose vectors are returned, in the same order.
            encode: called once at most, with the u passages whose titles and texts are unknown,
                each of these once; returns their vectors, float32 [u, d].
        """
        ...

    def resumed(self, count: int) -> None:
        """Count passages whose vectors `encode` took from an interrupted build."""
        ...


@runtime_checkable
class CacheUser(Retriever, Protocol):
    """A retriever with the capability `cache`."""

    def use_cache(self, cache: VectorCache) -> None:
        """Encode passages through this cache; called once, before the first `add` of a build."""
        ...


class PassageSource(Protocol):
    """A memory's passages, for a retriever that reads them."""

    def take(self, rows: Sequence[int]) -> list[Passage]:
        """Return the passages of these rows, in the same order."""
        ...


@runtime_checkable
class PassageReader(Retriever, Protocol):
    """A retriever with the capability `passages`."""

    def use_passages(self, passages: PassageSource) -> None:
        """Read passages from this source; called once, before the first search."""
        ...


@runtime_checkable
class FilteringRetriever(Retriever, Protocol):
    """A retriever with the capability `where`, which comes with `filter`."""

    def search_where(
        self, questions: Sequence[str], k: int, where: Filter, *, allowed: Rows
    ) -> Hits:
        """Find the k best rows of each question among those that a filter allows.

        Args:
            questions: B questions.
            k: hits per question.
            where: a filter of the metadata that the rows were added with.
            allowed: int64, exactly the rows that it allows, for all that cannot evaluate it.

        Returns:
            Hits [B, k], as of `search` with `allowed`.
        """
        ...


@dataclass(frozen=True, slots=True)
class SavedRetriever:
    """A retriever on disk, whose rows are renumbered where it becomes a part of another.

    Attributes:
        folder: that it was saved into.
        first: the row that its row 0 becomes; its row r becomes `first + r`.
        count: how many rows it has: 0, 1, … `count - 1`.
    """

    folder: Path
    first: int
    count: int


@runtime_checkable
class MergingRetriever(Retriever, Protocol):
    """A retriever with the capability `merge`."""

    def merge(self, parts: Sequence[SavedRetriever], folder: Path) -> None:
        """Write saved retrievers as one, into an existing empty folder, for `load`.

        It answers as if all passages had been added to it; files may be shared by hard links.

        Args:
            parts: one or more that were built with this one's config; each follows the one before
                it (`first`), and has a row at least. Their files are not changed.
            folder: that is written.

        Raises:
            MemoryMismatchError: the parts do not belong together.
        """
        ...


@runtime_checkable
class IndexTrainer(Retriever, Protocol):
    """A retriever with the capability `index_training`."""

    @property
    def training_size(self) -> int:
        """How many passages its index is trained on; more are of little use."""
        ...

    def train_index(self, passages: Sequence[Passage], folder: Path) -> None:
        """Train an index on a sample of a corpus, and write it without its vectors.

        Args:
            passages: of the sample; they do not become rows.
            folder: an existing empty one.
        """
        ...

    def use_training(self, folder: Path) -> None:
        """Take the training that `train_index` wrote; called once, before the first `add`.

        Raises:
            MemoryMismatchError: another retriever wrote it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fragments:
    """What updates and merges have left in a retriever's files, which searches pay for.

    Attributes:
        segments: of how many indexes one logical index consists, the most of any.
        removed: rows that were removed and are in the files still.
    """

    segments: int
    removed: int

    @property
    def is_compact(self) -> bool:
        """Whether there is nothing to compact."""
        return self.segments <= 1 and not self.removed


@runtime_checkable
class CompactingRetriever(Retriever, Protocol):
    """A retriever with the capability `compact`."""

    def compact(self, *, join: bool = False) -> bool:
        """Leave out removed rows in the next `save`; it answers as before.

        Args:
            join: write all segments of an index as one, too, where that is possible.

        Returns:
            Whether nothing of removed rows will be left.
        """
        ...

    @classmethod
    def saved_fragments(cls, folder: Path, config: Any) -> Fragments:
        """Return what is in the files that `save` or `merge` wrote, without loading them."""
        ...
