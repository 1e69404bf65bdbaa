"""Time the unit, then each run, round by round, so that a slow minute slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

__all__ = ["Run", "race", "timed"]


@dataclass(slots=True)
class Run:
    """Something to time, at most `repeats` times, with its results.

    Attributes:
        seconds: the time of each round.
        ratios: the same, divided by the unit's seconds in the same round.
        result: the result of the last round.
    """

    name: str
    action: Callable[[], object]
    repeats: int
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    result: object = None

    @property
    def ratio(self) -> float:
        """The median ratio over the rounds."""
        return statistics.median(self.ratios)


def race(unit: Callable[[], object], runs: Sequence[Run], device: torch.device) -> list[float]:
    """Time all runs in turn; return the unit's seconds in each round."""
    units: list[float] = []
    for turn in range(max(run.repeats for run in runs)):
        units.append(timed(unit, device)[0])
        for run in runs:
            if turn < run.repeats:
                seconds, run.result = timed(run.action, device)
                run.seconds.append(seconds)
                run.ratios.append(seconds / units[-1])
        print(f"  round {turn + 1} done", flush=True)
    return units


def timed(action: Callable[[], object], device: torch.device) -> tuple[float, object]:
    """Return the seconds of one call, including the accelerator's work, and its result."""
    _wait(device)
    began = time.perf_counter()
    result = action()
    _wait(device)
    return time.perf_counter() - began, result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
