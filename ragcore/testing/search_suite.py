"""The base of the suites for indexes and retrievers: rows, items, and questions about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ragcore.registry.components import ComponentSpec
from ragcore.testing.data import World, rows
from ragcore.testing.hits import agree
from ragcore.testing.suite import Suite
from ragcore.types import Hits

__all__ = ["SearchSuite"]


class SearchSuite(Suite):
    """Share the data of `IndexSuite` and `RetrieverSuite`, which define items and questions.

    Attributes:
        count: how many items the laws add. A component that must be trained may need more.
        k: how many hits the laws ask for; less than half of `count`.
        recall: the share of the correct hits that must be found: of the `k` best by an index that
            does not declare `exact`, of first hits by a retriever that searches for a passage's own
            text.
        wide: how many items the laws of many rows add, in several calls.
        sequences: how many random sequences of operations are tried; fewer where each operation
            takes seconds, as in a database.
    """

    count: ClassVar[int] = 40
    wide: ClassVar[int] = 1_320
    k: ClassVar[int] = 10
    sequences: ClassVar[int] = 15
    recall: ClassVar[float] = 0.9

    def empty(self, component: Any) -> Any:
        """Return a component without rows."""
        raise NotImplementedError

    def items(self, count: int, seed: int) -> Any:
        """Return vectors [n, d], or n passages, without ties."""
        raise NotImplementedError

    def tying(self, count: int) -> Any:
        """Return items of which many score the same."""
        raise NotImplementedError

    def questions(self) -> Any:
        """Return B questions, at least 5, with different answers."""
        raise NotImplementedError

    def many_questions(self, count: int) -> Any:
        """Return so many questions about the items of seed 1, some of them twice."""
        raise NotImplementedError

    def asking(self, items: Any) -> Any:
        """Return for each item a question to which hardly any other is a better answer."""
        raise NotImplementedError

    def exchanged(self, items: Any) -> Any:
        """Return items in which each has the content of the next, but its own id if it has one."""
        raise NotImplementedError

    def renamed(self, items: Any) -> Any:
        """Return the same items under other ids, if they have any."""
        return items

    def varied(self, component: Any) -> list[tuple[Mapping[str, Any], ComponentSpec[Any]]]:
        """Return settings that saved files depend on, each with the spec that has them."""
        return []

    def world(self) -> World:
        """Return the rows and items that most laws add."""
        return World(rows(self.count), self.items(self.count, seed=1))

    def filled(self, component: Any, world: World) -> Any:
        """Return a component that contains a world."""
        subject = self.empty(component)
        subject.add(world.rows, world.items)
        return subject

    def search(self, subject: Any, k: int | None = None, **options: Any) -> Hits:
        """Search a component for `questions()`."""
        hits: Hits = subject.search(self.questions(), self.k if k is None else k, **options)
        return hits

    def same_as_built(self, component: Any, subject: Any, world: World, what: str) -> None:
        """Check that a component contains a world, by building another that does.

        Only one that declares `exact` must give the same hits; of others two builds may differ, but
        find the items by their own content about equally often.
        """
        built = self.filled(component, world)
        if "exact" in subject.capabilities:
            agree(self.search(subject), self.search(built), what)
            return
        share, enough = self._own(subject, world), 3 / 4 * self._own(built, world)
        assert share >= enough, (
            f"{what}: {share:.0%} of items are found by their own content, below {enough:.0%}"
        )

    def _own(self, subject: Any, world: World) -> float:
        """Return the share of items that a question about each finds."""
        hits = subject.search(self.asking(world.items), self.k)
        return float(np.mean((hits.rows == world.rows[:, None]).any(axis=1)))

    def saved(self, subject: Any, folder: Path) -> Path:
        """Save a component into a new folder, and return the folder."""
        folder.mkdir()
        subject.save(folder)
        return folder

    def exercise(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Build a component in two steps, search it, change it, save it, and search what is left.

        Returns:
            Rows [B, k] and scores of the searches, by name; the last is of what was saved.
        """
        world = self.world()
        subject = self.empty(component)
        searches: dict[str, Hits] = {}
        for part in (slice(0, self.count // 2), slice(self.count // 2, self.count)):
            subject.add(*world.take(part).pair)
        searches["whole"] = self.search(subject)
        if "filter" in subject.capabilities:
            searches["filtered"] = self.search(subject, allowed=world.rows[::3])
        if "remove" in subject.capabilities:
            subject.remove(world.rows[:2])
        subject.save(folder)
        searches["saved"] = self.search(self.load(component, folder))
        return _arrays(searches)

    def revisit(self, component: Any, folder: Path) -> Mapping[str, Any]:
        """Load what `exercise` saved, and search it."""
        return _arrays({"saved": self.search(self.load(component, folder))})

    def load(self, component: Any, folder: Path, *, mmap: bool = True) -> Any:
        """Load a saved component as a store does."""
        spec = self.spec(component)
        return spec.component.load(folder, spec.config, mmap=mmap)


def _arrays(searches: Mapping[str, Hits]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name, hits in searches.items():
        arrays |= {f"{name}_rows": hits.rows, f"{name}_scores": hits.scores}
    return arrays
