"""Run tasks, one after another in this process or several at a time in others.

Knows tasks and processes; knows nothing of what a task does.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from ragcore.errors import ComponentError
from ragcore.experiments.resources import Resources
from ragcore.experiments.results import Counters
from ragcore.experiments.searching import Asked
from ragcore.process.cpus import usable_cpus

__all__ = ["Task", "added", "run_tasks"]


class Task(Protocol):
    """A block of questions to search for or to answer."""

    @property
    def asked(self) -> Asked:
        """The questions."""
        ...

    @property
    def systems(self) -> tuple[str, ...]:
        """Whose predictions it makes."""
        ...

    @property
    def work(self) -> int:
        """How many predictions it makes."""
        ...

    def run(self, resources: Resources) -> Counters:
        """Do it, and return what was done."""
        ...


def added(*counters: Counters) -> Counters:
    """Add up counters."""
    names = Counters.__slots__
    return Counters(**{name: sum(getattr(each, name) for each in counters) for name in names})


def run_tasks(
    tasks: Sequence[Task],
    resources: Resources,
    *,
    processes: int,
    done: Callable[[Task], object],
) -> Counters:
    """Run tasks in order; those that are done when one fails stay done.

    Args:
        tasks: sorted, so that neighbours need the same memory or generator.
        resources: of this process.
        processes: how many run at the same time; with 1 none is started.
        done: called after each task.

    Raises:
        ComponentError: a worker process died; names the blocks that were being worked on.
    """
    processes = min(processes, len(tasks))
    if processes <= 1:
        counters = []
        for task in tasks:
            counters.append(task.run(resources))
            done(task)
        return added(*counters)
    # The workers open their own.
    resources.release_memories()
    context = multiprocessing.get_context("spawn")
    threads = max(1, usable_cpus() // processes)
    with ProcessPoolExecutor(processes, context, _start, (threads,)) as pool:
        try:
            return added(*_counters(pool, tasks, processes, done))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _counters(
    pool: ProcessPoolExecutor,
    tasks: Sequence[Task],
    processes: int,
    done: Callable[[Task], object],
) -> Iterator[Counters]:
    """Yield what each task did; no more are submitted than run, so that a death is of these."""
    left, running = iter(tasks), dict[Future[Counters], Task]()
    for task in tasks[:processes]:
        running[_submit(pool, next(left), running)] = task
    while running:
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            try:
                counters = future.result()
            except BrokenProcessPool:
                raise _death(list(running.values())) from None
            task = running.pop(future)
            following = next(left, None)
            if following is not None:
                running[_submit(pool, following, running)] = following
            done(task)
            yield counters


def _submit(
    pool: ProcessPoolExecutor, task: Task, running: dict[Future[Counters], Task]
) -> Future[Counters]:
    try:
        return pool.submit(_work, task)
    except BrokenProcessPool:
        raise _death(list(running.values())) from None


def _death(tasks: Sequence[Task]) -> ComponentError:
    blocks = "; ".join(f"{task.asked.block} of {', '.join(task.systems)}" for task in tasks)
    return ComponentError(
        f"a process of the experiment died while these were worked on: {blocks}: it was killed, "
        "perhaps since memory ran out, or a library crashed: run the experiment again, which "
        "continues after the blocks that are done, with fewer processes"
    )


_RESOURCES: Resources | None = None


def _start(threads: int) -> None:
    """Let this worker compute in so many threads, also in libraries that it loads later."""
    global _RESOURCES
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        wanted = os.environ.get(name, "")
        if not wanted.isdecimal() or int(wanted) > threads:
            os.environ[name] = str(threads)
    set_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if set_threads is not None:
        set_threads(int(os.environ["OMP_NUM_THREADS"]))
    _RESOURCES = Resources()


def _work(task: Task) -> Counters:
    assert _RESOURCES is not None
    return task.run(_RESOURCES)
