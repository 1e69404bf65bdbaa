"""Search several segments with the processors that one search leaves idle.

Libraries search a graph for one question in one thread, and release the interpreter's lock
meanwhile. Knows nothing of what is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from time import perf_counter
from typing import Final, TypeVar

from ragcore.process.cpus import usable_cpus
from ragcore.process.fork import call_in_child, new_lock

__all__ = ["map_segments", "processors"]

S = TypeVar("S")
R = TypeVar("R")

_WORTH: Final = 0.001
"""Seconds that the other segments must take at least: to hand work to a thread takes a tenth of
that."""


class _Threads:
    """The threads of this process that search segments, one a processor less the caller's own."""

    def __init__(self) -> None:
        self.count = usable_cpus() - 1
        self._lock = new_lock()
        self._executor: ThreadPoolExecutor | None = None
        call_in_child(self.forget)

    def executor(self) -> ThreadPoolExecutor:
        """Return the threads, which are started when they are first needed."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.count, "ragcore-segments")
            return self._executor

    def forget(self) -> None:
        """Forget the threads, which are not in a forked child."""
        self._executor = None


_THREADS: Final = _Threads()


def processors() -> int:
    """Return how many processors search segments, as counted when the process began.

    To count them again takes as long as a quick search.
    """
    return _THREADS.count + 1


def map_segments(search: Callable[[S], R], segments: Sequence[S], *, threads: bool) -> list[R]:
    """Return what a function returns for each segment, in their order.

    The first is searched alone. If all others would take a millisecond or more at its pace, threads
    share them.

    Args:
        search: may be called in several threads.
        segments: any number.
        threads: whether to use any.
    """
    began = perf_counter()
    results = _each(search, segments[:1])
    others = segments[1:]
    expected = (perf_counter() - began) * len(others)
    if not threads or not _THREADS.count or len(others) < 2 or expected < _WORTH:
        return results + _each(search, others)
    shares = min(_THREADS.count + 1, len(others))
    bounds = [len(others) * share // shares for share in range(shares + 1)]
    own, *rest = [others[first:last] for first, last in pairwise(bounds)]
    pending = [_THREADS.executor().submit(_each, search, share) for share in rest]
    try:
        results += _each(search, own)
    finally:
        # Also where that failed: nothing is searched after this has returned. What no thread has
        # begun with, since they serve other callers, is left to this one.
        started = [not future.cancel() for future in pending]
        wait([future for future, is_started in zip(pending, started, strict=True) if is_started])
    for future, is_started, share in zip(pending, started, rest, strict=True):
        results += future.result() if is_started else _each(search, share)
    return results


def _each(search: Callable[[S], R], segments: Sequence[S]) -> list[R]:
    return [search(segment) for segment in segments]
