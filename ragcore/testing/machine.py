"""Random sequences of operations: hypothesis adds, removes, searches, saves and loads.

After each step the component must answer like one built from the items that are left. Items tie
often, and their scores are exact, so that a mistake shows as another row.
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

_POSITIONS = st.lists(st.integers(0, 23), min_size=1, max_size=6, unique=True)


def run_machine(suite: SearchSuite, component: Any, folder: Path) -> None:
    """Try sequences of operations on a suite's component; the shortest that fails is shown."""
    folders = (folder / str(number) for number in itertools.count())
    pool = World(rows(24), suite.tying(24))
    capabilities = suite.filled(component, pool).capabilities

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.subject = suite.empty(component)
            self.present: list[int] = []
            self.loaded = False

        @precondition(lambda self: "add" in capabilities or not self.loaded)
        @rule(positions=_POSITIONS)
        def add(self, positions: list[int]) -> None:
            new = pool.take([position for position in positions if position not in self.present])
            self.subject.add(new.rows, new.items)
            self.present += [position for position in positions if position not in self.present]

        @precondition(lambda self: "remove" in capabilities and self.present)
        @rule(positions=_POSITIONS)
        def remove(self, positions: list[int]) -> None:
            removed = [position for position in positions if position in self.present]
            self.subject.remove(pool.take(removed).rows)
            self.present = [position for position in self.present if position not in removed]

        @precondition(lambda self: self.present)
        @rule(mmap=st.booleans())
        def save_and_load(self, mmap: bool) -> None:
            saved = suite.saved(self.subject, next(folders))
            self.subject = suite.load(component, saved, mmap=mmap)
            self.loaded = True

        @rule(k=st.integers(1, 26))
        def search(self, k: int) -> None:
            self._compare(k)

        @precondition(lambda _: "filter" in capabilities)
        @rule(k=st.integers(1, 26), positions=_POSITIONS)
        def search_among(self, k: int, positions: list[int]) -> None:
            self._compare(k, allowed=pool.take(positions).rows)

        def _compare(self, k: int, **options: Any) -> None:
            left = pool.take(sorted(self.present))
            assert len(self.subject) == len(left), f"length {len(self.subject)}, not {len(left)}"
            hits = suite.search(self.subject, k, **options)
            may = np.intersect1d(left.rows, options.get("allowed", left.rows))
            well_formed(hits, len(suite.questions()), k, may)
            rebuilt = suite.filled(component, left)
            agree(hits, suite.search(rebuilt, k, **options), "after these steps, and rebuilt")

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=suite.sequences,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            database=None,
            # Phase.explain runs a failure many times more, and the steps explain it well enough.
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
