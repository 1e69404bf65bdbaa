"""End a request early: because its caller cancels it, or because its time is over.

Knows clocks and threads; knows nothing of questions. A thread cannot be stopped from outside, so
what computes asks between two steps whether it should go on: see `Stop`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Final

from ragcore.errors import DeadlineError, RequestCancelledError, RequestStoppedError

__all__ = ["Cancellation", "Stop", "current_check", "interruptible", "stops_with_all"]

_CHECK: Final[ContextVar[Callable[[], None] | None]] = ContextVar("ragcore_check", default=None)


class Cancellation:
    """Cancels requests from any thread: pass it to each, and call `cancel` once.

    cancellation = ragcore.Cancellation()
    threading.Timer(2.0, cancellation.cancel).start()
    rag.answer(questions, cancellation=cancellation)   # RequestCancelledError after 2 s
    """

    def __init__(self, parent: Cancellation | None = None) -> None:
        """Begin not cancelled; with a parent, cancelled with it too."""
        self._parent = parent
        self._cancelled = False

    def cancel(self) -> None:
        """Cancel the requests that have this, now and later; cannot be undone."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        """Whether requests that have this should end."""
        return self._cancelled or (self._parent is not None and self._parent.cancelled)


class Stop:
    """Tells the code that answers a request whether to go on; its time begins here.

    A call costs one reading of the clock, and is made before each token.
    """

    def __init__(
        self,
        timeout: float | None = None,
        cancellation: Cancellation | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Begin a request.

        Args:
            timeout: in seconds; None for no limit.
            cancellation: of the caller; None where the request cannot be cancelled.
            clock: tells the time in seconds.
        """
        self._timeout = timeout
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout
        self._cancellation = cancellation

    def __call__(self) -> None:
        """Return where the request should go on.

        Raises:
            RequestCancelledError: it was cancelled.
            DeadlineError: its time is over.
        """
        if self._cancellation is not None and self._cancellation.cancelled:
            raise RequestCancelledError(
                "the request was cancelled before its answer was known: ask again"
            )
        if self._deadline is not None and self._clock() > self._deadline:
            raise DeadlineError(
                f"the request took longer than its timeout, {self._timeout:g} s: give it more "
                "time, fewer questions, a smaller k, fewer beams, or a smaller max_new_tokens"
            )


def stops_with_all(stops: Sequence[Stop]) -> Callable[[], None]:
    """Return what raises once none of several requests, answered together, should go on.

    One that ends alone does not end the others.
    """

    def check() -> None:
        stopped: RequestStoppedError | None = None
        for stop in stops:
            try:
                stop()
            except RequestStoppedError as error:
                stopped = error
            else:
                return
        if stopped is not None:
            raise stopped

    return check


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Let what is called inside the block, and waits for others, end where `check` raises.

    A generator behind an API asks for it by `current_check`: no token of it passes by here.
    """
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def current_check() -> Callable[[], None]:
    """Return what raises once the request that is being answered should not go on.

    It holds for the thread that asks: hand it on to others that work for the same request. It may
    be called from any thread.
    """
    return _CHECK.get() or _go_on


def _go_on() -> None:
    """Return: nothing ends what no request waits for."""
