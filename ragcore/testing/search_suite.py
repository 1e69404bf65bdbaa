"""What the laws of indexes and retrievers share: a world of rows and items, and questions to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ragcore.testing.data import World, rows
from ragcore.testing.suite import Suite
from ragcore.types import Hits

__all__ = ["SearchSuite"]


class SearchSuite(Suite):
    """See `IndexSuite` and `RetrieverSuite`, which say what items and questions are.

    Attributes:
        count: how many items the laws add. One that must be trained may need more.
        k: how many hits the laws ask for; less than half of `count`.
        recall: the share of the right hits that must be found; of `k` by an index that does not
            declare `exact`, of first hits by a retriever that is asked for a passage's own text.
    """

    count: ClassVar[int] = 40
    k: ClassVar[int] = 10
    recall: ClassVar[float] = 0.9

    def new(self, component: Any) -> Any:
        """A component that is empty."""
        raise NotImplementedError

    def items(self, count: int, seed: int) -> Any:
        """Vectors [n, d], or n passages, without ties."""
        raise NotImplementedError

    def tying(self, count: int) -> Any:
        """Items of which many score the same."""
        raise NotImplementedError

    def asked(self) -> Any:
        """B questions, at least 5, with different answers."""
        raise NotImplementedError

    def world(self) -> World:
        """The rows and items that most laws add."""
        return World(rows(self.count), self.items(self.count, seed=1))

    def built(self, component: Any, world: World) -> Any:
        """A component with a world in it."""
        made = self.new(component)
        made.add(world.rows, world.items)
        return made

    def search(self, made: Any, k: int | None = None, **options: Any) -> Hits:
        """What a component finds for `asked()`."""
        hits: Hits = made.search(self.asked(), self.k if k is None else k, **options)
        return hits

    def saved(self, made: Any, folder: Path) -> Path:
        """A new folder that a component was saved into."""
        folder.mkdir()
        made.save(folder)
        return folder

    def load(self, component: Any, folder: Path, *, mmap: bool = True) -> Any:
        """What was saved, as a store loads it."""
        part = self.part(component)
        return part.component.load(folder, part.config, mmap=mmap)
