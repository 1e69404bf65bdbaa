"""Measure the peak resident memory of one run, in a process of its own.

The process's peak after loading model and inputs is subtracted from its peak after the run. (If
loading needs more memory than what stays loaded, the difference hides that much of the run's.)
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
    """Run, and print the peaks in MiB as JSON: `loaded` before the run and `run` after it."""
    loaded = _peak()
    action()
    print(json.dumps({"loaded": loaded, "run": _peak()}), flush=True)


def in_its_own_process(arguments: Sequence[str]) -> dict[str, float]:
    """Run this script again with these arguments, and return what `report_peaks` printed.

    Raises:
        RuntimeError: the process failed; its errors are in the message.
    """
    process = subprocess.run(
        [sys.executable, sys.argv[0], *arguments], capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{process.stderr}")
    peaks: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return peaks


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MIB_PER_UNIT
