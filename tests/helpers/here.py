"""A runner that works in the test's own process, one part after another."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from ragcore.contracts import Finished, Job, JobReport
from ragcore.registry.components import ComponentConfig


class Here:
    """Runs parts one after another, the last first; loses those that it is told to lose."""

    class Config(ComponentConfig):
        lose: tuple[int, ...] = ()

    capabilities: frozenset[str] = frozenset()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.opened = 0

    def run(self, job: Job, report: JobReport) -> Iterator[Finished]:
        worker = copy.deepcopy(job).worker()
        self.opened += 1
        try:
            for part in reversed(range(len(job.parts))):
                if part in self.config.lose:
                    yield Finished(part, lost="the power failed")
                    continue

                def tell(stage: str, done: int, total: int | None, part: int = part) -> None:
                    report(part, stage, done, total)

                yield Finished(part, worker.run(part, tell))
        finally:
            worker.close()


def here(*lose: int) -> Here:
    return Here(Here.Config(lose=lose))
