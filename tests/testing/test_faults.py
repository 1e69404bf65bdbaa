"""The suites catch most of the wrong components in `faults/`; the others are listed by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testing.faults.marking import faults_of, shows
from tests.testing.faults.score import KINDS, SURVIVORS, score, survivors

pytestmark = [pytest.mark.contract, pytest.mark.filterwarnings("ignore")]
kinds = pytest.mark.parametrize("name", KINDS)


@kinds
def test_every_fault_shows(name: str) -> None:
    kind = KINDS[name]
    for fault in faults_of(kind):
        assert not shows(kind, kind.Correct, fault.shown_by), f"of the correct one: {fault}"
        assert shows(kind, fault, fault.shown_by) or fault.races, fault


@kinds
def test_the_correct_component_alone_survives(name: str) -> None:
    races = {fault.__name__ for fault in faults_of(KINDS[name]) if fault.races}
    # Fails, with the law and why, where the correct component breaks one.
    uncaught = set(survivors(name))
    assert uncaught - SURVIVORS[name] - races == set(), "no law catches these any more"
    assert SURVIVORS[name] - uncaught - races == set(), "caught now: remove them from SURVIVORS"


def test_the_score_is_published() -> None:
    page = Path(__file__).parents[2] / "docs/reference/testing.md"
    assert score(SURVIVORS) in page.read_text(encoding="utf-8").replace("\n", " ")
