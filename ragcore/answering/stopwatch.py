"""Time the stages of a request, and pass each on to plugins by the hook `ragcore_timed`.

Knows stages and clocks; knows nothing of what is done in them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ragcore.registry.discovery import registry
from ragcore.types import Timings

__all__ = ["Stage", "Stopwatch"]

Stage = Literal["rewrite", "search", "read", "decode", "score"]
"""What is timed of a request; opening a version is timed too, as "open", by live/served.py."""


class Stopwatch:
    """The time of one request; its total begins when this is made.

    A stage that is timed again replaces its time: of several batches, the last one's counts.
    """

    def __init__(self, questions: int, memory: str) -> None:
        """Begin the request.

        Args:
            questions: how many it asks.
            memory: the version that is searched.
        """
        self._questions = questions
        self._memory = memory
        self._began = time.perf_counter()
        self._seconds: dict[Stage, float] = {}

    @contextmanager
    def timed(self, stage: Stage, questions: int | None = None) -> Iterator[None]:
        """Time a stage of all questions, or of a batch; one that fails is not passed on."""
        started, began = time.time_ns(), time.perf_counter()
        yield
        self.add(stage, started, time.perf_counter() - began, questions)

    def add(self, stage: Stage, started: int, seconds: float, questions: int | None = None) -> None:
        """Take a time that was measured elsewhere; `started` in nanoseconds since 1970."""
        self._seconds[stage] = seconds
        timed = registry().hook.ragcore_timed
        # Mostly no plugin listens, and then a call would cost more than the clock.
        if timed.get_hookimpls():
            timed(
                stage=stage,
                started=started,
                seconds=seconds,
                questions=self._questions if questions is None else questions,
                memory=self._memory,
            )

    def timings(self) -> Timings:
        """Return the times so far; 0 for a stage that was not needed."""
        seconds = self._seconds
        return Timings(
            seconds.get("search", 0.0),
            seconds.get("read", 0.0),
            seconds.get("decode", 0.0),
            time.perf_counter() - self._began,
            seconds.get("rewrite", 0.0),
        )
