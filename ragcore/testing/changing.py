"""Laws of adding and removing, for indexes and retrievers alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from ragcore.testing.data import World
from ragcore.testing.hits import agree, identical, well_formed
from ragcore.testing.search_suite import SearchSuite

__all__ = ["ChangeLaws"]


class ChangeLaws(SearchSuite):
    """What `add`, `remove` and `len` do. Those of `remove` apply where it is declared."""

    def test_it_counts_its_rows(self, component: Any) -> None:
        """`len` is the number of rows that can be found.

        To mend: count what is added and what is removed, before a first search and after it.
        """
        world = self.world()
        made = self.new(component)
        made.add(world.rows[:0], world.take(slice(0, 0)).items)
        assert len(made) == 0, f"after adding nothing it has length {len(made)}"
        for start in range(0, self.count, self.count // 2):
            part = world.take(slice(start, start + self.count // 2))
            made.add(part.rows, part.items)
        assert len(made) == self.count, f"{self.count} rows were added, but its length {len(made)}"
        self.search(made)
        assert len(made) == self.count, "a search changed its length"

    def test_batches_answer_as_one(self, component: Any) -> None:
        """Added in several calls, items are found as if added in one (capability `exact`).

        To mend: what is computed over all items, such as statistics, is stale after another `add`.
        """
        world = self.world()
        made = self.new(component)
        self.needs(self.built(component, world), "exact")
        for start in range(0, self.count, 7):
            part = world.take(slice(start, start + 7))
            made.add(part.rows, part.items)
        expected = self.search(self.built(component, world))
        agree(self.search(made), expected, "added in batches and at once")

    def test_adding_between_searches_is_seen(self, component: Any) -> None:
        """What is added after a search is found by the next (capabilities `add` and `exact`).

        To mend: drop what you keep of earlier searches when something is added.
        """
        world = self.world()
        # The questions ask for what comes later.
        made = self.built(component, world.take(slice(self.count // 2, self.count)))
        self.needs(made, "add")
        self.needs(made, "exact")
        self.search(made)
        rest = world.take(slice(0, self.count // 2))
        made.add(rest.rows, rest.items)
        agree(self.search(made), self.search(self.built(component, world)), "added after a search")

    def test_what_is_added_is_left_alone(self, component: Any) -> None:
        """`add` changes neither the rows nor the items that it is given.

        To mend: copy before you normalise or sort in place.
        """
        world, before = self.world(), self.world()
        self.search(self.built(component, world))
        assert np.array_equal(world.rows, before.rows), "add changed the rows handed in"
        assert np.array_equal(world.items, before.items), "add changed the items handed in"

    def test_what_is_added_is_copied(self, component: Any) -> None:
        """The caller may use its arrays and lists for something else afterwards.

        To mend: keep `np.array(vectors, np.float32)`, which copies; `np.asarray` does not.
        """
        world = self.world().copy()
        made = self.built(component, world)
        world.rows[:] = world.rows[::-1].copy()
        if isinstance(world.items, np.ndarray):
            world.items[:] = 0
        else:
            world.items.reverse()
        expected = self.search(self.built(component, self.world()))
        identical(self.search(made), expected, "before and after the caller reused its arrays")

    def test_a_row_that_is_there_is_refused(self, component: Any) -> None:
        """Adding a row again is an error, and the call that did it adds nothing.

        To mend: compare the rows with those that are there, and with each other, before anything
        is changed; raise `ComponentError`.
        """
        world = self.world()
        most = world.take(slice(0, self.count - 1))
        made = self.built(component, most)
        before = self.search(made)
        new, old = int(world.rows[-1]), int(world.rows[0])
        two = world.take([self.count - 1, 0])
        for wrong in ([new, old], [new, new]):
            self.must_fail(
                f"adding rows {wrong}, of which {old} is there,",
                lambda wrong=wrong: made.add(np.array(wrong, np.int64), two.items),  # type: ignore[misc]
            )
        assert len(made) == self.count - 1, "what failed to be added counts"
        identical(self.search(made), before, "before and after an add that was refused")

    def test_rows_and_items_must_be_as_many(self, component: Any) -> None:
        """Five rows with four items are an error.

        To mend: compare the lengths first; raise `ComponentError`.
        """
        world = self.world()
        self.must_fail(
            "adding 5 rows with 4 items",
            lambda: self.new(component).add(world.rows[:5], world.take(slice(0, 4)).items),
        )

    def test_removed_is_as_never_added(self, component: Any) -> None:
        """After `remove` it answers as one that never had the rows (capability `remove`).

        To mend: forget the rows themselves and whatever was computed from them.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "remove")
        self.search(made)
        gone, kept = world.take(slice(0, self.count, 3)), np.arange(self.count) % 3 > 0
        made.remove(gone.rows)
        rest = world.take(np.flatnonzero(kept))
        assert len(made) == len(rest), f"{len(rest)} rows are left, but its length is {len(made)}"
        for _ in range(2):  # Some hide what is removed from the first search alone.
            hits = self.search(made, self.count)
            well_formed(hits, len(self.asked()), self.count, rest.rows)
            if "exact" in made.capabilities:
                agree(hits, self.search(self.built(component, rest), self.count), "after a removal")

    def test_a_removed_row_can_be_added_again(self, component: Any) -> None:
        """Removed and added again, a row stands for what was added last (capability `remove`).

        To mend: a mark that a row is removed goes when the row is added; so does whatever is kept
        of earlier searches.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "remove")
        self.needs(made, "add")
        swapped = World(world.rows[:2], world.take([1, 0]).items)
        self.search(made)
        made.remove(swapped.rows)
        made.add(swapped.rows, swapped.items)
        assert len(made) == self.count, f"{self.count} rows are there, but its length {len(made)}"
        hits = self.search(made)
        well_formed(hits, len(self.asked()), self.k, world.rows)
        if "exact" in made.capabilities:
            rest = world.take(slice(2, self.count))
            fresh = self.built(component, rest)
            fresh.add(swapped.rows, swapped.items)
            agree(hits, self.search(fresh), "removed and added again")

    def test_all_rows_can_be_removed(self, component: Any) -> None:
        """Without rows it finds nothing, and is no error (capability `remove`).

        To mend: mind empty arrays where you take a maximum, concatenate or divide.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "remove")
        made.remove(world.rows)
        assert len(made) == 0, f"all is removed, but its length is {len(made)}"
        well_formed(self.search(made), len(self.asked()), self.k, world.rows[:0])

    def test_an_unknown_row_cannot_be_removed(self, component: Any) -> None:
        """Removing a row that is not there is an error and removes nothing (capability `remove`).

        To mend: look for all rows before you remove the first; raise `ComponentError`.
        """
        world = self.world()
        made = self.built(component, world)
        self.needs(made, "remove")
        before = self.search(made)
        wrong = np.array([world.rows[0], 10**6], np.int64)
        self.must_fail("removing a row that is not there", lambda: made.remove(wrong))
        assert len(made) == self.count, "a removal that failed removed something"
        identical(self.search(made), before, "before and after a removal that was refused")

    def test_a_removal_that_is_not_declared_is_refused(self, component: Any) -> None:
        """Without the capability `remove`, `remove` raises `UnsupportedOperation`.

        To mend: `raise UnsupportedOperation.of("index 'name'", "remove")`, before anything is done.
        """
        made = self.built(component, self.world())
        self.lacks(made, "remove")
        gone = self.world().rows[:2]
        self.must_refuse(component, "remove(…)", lambda: made.remove(gone))
        assert len(made) == self.count, "remove refused, and removed all the same"
