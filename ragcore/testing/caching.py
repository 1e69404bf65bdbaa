"""Laws against wrong caches and shared state, for indexes and retrievers alike.

A cache is wrong where its key leaves out something on which the result depends: the filter, k, the
content of a list that the caller changed, or the item that a row or an id stands for now.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import numpy as np

from ragcore.testing.data import World
from ragcore.testing.hits import agree, identical, well_formed
from ragcore.testing.search_suite import SearchSuite
from ragcore.testing.storing import eager_threads
from ragcore.types import MISSING_ROW, Hits

__all__ = ["CacheLaws"]

_SHIFT: Final = 10**6
_ROUNDS: Final = 25


class CacheLaws(SearchSuite):
    """Test that a result depends on the arguments and on what was added, and on nothing else."""

    def test_hits_are_not_cached_without_the_filter(self, component: Any, tmp_path: Path) -> None:
        """Without `allowed`, with it, with another, and without again: each finds its own.

        The second filter comes in the same array. Capability `filter`.

        Fix: make `allowed.tobytes()` part of the key of a cache; `id` and `len` are not enough.
        """
        world = self.world()
        folder = self.saved(self.filled(component, world), tmp_path / "saved")
        subject = self.load(component, folder)
        self.needs(subject, "filter")
        half = self.count // 2
        allowed = world.rows[:half].copy()
        for filtering, chosen in (
            (False, None),
            (True, world.rows[:half]),
            (True, world.rows[half : 2 * half]),
            (False, None),
            (True, world.rows[1 : half + 1]),
        ):
            if chosen is not None:
                allowed[:] = chosen
            options: dict[str, Any] = {"allowed": allowed} if filtering else {}
            hits = self.search(subject, **options)
            fresh = self.search(self.load(component, folder), **options)
            identical(hits, fresh, f"{'with' if filtering else 'without'} `allowed`, and freshly")

    def test_hits_are_not_cached_by_the_list_of_questions(
        self, component: Any, tmp_path: Path
    ) -> None:
        """A list of questions that the caller changes and passes again finds other hits.

        Fix: key a cache by the questions themselves and k; keep no reference to an argument.
        """
        folder = self.saved(self.filled(component, self.world()), tmp_path / "saved")
        subject = self.load(component, folder)
        questions, last = self.questions(), self.questions()[::-1]
        for k in (self.k, 3, self.k + 1):
            subject.search(questions, k)
            questions[:] = last
            hits = subject.search(questions, k)
            fresh = self.load(component, folder).search(last, k)
            identical(hits, fresh, f"the same list with other questions, k = {k}, and freshly")
            questions[:] = self.questions()

    def test_the_same_row_may_stand_for_another_item(self, component: Any, tmp_path: Path) -> None:
        """A row and an id whose text or vector changes stands for the new one alone.

        `ragcore memory update` does this, and the old version stays open while the new one is used.

        Fix: key nothing by row or passage id that outlives the object, such as a cache in the class
        or module; drop what is cached for a row when it is removed.
        """
        old = self.world()
        new = World(old.rows, self.exchanged(old.items))
        first = self.load(component, self.saved(self.filled(component, old), tmp_path / "old"))
        before = self.search(first)
        second = self._updated(component, tmp_path / "old", new)
        opened = self.load(component, self.saved(second, tmp_path / "new"))
        renamed = World(old.rows + _SHIFT, self.renamed(new.items))
        for subject, what in ((second, "changed"), (opened, "changed, saved and loaded")):
            hits = self.search(subject)
            well_formed(hits, len(self.questions()), self.k, new.rows)
            assert not np.array_equal(hits.rows, before.rows), (
                f"{what}, rows answer with their former items"
            )
            if "exact" in subject.capabilities:
                expected = self.search(self.filled(component, renamed))
                agree(hits, _shifted(expected), f"{what}, and under new rows and ids")
        identical(self.search(first), before, "the old version while the new one is open")

    def test_arguments_are_not_kept(self, component: Any, tmp_path: Path) -> None:
        """What is passed to `add`, `remove` and `search` may be cleared afterwards.

        Fix: copy what you store: `np.array(rows, np.int64)`, `list(passages)`.
        """
        world, expected = self.world(), self.filled(component, self.world())
        subject = self.empty(component)
        for part in (slice(0, self.count // 2), slice(self.count // 2, self.count)):
            batch = world.take(part).copy()
            subject.add(*batch.pair)
            _clear(batch.rows)
            _clear(batch.items)
        if "remove" in subject.capabilities:
            removed = world.rows[:5].copy()
            subject.remove(removed)
            expected.remove(world.rows[:5])
            _clear(removed)
        questions = self.questions()
        subject.search(questions, self.k)
        _clear(questions)
        if "filter" in subject.capabilities:
            allowed = world.rows[:7].copy()
            self.search(subject, allowed=allowed)
            _clear(allowed)
        assert len(subject) == len(expected), (
            f"its length is {len(subject)}, not {len(expected)}, once the arguments are cleared"
        )
        hits = self.search(subject)
        if "exact" in subject.capabilities:
            agree(hits, self.search(expected), "once the arguments are cleared")
        loaded = self.load(component, self.saved(subject, tmp_path / "saved"))
        identical(self.search(loaded), hits, "saved once the arguments are cleared")

    def test_any_sequence_or_view_is_accepted(self, component: Any) -> None:
        """Tuples do as well as lists, and views and read-only arrays as well as new ones.

        Fix: use what every `Sequence` has; `np.ascontiguousarray` before a C++ library.
        """
        world = self.world()
        subject = self.empty(component)
        subject.add(_view(world.rows), _view(world.items))
        self.same_as_built(component, subject, world, "added as views or tuples")
        questions = _view(self.questions())
        hits = subject.search(questions, self.k)
        agree(hits, self.search(subject), "questions as a view or a tuple")
        if "filter" in subject.capabilities:
            hits = subject.search(questions, self.k, allowed=_view(world.rows[:7]))
            agree(hits, self.search(subject, allowed=world.rows[:7]), "with a view as a filter")
        if "remove" in subject.capabilities:
            subject.remove(_view(world.rows[:7]))
            assert len(subject) == self.count - 7, "a view of rows was not removed"

    def test_threads_do_not_mix_their_filters(self, component: Any) -> None:
        """Searches at once, with different filters, k and questions, each find their own.

        Fix: pass the filter and k on as arguments; store neither in the object. Capability
        `filter`.
        """
        world = self.world()
        subject = self.filled(component, world)
        self.needs(subject, "filter")
        filters = [world.rows[start::4] for start in range(4)]
        depths = [self.k, 3, self.k + 2, 5]
        expected = [
            self.search(subject, k, allowed=allowed)
            for k, allowed in zip(depths, filters, strict=True)
        ]
        barrier = Barrier(len(filters))

        def ask(number: int) -> None:
            barrier.wait()
            for _ in range(_ROUNDS):
                hits = self.search(subject, depths[number], allowed=filters[number])
                assert np.array_equal(hits.rows, expected[number].rows), (
                    "a search with a filter finds something else while other threads search"
                )

        with eager_threads(), ThreadPoolExecutor(len(filters)) as pool:
            for job in [pool.submit(ask, number) for number in range(len(filters))]:
                job.result()

    def _updated(self, component: Any, folder: Path, new: World) -> Any:
        """Return a component of a new world: a former version, changed, if it can be."""
        subject = self.load(component, folder)
        if not {"add", "remove"} <= subject.capabilities:
            return self.filled(component, new)
        self.search(subject)
        subject.remove(new.rows)
        subject.add(*new.pair)
        return subject


def _clear(argument: Any) -> None:
    """Empty a list, or fill an array with zeros."""
    if isinstance(argument, np.ndarray):
        argument[:] = 0
    else:
        argument.clear()


def _view(argument: Any) -> Any:
    """Return a tuple of a list, or a read-only view, not contiguous, of a copy of an array."""
    if not isinstance(argument, np.ndarray):
        return tuple(argument)
    view = np.repeat(argument, 2, axis=0)[::2]
    view.flags.writeable = False
    return view


def _shifted(hits: Hits) -> Hits:
    rows = np.where(hits.rows == MISSING_ROW, MISSING_ROW, hits.rows - _SHIFT)
    return Hits(rows, hits.scores)
