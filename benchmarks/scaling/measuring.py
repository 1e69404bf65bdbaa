"""Run a stage in a process of its own, and measure the time and the memory that it takes.

Two peaks of memory: `rss`, with pages of files that are mapped and can be dropped, and on Linux
`anonymous`, the process's own, which cannot be dropped, sampled every 20 ms.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["Clock", "Peak", "in_process", "peak_memory"]

EVERY: Final = 0.02
ONE_THREAD: Final = ("open", "search", "merged-search", "swap")
"""Stages that search, one question at a time with one thread, as those of a server do."""

_STATUS: Final = Path("/proc/self/status")


class Peak:
    """The most memory that a block took, in bytes."""

    rss = 0
    anonymous: int | None = None

    def __init__(self) -> None:
        self.start = _status("RssAnon") or 0

    def row(self) -> dict[str, Any]:
        peaks = {"peak_rss": self.rss, "peak_anonymous": self.anonymous}
        return {**peaks, "start_memory": self.start}


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Sample this process's memory while the block runs; the peak is that of the whole process."""
    peak, stop = Peak(), threading.Event()

    def sample() -> None:
        while True:
            own = _status("RssAnon")
            if own is not None:
                peak.anonymous = max(own, peak.anonymous or 0)
            if stop.wait(EVERY):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak.rss = _status("VmHWM") or _peak_of_usage()


def _status(name: str) -> int | None:
    """Return a size that Linux has of this process, in bytes; None on other systems."""
    try:
        lines = _STATUS.read_text().splitlines()
    except FileNotFoundError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _peak_of_usage() -> int:
    """Return the peak by getrusage; on Linux a child's is at least its parent's at the fork."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Clock:
    """Seconds since it was made: on the clock, and those of the processor, of all threads.

    The latter change little where other programs take the processor, and count no waiting.
    """

    def __init__(self) -> None:
        self._began, self._processor = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self._began, 7)

    @property
    def processor_seconds(self) -> float:
        return round(time.process_time() - self._processor, 7)

    def row(self) -> dict[str, float]:
        return {"seconds": self.seconds, "processor_seconds": self.processor_seconds}


def in_process(script: Path, stage: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a stage of a script in a new process, and return what it measured.

    Raises:
        RuntimeError: the process failed; the message ends with its error.
    """
    command = [sys.executable, str(script), "--stage", stage, "--job", json.dumps(job)]
    environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if stage in ONE_THREAD else {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{stage} of {job} failed ({done.returncode}): {done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured
