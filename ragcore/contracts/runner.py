"""Define what runs the parts of a job: processes of this machine, or the nodes of a cluster.

A job is work in parts that do not depend on each other, such as the shards of a memory or batches
of questions. ragcore makes it; a runner sends it to worker processes, lets each work on one part
after another, and passes on what they return. Knows nothing of what a part does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ragcore.contracts.component import Component

__all__ = ["Finished", "Job", "JobReport", "PartReport", "Runner", "Worker"]

PartReport = Callable[[str, int, int | None], object]
"""What a worker calls for the part it works on: a stage, how much is done, and of how much."""

JobReport = Callable[[int, str, int, int | None], object]
"""What a runner calls with a part's number and what its worker reported."""


class Worker(Protocol):
    """What one process has open while it works on a job."""

    def run(self, part: int, report: PartReport) -> Any:
        """Do a part, and return its outcome, an error of it included; raises none of its own."""
        ...

    def close(self) -> None:
        """Release what was opened."""
        ...


class Job(Protocol):
    """Work in parts; it and the outcomes of its parts can be pickled for other processes."""

    @property
    def parts(self) -> Sequence[str]:
        """What each part is called in messages, by its number."""
        ...

    def worker(self) -> Worker:
        """Make the worker of a process; called there, once for all parts that it will do."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """A part that was done, or that no worker could do.

    Attributes:
        part: its number.
        outcome: what `Worker.run` returned; None where it was lost.
        lost: why there is no outcome: how the process or machine ended that worked on it. Empty
            where there is one.
    """

    part: int
    outcome: Any = None
    lost: str = ""


class Runner(Component, Protocol):
    """Runs the parts of a job in other processes; constructed as `Runner(config)`."""

    def run(self, job: Job, report: JobReport) -> Iterator[Finished]:
        """Run all parts, and yield each when it is finished, in any order.

        A part may be run twice where its worker died, so that parts must be repeatable. A runner
        that cannot go on after a death ends early, with the parts that were lost. What it started
        has ended when the iterator is exhausted or closed.

        Args:
            job: as many parts as it has, at least one.
            report: called in the caller's thread, between two parts.

        Raises:
            ComponentError: no worker can be started.
        """
        ...
