"""The machine of sequences: hypothesis adds, removes, searches, saves and loads as it likes.

After each step what is held answers as one built anew from what should be there. Items tie often,
and their scores are exact, so that a slip shows as another row.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ragcore.testing.data import World, rows
from ragcore.testing.hits import agree, well_formed

if TYPE_CHECKING:
    from ragcore.testing.search_suite import SearchSuite

__all__ = ["run_machine"]

_PLACES = st.lists(st.integers(0, 23), min_size=1, max_size=6, unique=True)


def run_machine(suite: SearchSuite, component: Any, folder: Path) -> None:
    """Try sequences of steps on components of a suite; the shortest that fails is shown."""
    folders = (folder / str(number) for number in itertools.count())
    pool = World(rows(24), suite.tying(24))
    able = suite.built(component, pool).capabilities

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.made = suite.new(component)
            self.held: list[int] = []
            self.loaded = False

        @precondition(lambda self: "add" in able or not self.loaded)
        @rule(places=_PLACES)
        def add(self, places: list[int]) -> None:
            new = pool.take([at for at in places if at not in self.held])
            self.made.add(new.rows, new.items)
            self.held += [at for at in places if at not in self.held]

        @precondition(lambda self: "remove" in able and self.held)
        @rule(places=_PLACES)
        def remove(self, places: list[int]) -> None:
            gone = [at for at in places if at in self.held]
            self.made.remove(pool.take(gone).rows)
            self.held = [at for at in self.held if at not in gone]

        @precondition(lambda self: self.held)
        @rule(mmap=st.booleans())
        def save_and_load(self, mmap: bool) -> None:
            saved = suite.saved(self.made, next(folders))
            self.made = suite.load(component, saved, mmap=mmap)
            self.loaded = True

        @rule(k=st.integers(1, 26))
        def search(self, k: int) -> None:
            self._compare(k)

        @precondition(lambda _: "filter" in able)
        @rule(k=st.integers(1, 26), places=_PLACES)
        def search_among(self, k: int, places: list[int]) -> None:
            self._compare(k, allowed=pool.take(places).rows)

        def _compare(self, k: int, **options: Any) -> None:
            left = pool.take(sorted(self.held))
            assert len(self.made) == len(left), f"length {len(self.made)}, not {len(left)}"
            hits = suite.search(self.made, k, **options)
            may = np.intersect1d(left.rows, options.get("allowed", left.rows))
            well_formed(hits, len(suite.asked()), k, may)
            anew = suite.built(component, left)
            agree(hits, suite.search(anew, k, **options), "after these steps, and built anew")

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            database=None,
            # Explaining a failure runs it many times more; the steps say enough.
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
