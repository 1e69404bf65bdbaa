"""Test that `memory forget --everywhere` can be killed at any time, and repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.killer import KILLER_MARKS, compiled_killer

ROOT = Path(__file__).parents[2]

pytestmark = KILLER_MARKS


def test_a_passage_stays_in_versions_as_long_as_anything_has_it(tmp_path: Path) -> None:
    """So that the command, which looks for it there, can be repeated until nothing has it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.forgetting", tmp_path / "work"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "LD_PRELOAD": str(compiled_killer(tmp_path)),
        },
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    calls, *places = done.stdout.splitlines()
    assert int(calls) > 100
    assert {"", "versions", "versions cache states"} <= set(places)
