"""Laws of states that are rare in tests, for indexes and retrievers alike.

A component may be empty when it is saved, be built with a scratch folder, have one item replaced
by another, or be searched by threads at once when it is large.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any, Final

from ragcore.testing.data import World, rows
from ragcore.testing.hits import agree, identical, well_formed
from ragcore.testing.search_suite import SearchSuite
from ragcore.testing.threads import at_once

__all__ = ["StateLaws"]

_THREADS: Final = 4


class StateLaws(SearchSuite):
    """Test a component where it is empty, built with scratch files, changed, or large."""

    def test_a_replaced_item_counts_at_once(self, component: Any) -> None:
        """One row removed and another added, the next search counts both changes.

        The number of rows is then as it was. Capabilities `add`, `remove` and `exact`.

        Fix: count again what depends on all items after each change, not only where their number
        differs.
        """
        world = self.world()
        subject = self.filled(component, world)
        for capability in ("add", "remove", "exact"):
            self.needs(subject, capability)
        self.search(subject)
        # Its content is that of the first question's best item, so that more items have its words.
        new = World(world.rows[-1:] + self.count, self.renamed(world.take([0]).items))
        subject.remove(world.rows[-1:])
        subject.add(*new.pair)
        expected = self.filled(component, world.take(slice(0, self.count - 1)))
        expected.add(*new.pair)
        agree(self.search(subject), self.search(expected), "with one row in place of another")

    def test_an_empty_component_can_be_saved(self, component: Any, tmp_path: Path) -> None:
        """Saved and loaded while all rows are removed, it finds nothing, and can be added to.

        Capability `remove`; adding needs `add`.

        Fix: save what does not depend on the rows, such as the vectors' length, in any case.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "remove")
        subject.remove(world.rows)
        folder = self.saved(subject, tmp_path / "saved")
        for mmap in (True, False):
            loaded = self.load(component, folder, mmap=mmap)
            assert len(loaded) == 0, f"saved without rows, its length is {len(loaded)}"
            well_formed(self.search(loaded), len(self.questions()), self.k, world.rows[:0])
            if "add" not in loaded.capabilities:
                continue
            loaded.add(*world.pair)
            subject_again = self.load(component, folder, mmap=mmap)
            subject_again.add(*world.pair)
            hits = self.search(loaded)
            well_formed(hits, len(self.questions()), self.k, world.rows)
            identical(self.search(subject_again), hits, "added to twice after loading")
            if "exact" in loaded.capabilities:
                expected = self.search(self.filled(component, world))
                agree(hits, expected, "added to after it was saved without rows")

    def test_a_saved_folder_is_whole_by_itself(self, component: Any, tmp_path: Path) -> None:
        """A saved version has files of its own: no link leads out of its folder.

        Where the component uses a scratch folder (capability `scratch`), that is deleted before the
        version is loaded.

        Fix: copy a scratch file into the folder, or move it there; link to none.
        """
        world = self.world()
        subject, scratch = self.empty(component), tmp_path / "scratch"
        if "scratch" in subject.capabilities:
            scratch.mkdir()
            subject.use_scratch(scratch)
        subject.add(*world.pair)
        folder = self.saved(subject, tmp_path / "saved")
        expected = self.search(subject)
        links = [path.name for path in folder.rglob("*") if path.is_symlink()]
        assert not links, f"{links[0]} in the saved folder is a link"
        del subject
        shutil.rmtree(scratch, ignore_errors=True)
        identical(self.search(self.load(component, folder)), expected, "without its scratch folder")

    def test_threads_search_many_rows(self, component: Any) -> None:
        """Threads that search `wide` rows at once each find what they find alone.

        Large arrays take long enough for threads to meet, where they share one.

        Fix: make a new array in each search; keep no buffer in the object, class or module.
        """
        world = World(rows(self.wide), self.items(self.wide, seed=1))
        subject = self.filled(component, world)
        questions = self.many_questions(_THREADS)
        singles = [questions[number : number + 1] for number in range(_THREADS)]
        expected = [subject.search(single, self.k) for single in singles]

        def ask(number: int) -> None:
            hits = subject.search(singles[number], self.k)
            agree(hits, expected[number], "while other threads search")

        at_once([partial(ask, number) for number in range(_THREADS)])
