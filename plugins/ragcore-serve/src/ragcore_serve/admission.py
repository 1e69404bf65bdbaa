"""Admit no more work than there is room for, and know when all of it has ended.

Counts questions, or streams; knows nothing of what is done with them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Final

from ragcore_serve.outcomes import Draining, QueueFull

__all__ = ["Admission"]

_DEPARTURES: Final = 64
"""The rate is that of so many departures."""

_SHORTEST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0


class Admission:
    """A bounded count of what is admitted and has not ended; safe to use from any thread."""

    def __init__(
        self,
        limit: int,
        what: str,
        changed: Callable[[int], None] | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Begin empty.

        Args:
            limit: how many may be admitted at a time.
            what: they are, in the plural, for errors.
            changed: called with the count whenever it changes, one call at a time.
            clock: tells the time in seconds.
        """
        if limit < 1:
            raise ValueError(f"the limit of {what} is {limit}: expected at least 1")
        self.limit = limit
        self._what = what
        self._changed = changed
        self._clock = clock
        self._lock = threading.Lock()
        self._count = 0
        self._draining = False
        self._idle: list[Future[None]] = []
        # Seconds in which anything was admitted: an hour without a request says nothing of how
        # fast the work goes.
        self._busy = 0.0
        self._busy_since = 0.0
        self._departures: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=_DEPARTURES)

    @property
    def count(self) -> int:
        """How many are admitted and have not ended."""
        return self._count

    @property
    def draining(self) -> bool:
        """Whether nothing is admitted any more."""
        return self._draining

    def admit(self, count: int = 1) -> None:
        """Admit all of them, or none.

        Raises:
            Draining: the server is about to stop.
            QueueFull: there is no room for them.
        """
        with self._lock:
            if self._draining:
                raise Draining("the server is about to stop: ask another, or this one later")
            if self._count + count > self.limit:
                seconds = self._seconds_until_room(count)
                raise QueueFull(
                    f"the server has {self._count} {self._what} to finish, and takes at most "
                    f"{self.limit}: ask again in {seconds:.0f} s",
                    seconds,
                )
            if not self._count:
                self._busy_since = self._clock()
            self._count += count
            self._note_change()

    def leave(self, count: int = 1) -> None:
        """Note that some of what was admitted has ended, with or without an answer."""
        with self._lock:
            self._departures.append((self._busy_seconds(), count))
            self._count -= count
            self._note_change()
            if self._count:
                return
            self._busy = self._departures[-1][0]
            idle, self._idle = self._idle, []
        for future in idle:
            # One who no longer waits has cancelled it.
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def drain(self) -> Future[None]:
        """Admit nothing from now on; the result is there when all that was admitted has ended."""
        future: Future[None] = Future()
        with self._lock:
            self._draining = True
            if self._count:
                self._idle.append(future)
                return future
        future.set_result(None)
        return future

    def _note_change(self) -> None:
        if self._changed is not None:
            self._changed(self._count)

    def _seconds_until_room(self, count: int) -> float:
        """Estimate when there is room for some more, from the rate at which work has ended."""
        begin, _ = self._departures[0]
        seconds = self._busy_seconds() - begin
        ended = sum(departed for _, departed in list(self._departures)[1:])
        if ended:
            seconds *= (self._count + count - self.limit) / ended
        return min(max(seconds, _SHORTEST_RETRY), _LONGEST_RETRY)

    def _busy_seconds(self) -> float:
        """Return how long anything has been admitted, up to now."""
        return self._busy + (self._clock() - self._busy_since if self._count else 0.0)
