"""Test that a process killed at any call that changes a store leaves the old state or the new."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.killer import KILLER_MARKS, compiled_killer

ROOT = Path(__file__).parents[2]

pytestmark = KILLER_MARKS


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled_killer(tmp_path_factory.mktemp("killer"))


@pytest.mark.parametrize(
    ("operations", "states"),
    [
        # The versions as they were, with the new one, and with the new one as the current one.
        (["build"], 3),
        (["update"], 3),
        (["forget"], 3),
        (["import"], 3),
        (["merge"], 3),
        (["link"], 3),
        (["compact"], 3),
        (["activate", "rollback", "gc"], 2),
        (["export"], 1),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_a_kill_at_any_call_leaves_the_old_state_or_the_new(
    killer: Path, tmp_path: Path, operations: list[str], states: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.crashing", tmp_path, *operations],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LD_PRELOAD": str(killer)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, _, _ in rows] == operations
    for _, calls, seen in rows:
        assert int(calls) > 5
        assert int(seen) == states
