"""The law of sequences, for indexes and retrievers alike; `machine.py` tries them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ragcore.testing.search_suite import SearchSuite

__all__ = ["SequenceLaws"]


class SequenceLaws(SearchSuite):
    """Any operations in any order."""

    def test_any_sequence_of_changes_answers_as_a_rebuild(
        self, component: Any, tmp_path: Path
    ) -> None:
        """Add, remove, search, save, load, in any order: it answers as one built from what is left.

        Needs the capability `exact`. To mend: the steps that lead there are printed; repeat them.
        """
        from ragcore.testing.machine import run_machine

        self.needs(self.built(component, self.world()), "exact")
        run_machine(self, component, tmp_path)
