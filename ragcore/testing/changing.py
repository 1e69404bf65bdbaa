"""Laws of adding and removing, for indexes and retrievers alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from ragcore.testing.data import World
from ragcore.testing.hits import agree, identical, well_formed
from ragcore.testing.search_suite import SearchSuite

__all__ = ["ChangeLaws"]


class ChangeLaws(SearchSuite):
    """Test `add`, `remove` and `len`; laws of `remove` apply where it is declared."""

    def test_length_is_the_number_of_rows(self, component: Any) -> None:
        """`len` is the number of rows that can be found.

        Fix: count each row added and each row removed, before a first search and after it.
        """
        world = self.world()
        subject = self.empty(component)
        subject.add(world.rows[:0], world.take(slice(0, 0)).items)
        assert len(subject) == 0, f"after adding nothing its length is {len(subject)}"
        for start in range(0, self.count, self.count // 2):
            batch = world.take(slice(start, start + self.count // 2))
            subject.add(batch.rows, batch.items)
        assert len(subject) == self.count, (
            f"{self.count} rows were added, but its length is {len(subject)}"
        )
        self.search(subject)
        assert len(subject) == self.count, "a search changed its length"

    def test_adding_in_batches_equals_adding_together(self, component: Any) -> None:
        """Items added in several calls score as if added in one (capability `exact`).

        Fix: recompute what depends on all items, such as statistics, after each `add`.
        """
        world = self.world()
        subject = self.empty(component)
        self.needs(self.filled(component, world), "exact")
        for start in range(0, self.count, 7):
            batch = world.take(slice(start, start + 7))
            subject.add(batch.rows, batch.items)
        expected = self.search(self.filled(component, world))
        agree(self.search(subject), expected, "added in batches and together")

    def test_additions_between_searches_are_found(self, component: Any) -> None:
        """An item added after a search is found by the next (capabilities `add`, `exact`).

        Fix: drop whatever earlier searches cached when something is added.
        """
        world = self.world()
        # The questions ask for the items that are added later.
        subject = self.filled(component, world.take(slice(self.count // 2, self.count)))
        self.needs(subject, "add")
        self.needs(subject, "exact")
        self.search(subject)
        rest = world.take(slice(0, self.count // 2))
        subject.add(rest.rows, rest.items)
        expected = self.search(self.filled(component, world))
        agree(self.search(subject), expected, "added after a search")

    def test_add_does_not_change_its_arguments(self, component: Any) -> None:
        """`add` changes neither the rows nor the items that it receives.

        Fix: copy before you normalise or sort in place.
        """
        world, before = self.world(), self.world()
        self.search(self.filled(component, world))
        assert np.array_equal(world.rows, before.rows), "add changed the rows that it received"
        assert np.array_equal(world.items, before.items), "add changed the items that it received"

    def test_add_copies_its_arguments(self, component: Any) -> None:
        """The caller may reuse its arrays and lists after `add`.

        Fix: store `np.array(vectors, np.float32)`, which copies; `np.asarray` does not.
        """
        world = self.world().copy()
        subject = self.filled(component, world)
        world.rows[:] = world.rows[::-1].copy()
        if isinstance(world.items, np.ndarray):
            world.items[:] = 0
        else:
            world.items.reverse()
        what = "once the caller reused its arrays"
        self.same_as_built(component, subject, self.world(), what)

    def test_adding_an_existing_row_is_refused(self, component: Any) -> None:
        """Adding a row a second time is an error, and the failed call adds nothing.

        Fix: before changing anything, compare the new rows with the existing ones and with each
        other; raise `ComponentError`.
        """
        world = self.world()
        most = world.take(slice(0, self.count - 1))
        subject = self.filled(component, most)
        before = self.search(subject)
        new, old = int(world.rows[-1]), int(world.rows[0])
        two = world.take([self.count - 1, 0])
        for wrong in ([new, old], [new, new]):
            self.must_fail(
                f"adding rows {wrong}, where {old} exists already,",
                lambda wrong=wrong: subject.add(np.array(wrong, np.int64), two.items),  # type: ignore[misc]
            )
        assert len(subject) == self.count - 1, "rows of a failed add count towards the length"
        identical(self.search(subject), before, "before and after a refused add")

    def test_rows_and_items_must_match_in_number(self, component: Any) -> None:
        """Adding five rows with four items is an error.

        Fix: compare the lengths first; raise `ComponentError`.
        """
        world = self.world()
        self.must_fail(
            "adding 5 rows with 4 items",
            lambda: self.empty(component).add(world.rows[:5], world.take(slice(0, 4)).items),
        )

    def test_removed_rows_leave_no_trace(self, component: Any) -> None:
        """After `remove` it answers as if the rows had never been added (capability `remove`).

        Fix: delete the rows and everything computed from them.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "remove")
        self.search(subject)
        removed, left = world.take(slice(0, self.count, 3)), np.arange(self.count) % 3 > 0
        subject.remove(removed.rows)
        rest = world.take(np.flatnonzero(left))
        assert len(subject) == len(rest), (
            f"{len(rest)} rows are left, but its length is {len(subject)}"
        )
        for _ in range(2):  # Some implementations hide removed rows from the first search alone.
            hits = self.search(subject, self.count)
            well_formed(hits, len(self.questions()), self.count, rest.rows)
            if "exact" in subject.capabilities:
                agree(
                    hits, self.search(self.filled(component, rest), self.count), "after a removal"
                )

    def test_a_removed_row_can_be_added_again(self, component: Any) -> None:
        """A row removed and added again stands for the new item (capability `remove`).

        Fix: clear the row's removal mark, and whatever earlier searches cached, when the row is
        added.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "remove")
        self.needs(subject, "add")
        swapped = World(world.rows[:2], world.take([1, 0]).items)
        self.search(subject)
        subject.remove(swapped.rows)
        subject.add(swapped.rows, swapped.items)
        assert len(subject) == self.count, f"of {self.count} rows, its length is {len(subject)}"
        hits = self.search(subject)
        well_formed(hits, len(self.questions()), self.k, world.rows)
        if "exact" in subject.capabilities:
            rest = world.take(slice(2, self.count))
            fresh = self.filled(component, rest)
            fresh.add(swapped.rows, swapped.items)
            agree(hits, self.search(fresh), "removed and added again")

    def test_all_rows_can_be_removed(self, component: Any) -> None:
        """With all rows removed, a search finds nothing and raises no error (capability `remove`).

        Fix: handle empty arrays where you take a maximum, concatenate or divide.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "remove")
        subject.remove(world.rows)
        assert len(subject) == 0, f"all rows are removed, but its length is {len(subject)}"
        well_formed(self.search(subject), len(self.questions()), self.k, world.rows[:0])

    def test_an_unknown_row_cannot_be_removed(self, component: Any) -> None:
        """Removing an unknown row is an error and removes nothing (capability `remove`).

        Fix: look up all rows before you remove the first; raise `ComponentError`.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "remove")
        before = self.search(subject)
        wrong = np.array([world.rows[0], 10**6], np.int64)
        self.must_fail("removing an unknown row", lambda: subject.remove(wrong))
        assert len(subject) == self.count, "a failed removal removed something"
        identical(self.search(subject), before, "before and after a refused removal")

    def test_undeclared_remove_is_refused(self, component: Any) -> None:
        """Without the capability `remove`, `remove` raises `UnsupportedOperation`.

        Fix: `raise UnsupportedOperation.of("index 'name'", "remove")` before anything is changed.
        """
        subject = self.filled(component, self.world())
        self.lacks(subject, "remove")
        removed = self.world().rows[:2]
        self.must_refuse(component, "remove(…)", lambda: subject.remove(removed))
        assert len(subject) == self.count, "remove raised an error, but removed rows"
