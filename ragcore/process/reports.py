"""Pass on reports of progress from a process that makes thousands of them in a second.

Knows clocks and counts; knows nothing of what is counted or of where reports go.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["RareReports"]

_SECONDS: Final = 0.5


class RareReports:
    """Passes on one report of a stage in half a second, and in the end the last one of each."""

    def __init__(
        self,
        report: Callable[[str, int, int | None], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Pass reports on to `report`; the clock gives seconds."""
        self._report = report
        self._clock = clock
        self._times: dict[str, float] = {}
        self._waiting: dict[str, tuple[int, int | None]] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report how much of a stage is done."""
        now = self._clock()
        if now - self._times.get(stage, float("-inf")) < _SECONDS:
            self._waiting[stage] = done, total
            return
        self._times[stage] = now
        self._waiting.pop(stage, None)
        self._report(stage, done, total)

    def close(self) -> None:
        """Report what is still waiting."""
        for stage, (done, total) in self._waiting.items():
            self._report(stage, done, total)
        self._waiting.clear()
