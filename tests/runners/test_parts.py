"""Test that results and errors of parts come back from the process that worked on them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import SimpleQueue
from pathlib import Path
from typing import Any

import pytest

from ragcore.contracts import Finished, Job, JobReport, PartReport, Runner
from ragcore.errors import ComponentError, StoreError
from ragcore.process.reports import RareReports
from ragcore.runners.configs import ProcessesConfig
from ragcore.runners.parts import Part, WorkerError, _Job, run_parts
from ragcore.runners.processes import Processes, _finished
from tests.helpers.here import Here, here


class DiskFullError(StoreError):
    """A plugin's own error, with arguments that no copy would have."""

    def __init__(self, *, disk: str) -> None:
        super().__init__(f"{disk} is full")


@dataclass(frozen=True)
class Squares:
    """Squares of numbers; notes in a folder which processes opened it."""

    folder: Path
    numbers: tuple[int, ...]

    @property
    def names(self) -> Sequence[str]:
        return [f"number {number}" for number in self.numbers]

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, PartReport], tuple[int, int]]]:
        (self.folder / f"opened-{os.getpid()}").touch(exist_ok=False)
        yield self._square
        (self.folder / f"closed-{os.getpid()}").touch(exist_ok=False)

    def _square(self, part: int, report: PartReport) -> tuple[int, int]:
        number = self.numbers[part]
        if number == -1:
            raise DiskFullError(disk="sda")
        if number == -2:
            raise KeyError(number)
        if number == -3:
            os.kill(os.getpid(), signal.SIGKILL)
        report("squares", 1, 1)
        return number**2, os.getpid()


def processes(workers: int = 2) -> Processes:
    return Processes(ProcessesConfig(workers=workers))


def finished(parts: Squares, runner: Runner) -> dict[int, Part[tuple[int, int]]]:
    return {part.number: part for part in run_parts(parts, runner)}


@pytest.mark.parametrize("runner", [here(), processes()], ids=["here", "processes"])
def test_each_part_is_done_once_by_workers_that_open_once(runner: Runner, tmp_path: Path) -> None:
    reports = []
    parts = run_parts(
        Squares(tmp_path, tuple(range(9))), runner, lambda *each: reports.append(each)
    )
    results = {part.number: part.result() for part in parts}
    assert {number: square for number, (square, _) in results.items()} == {
        number: number**2 for number in range(9)
    }
    workers = {str(process) for _, process in results.values()}
    for state in ("opened", "closed"):
        assert {path.name for path in tmp_path.glob(f"{state}-*")} == {
            f"{state}-{process}" for process in workers
        }
    assert sorted(reports) == [(number, "squares", 1, 1) for number in range(9)]


@pytest.mark.parametrize("runner", [here(), processes()], ids=["here", "processes"])
def test_an_error_is_raised_again_with_the_traceback_of_its_worker(
    runner: Runner, tmp_path: Path
) -> None:
    parts = finished(Squares(tmp_path, (5, -1, -2)), runner)
    assert parts[0].result()[0] == 25
    with pytest.raises(StoreError, match=r"^sda is full$") as raised:
        parts[1].result()
    assert type(raised.value) is StoreError
    assert isinstance(raised.value.__cause__, WorkerError)
    assert "in _square" in str(raised.value.__cause__)
    with pytest.raises(RuntimeError, match="KeyError: -2"):
        parts[2].result()


def test_a_process_that_dies_loses_what_was_being_worked_on(tmp_path: Path) -> None:
    parts = finished(Squares(tmp_path, (-3, 5, 6)), processes(1))
    assert list(parts) == [0]
    with pytest.raises(ComponentError, match="it was killed, perhaps since memory ran out"):
        parts[0].result()


class Breaking(Executor):
    """An executor of which a process dies when two parts are done."""

    def submit(self, function: Any, part: int) -> Future[Any]:
        if part == 2:
            raise BrokenProcessPool
        future: Future[Any] = Future()
        future.set_result(part)
        return future


def test_what_others_had_finished_when_a_process_died_counts(tmp_path: Path) -> None:
    job = _Job(Squares(tmp_path, (3, 4, 5, 6)))
    done = list(_finished(Breaking(), job, 2, SimpleQueue(), lambda *_: None))
    assert sorted((each.part, each.outcome) for each in done if not each.lost) == [(0, 0), (1, 1)]
    assert [each.part for each in done if each.lost] == [2]


class Quitting(Here):
    """Ends after the first part, and names none that is lost."""

    def run(self, job: Job, report: JobReport) -> Iterator[Finished]:
        yield next(iter(super().run(job, report)))


def test_a_part_that_a_runner_left_out_is_lost(tmp_path: Path) -> None:
    parts = finished(Squares(tmp_path, (4, 5, 6)), Quitting(Here.Config()))
    assert parts[2].result()[0] == 36
    with pytest.raises(ComponentError, match="part 0 ended: its runner ended before"):
        parts[0].result()


def test_workers_that_cannot_be_opened_fail_with_each_part(tmp_path: Path) -> None:
    parts = finished(Squares(tmp_path / "missing", (1, 2)), here())
    for part in parts.values():
        with pytest.raises(RuntimeError, match=r"FileNotFoundError: .*missing"):
            part.result()


def test_reports_are_rare_and_the_last_is_passed_on() -> None:
    now, passed = [0.0], []
    reports = RareReports(lambda *each: passed.append(each), clock=lambda: now[0])
    for number in range(10):
        now[0] += 0.2
        reports("read", number, 10)
    reports("written", 1, None)
    reports.close()
    read = [("read", number, 10) for number in (0, 3, 6, 9)]
    assert passed == [*read, ("written", 1, None)]
    reports("written", 2, None)
    reports.close()
    reports.close()
    assert passed[5:] == [("written", 2, None)]
