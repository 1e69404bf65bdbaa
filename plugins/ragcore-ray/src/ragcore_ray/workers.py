"""The classes of a job's actors: its workers, and the board on which they write how far they are.

Knows how actors are called; knows nothing of when they are started or end.
"""

from __future__ import annotations

from typing import Any

from ragcore.contracts import Job
from ragcore.process.reports import RareReports

__all__ = ["Board", "PartWorker"]

_Reported = tuple[int, str, int, int | None]


class Board:
    """Keeps the last report of each stage of each part until it is taken."""

    def __init__(self) -> None:
        self._reports: dict[tuple[int, str], tuple[int, int | None]] = {}

    def write(self, part: int, stage: str, done: int, total: int | None) -> None:
        """Report how much of a stage of a part is done."""
        self._reports[part, stage] = done, total

    def take(self) -> list[_Reported]:
        """Return what was reported since the last call."""
        reports, self._reports = self._reports, {}
        return [(*key, *counts) for key, counts in reports.items()]


class PartWorker:
    """Works on parts of a job, one after another."""

    def __init__(self, job: Job, board: Any) -> None:
        self._worker = job.worker()
        self._board = board

    def ready(self) -> None:
        """Return when the worker is there."""

    def run(self, part: int) -> Any:
        """Do a part, and return its outcome."""
        reports = RareReports(
            lambda stage, done, total: self._board.write.remote(part, stage, done, total)
        )
        outcome = self._worker.run(part, reports)
        reports.close()
        return outcome
