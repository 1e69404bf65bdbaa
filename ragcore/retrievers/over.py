"""What retrievers over one other retriever share: all but what they add to it is passed on.

Owns the inner retriever, whose files are the only ones; knows nothing of scores (`rerank.py`) or
texts (`with_metadata.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, Self, TypeVar

from ragcore.contracts import (
    Fragments,
    PassageSource,
    Retriever,
    SavedRetriever,
    TextTokenizer,
    VectorCache,
)
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.members import (
    compact_members,
    cut_of,
    deepest_search,
    fragments_of_members,
    give_cache,
    give_passages,
    give_scratch,
    least_room,
    merge_member,
    require,
    trainers,
)
from ragcore.types import CutPassages, Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["OverRetriever"]


class _Config(Protocol):
    """A config that names the inner retriever."""

    @property
    def retriever(self) -> ComponentSpec[Retriever]:
        """The inner retriever."""
        ...


C = TypeVar("C", bound=_Config)


class OverRetriever(Generic[C]):
    """A `Retriever` without files of its own; a subclass declares what it can do, and searches.

    Attributes:
        NAME: under which the subclass is registered, for errors.
    """

    NAME: ClassVar[str]

    def __init__(self, config: C) -> None:
        self._config = config
        self._inner = config.retriever.build()

    @property
    def tokenizer(self) -> TextTokenizer:
        """The inner retriever's tokenizer; see `TokenizedRetriever`.

        Raises:
            UnsupportedOperation: it has none.
        """
        return least_room([self._inner], self.NAME)

    @property
    def cut_passages(self) -> Sequence[CutPassages]:
        """What was added and is longer than an encoder reads, an item for each such encoder."""
        return cut_of(self._inner)

    @property
    def deepest_search(self) -> int | None:
        """As many hits as the inner retriever finds at most; None for no limit."""
        return deepest_search(self._inner)

    def __len__(self) -> int:
        return len(self._inner)

    def use_cache(self, cache: VectorCache) -> None:
        """Let the inner retriever take vectors from this cache; see `CacheUser`."""
        give_cache(self._inner, cache)

    def use_passages(self, passages: PassageSource) -> None:
        """Pass the passages to the inner retriever, if it reads them."""
        give_passages(self._inner, passages)

    def use_scratch(self, folder: Path) -> int:
        """Let the inner retriever use a subfolder of this one; see `ScratchUser`."""
        return give_scratch(self._inner, folder / "retriever") or 0

    def add(self, rows: Rows, passages: Sequence[Passage]) -> None:
        """Add passages under rows [n] to the inner retriever."""
        self._inner.add(rows, passages)

    def remove(self, rows: Rows) -> None:
        """Remove rows from the inner retriever.

        Raises:
            UnsupportedOperation: the inner retriever has no capability `remove`.
        """
        require(self._config.retriever.use, self._inner, "remove", self.NAME)
        self._inner.remove(rows)

    def save(self, folder: Path) -> None:
        """Write the inner retriever's files, and nothing else."""
        self._inner.save(folder)

    def compact(self, *, join: bool = False) -> bool:
        """Compact the inner retriever; see `CompactingRetriever`."""
        return compact_members([self._inner], join=join)

    @classmethod
    def files_in(cls, folder: Path) -> Path:
        """Return the folder with the inner retriever's files, of one that `save` wrote into."""
        return folder

    @classmethod
    def saved_fragments(cls, folder: Path, config: C) -> Fragments:
        """Return those of the inner retriever; see `CompactingRetriever`."""
        return fragments_of_members([config.retriever], [cls.files_in(folder)])

    @property
    def training_size(self) -> int:
        """The largest of its inner retriever; see `IndexTrainer`."""
        return max(each.training_size for each in trainers([self._inner]).values())

    def train_index(self, passages: Sequence[Passage], folder: Path) -> None:
        """Train the index of its inner retriever, in a folder of its own; see `IndexTrainer`."""
        for number, member in trainers([self._inner]).items():
            (folder / str(number)).mkdir()
            member.train_index(passages, folder / str(number))

    def use_training(self, folder: Path) -> None:
        """Give the training to its inner retriever; see `IndexTrainer`.

        Raises:
            MemoryMismatchError: another retriever wrote it.
        """
        for number, member in trainers([self._inner]).items():
            member.use_training(folder / str(number))

    def merge(self, parts: Sequence[SavedRetriever], folder: Path) -> None:
        """Write saved retrievers as one by the inner retriever; see `MergingRetriever`.

        Raises:
            UnsupportedOperation: the inner retriever has no capability `merge`.
        """
        merge_member(self._config.retriever.use, self._inner, self.NAME, parts, folder)

    @classmethod
    def load(cls, folder: Path, config: C, *, mmap: bool = True) -> Self:
        """Load what `save`, or the inner retriever alone, wrote.

        Raises:
            MemoryMismatchError: another retriever wrote it.
            StoreCorruptError: a file is missing or broken.
        """
        loaded = cls(config)
        loaded._inner = config.retriever.load(cls.files_in(folder), mmap=mmap)
        return loaded
