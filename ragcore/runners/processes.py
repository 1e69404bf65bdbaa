"""Run the parts of a job in several processes of this machine.

Knows processes, and how many threads each may use; knows nothing of what a part does.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ragcore.contracts import Capabilities, Finished, Job, JobReport, Worker
from ragcore.process.cpus import usable_cpus
from ragcore.process.reports import RareReports
from ragcore.runners.configs import ProcessesConfig

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

__all__ = ["Processes"]

_SECONDS: Final = 0.5
"""How long reports wait where no part ends."""
_DEATH: Final = "it was killed, perhaps since memory ran out, or a library crashed"

_Reported = tuple[int, str, int, int | None]


class Processes:
    """Runs parts in processes of this machine, as many at the same time as it has processors.

    One that dies ends the job, with all parts that were being worked on.
    """

    Config: ClassVar[type[ProcessesConfig]] = ProcessesConfig
    capabilities: ClassVar[Capabilities] = frozenset()

    def __init__(self, config: ProcessesConfig) -> None:
        self._config = config

    def run(self, job: Job, report: JobReport) -> Iterator[Finished]:
        """Run all parts; see `Runner`."""
        processes = min(self._config.workers or usable_cpus(), len(job.parts))
        context = multiprocessing.get_context("spawn")
        reports: SimpleQueue[_Reported] = context.SimpleQueue()
        threads = max(1, usable_cpus() // processes)
        arguments = (job, threads, reports)
        with ProcessPoolExecutor(processes, context, _start, arguments) as pool:
            try:
                yield from _finished(pool, job, processes, reports, report)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _finished(
    pool: Executor,
    job: Job,
    processes: int,
    reports: SimpleQueue[_Reported],
    report: JobReport,
) -> Iterator[Finished]:
    """Yield each part; no more are submitted than run, so that a death is of these."""
    waiting, running = deque(range(len(job.parts))), dict[Future[Any], int]()
    lost = _submit(pool, waiting, running, processes)
    while running or lost:
        if lost:
            waiting.clear()
            yield from (Finished(part, lost=_DEATH) for part in lost)
        lost, outcomes = [], []
        ended, _ = wait(running, _SECONDS, FIRST_COMPLETED)
        for future in ended:
            part = running.pop(future)
            # What others had finished when one died counts.
            try:
                outcomes.append(Finished(part, future.result()))
            except BrokenProcessPool:
                lost.append(part)
        lost = lost or _submit(pool, waiting, running, processes)
        _pass_on(reports, report)
        yield from outcomes


def _submit(
    pool: Executor, waiting: deque[int], running: dict[Future[Any], int], processes: int
) -> list[int]:
    """Submit parts until all processes are at work; return the part for which none is left."""
    while waiting and len(running) < processes:
        try:
            running[pool.submit(_work, waiting[0])] = waiting[0]
        except BrokenProcessPool:
            # One died between two parts.
            return [waiting[0]]
        waiting.popleft()
    return []


def _pass_on(reports: SimpleQueue[_Reported], report: JobReport) -> None:
    while not reports.empty():
        report(*reports.get())


_WORKER: Worker | None = None
_REPORTS: SimpleQueue[_Reported] | None = None


def _start(job: Job, threads: int, reports: SimpleQueue[_Reported]) -> None:
    """Let this process compute in so many threads, also in libraries that it loads later."""
    global _WORKER, _REPORTS
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        wanted = os.environ.get(name, "")
        if not wanted.isdecimal() or int(wanted) > threads:
            os.environ[name] = str(threads)
    set_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if set_threads is not None:
        set_threads(int(os.environ["OMP_NUM_THREADS"]))
    _WORKER, _REPORTS = job.worker(), reports
    # A child process of multiprocessing runs no functions of `atexit`.
    Finalize(None, _WORKER.close, exitpriority=0)


def _work(part: int) -> Any:
    assert _WORKER is not None
    assert _REPORTS is not None
    queue = _REPORTS
    reports = RareReports(lambda stage, done, total: queue.put((part, stage, done, total)))
    outcome = _WORKER.run(part, reports)
    reports.close()
    return outcome
