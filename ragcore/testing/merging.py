"""Laws of retrievers that merge saved ones into one (capability `merge`)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from ragcore.contracts import SavedRetriever
from ragcore.testing.data import World
from ragcore.testing.search_suite import SearchSuite
from ragcore.testing.storing import digests_of

__all__ = ["MergeLaws"]

_SHARES: Final = (0, 0.5, 0.75, 1)
"""Where the parts begin and end; each may have to train an index."""


class MergeLaws(SearchSuite):
    """Test `merge`: parts of a memory, each built alone, become one."""

    def test_merged_parts_answer_as_one(self, component: Any, tmp_path: Path) -> None:
        """Merged, saved parts answer as one retriever of all passages (capability `merge`).

        Row r of a part is row `first + r`; with a filter as well, and after a removal.

        Fix: add `first` to the rows of each part, and compute again what depends on all passages.
        """
        world, merged = self._merged(component, tmp_path)
        assert len(merged) == len(world), f"it has {len(merged)} rows of {len(world)}"
        self.same_as_built(component, merged, world, "merged from three parts")
        if "filter" in merged.capabilities:
            allowed = world.rows[:: self.count // 10]
            hits = self.search(merged, allowed=allowed)
            rows = set(hits.rows[hits.rows >= 0].tolist())
            assert rows <= set(allowed.tolist()), f"a filter of {allowed} let {rows} through"
        if "remove" in merged.capabilities:
            merged.remove(world.rows[1::2])
            self.same_as_built(
                component, merged, world.take(slice(None, None, 2)), "half of it removed"
            )

    def test_an_index_trained_before_answers_as_any(self, component: Any, tmp_path: Path) -> None:
        """With a training that was made before, it finds as much as without (`index_training`).

        Fix: write the index without vectors, and let new ones begin as copies of it.
        """
        world = self._numbered()
        subject = self.empty(component)
        self.needs(subject, "index_training")
        assert subject.training_size > 0, f"its training_size is {subject.training_size}"
        folder = tmp_path / "training"
        folder.mkdir()
        subject.train_index(world.items, folder)
        assert not len(subject), f"the sample became {len(subject)} rows"
        third = self.count // 3
        for parts in ([slice(0, None)], [slice(0, third), slice(third, None)]):
            trained = self.empty(component)
            trained.use_training(folder)
            for part in parts:
                trained.add(*world.take(part).pair)
            assert len(trained) == len(world), f"it has {len(trained)} rows of {len(world)}"
            self.same_as_built(component, trained, world, "with a training made before")

    def test_merging_changes_no_part(self, component: Any, tmp_path: Path) -> None:
        """The files of the parts stay as they are, and they may be deleted later (`merge`).

        Fix: open files of parts for reading, and share them by hard links or copies.
        """
        parts = self._parts(component, self._numbered(), tmp_path)
        before = [digests_of(part.folder) for part in parts]
        folder = tmp_path / "merged"
        folder.mkdir()
        self.empty(component).merge(parts, folder)
        assert [digests_of(part.folder) for part in parts] == before, "a part was changed"
        for part in parts:
            part.folder.rename(part.folder.with_name(f"{part.folder.name}-elsewhere"))
        self.search(self.load(component, folder))

    def _numbered(self) -> World:
        """Return a world whose rows are 0, 1, …, as those of a memory."""
        return World(np.arange(self.count, dtype=np.int64), self.items(self.count, seed=1))

    def _parts(self, component: Any, world: World, folder: Path) -> list[SavedRetriever]:
        """Build and save parts of a world."""
        self.needs(self.empty(component), "merge")
        parts = []
        bounds = [round(share * self.count) for share in _SHARES]
        for start, stop in pairwise(bounds):
            items = world.take(slice(start, stop)).items
            part = self.filled(component, World(np.arange(stop - start, dtype=np.int64), items))
            saved = self.saved(part, folder / f"from-{start}")
            parts.append(SavedRetriever(saved, start, stop - start))
        return parts

    def _merged(self, component: Any, tmp_path: Path) -> tuple[World, Any]:
        """Return a world, and what was merged from its parts and loaded."""
        world = self._numbered()
        parts = self._parts(component, world, tmp_path)
        folder = tmp_path / "merged"
        folder.mkdir()
        self.empty(component).merge(parts, folder)
        return world, self.load(component, folder)
