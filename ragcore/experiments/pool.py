"""Run tasks, one after another in this process or several at a time where a runner runs them.

Knows tasks and what a process has open for them; knows nothing of what a task does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ragcore.contracts import PartReport, Runner
from ragcore.errors import ComponentError
from ragcore.experiments.resources import Resources
from ragcore.experiments.results import Counters
from ragcore.experiments.searching import Asked
from ragcore.runners.configs import ProcessesConfig
from ragcore.runners.parts import run_parts
from ragcore.runners.processes import Processes

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
    runner: Runner | None = None,
) -> Counters:
    """Run tasks in order; those that are done when one fails stay done.

    Args:
        tasks: sorted, so that neighbours need the same memory or generator.
        resources: of this process.
        processes: how many run at the same time; with 1 none is started.
        done: called after each task.
        runner: where they run, in place of `processes`.

    Raises:
        ComponentError: a worker process died; names the blocks that were being worked on.
    """
    if runner is None and min(processes, len(tasks)) <= 1:
        counters = []
        for task in tasks:
            counters.append(task.run(resources))
            done(task)
        return added(*counters)
    if not tasks:
        return added()
    # The workers open their own.
    resources.release_memories()
    anywhere: Runner = runner or Processes(ProcessesConfig(workers=processes))
    counters, lost = [], {}
    for part in run_parts(_Tasks(tuple(tasks)), anywhere):
        if part.lost:
            lost[part.number] = part.lost
            continue
        counters.append(part.result())
        done(tasks[part.number])
    if lost:
        raise _death([tasks[number] for number in sorted(lost)], next(iter(lost.values())))
    return added(*counters)


@dataclass(frozen=True, slots=True)
class _Tasks:
    """Tasks as parts of a job."""

    tasks: tuple[Task, ...]

    @property
    def names(self) -> Sequence[str]:
        return [_name(task) for task in self.tasks]

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, PartReport], Counters]]:
        with Resources() as resources:

            def run(number: int, report: PartReport) -> Counters:
                return self.tasks[number].run(resources)

            yield run


def _name(task: Task) -> str:
    return f"{task.asked.block} of {', '.join(task.systems)}"


def _death(tasks: Sequence[Task], reason: str) -> ComponentError:
    return ComponentError(
        "a process of the experiment died while these were worked on: "
        f"{'; '.join(map(_name, tasks))}: {reason}: run the experiment again, which continues "
        "after the blocks that are done, with fewer processes"
    )
