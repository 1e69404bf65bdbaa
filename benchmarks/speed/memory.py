"""Peak resident memory of one run, in a process of its own.

What a process has held at most once model and inputs are loaded is subtracted from its peak after
the run. (Loading's own peak hides as much of a run's memory as it lies above what stays loaded.)
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence

__all__ = ["in_its_own_process", "report_peaks"]

_MIB_PER_UNIT = 1 / 2**20 if sys.platform == "darwin" else 1 / 2**10


def report_peaks(action: Callable[[], object]) -> None:
    """Run, and print as JSON the peaks in MiB `loaded` before and `run` after."""
    loaded = _peak()
    action()
    print(json.dumps({"loaded": loaded, "run": _peak()}), flush=True)


def in_its_own_process(arguments: Sequence[str]) -> dict[str, float]:
    """What `report_peaks` printed in this script, called again with these arguments.

    Raises:
        RuntimeError: the process failed; its errors are in the message.
    """
    done = subprocess.run(
        [sys.executable, sys.argv[0], *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    peaks: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return peaks


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MIB_PER_UNIT
