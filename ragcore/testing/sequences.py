"""The law of random sequences, for indexes and retrievers alike; `machine.py` runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ragcore.testing.search_suite import SearchSuite

__all__ = ["SequenceLaws"]


class SequenceLaws(SearchSuite):
    """Test operations in any order."""

    def test_any_sequence_of_changes_equals_a_rebuild(self, component: Any, tmp_path: Path) -> None:
        """After any sequence of operations it answers like one built from what is left.

        The operations are add, remove, search, save and load. Needs the capability `exact`.

        Fix: repeat the printed steps, which are the shortest that fail.
        """
        from ragcore.testing.machine import run_machine

        self.needs(self.filled(component, self.world()), "exact")
        run_machine(self, component, tmp_path)
