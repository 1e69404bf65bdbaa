"""Processor times of calls, in one thread: times on the clock say little on a busy machine."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

from ragcore.process.fork import new_rlock

__all__ = ["shortest_times"]

_FEWEST: Final = 8
_MOST: Final = 48
"""Rounds; between the two they end where no time has become shorter for a while."""

_SHORTER: Final = 0.97
"""A time is shorter where it is at most this share of the shortest before."""

_LONGEST: Final = 0.5
"""Seconds after which no further round begins, once there were the fewest."""

_TIMING: Final = new_rlock()
"""Calls that are timed at once would slow each other."""


def shortest_times(*calls: Callable[[], object]) -> list[float]:
    """Return the shortest processor time of each call in seconds, over rounds of all of them.

    Each is called once before, which fills caches. Other threads of the process keep their numbers
    of torch's threads, also those that use torch for the first time meanwhile.
    """
    shortest = [float("inf")] * len(calls)
    with _TIMING, _one_thread():
        for call in calls:
            call()
        begin, unchanged, rounds = time.thread_time(), 0, 0
        while rounds < _FEWEST or (
            rounds < _MOST and unchanged < _FEWEST and time.thread_time() - begin < _LONGEST
        ):
            rounds, unchanged = rounds + 1, unchanged + 1
            for number, call in enumerate(calls):
                started = time.thread_time()
                call()
                seconds = time.thread_time() - started
                if seconds <= _SHORTER * shortest[number]:
                    unchanged = 0
                shortest[number] = min(shortest[number], seconds)
    return shortest


@dataclass(frozen=True, slots=True)
class _Setters:
    """The functions of the libraries below torch that set a number for the calling thread alone.

    `torch.set_num_threads` would set it for the process: a thread that used torch for the first
    time meanwhile would keep it for good.
    """

    openmp: Any
    mkl: Any | None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone, where the libraries below it allow that."""
    # Asking sets the thread's number, where it has none yet.
    threads, setters = torch.get_num_threads(), _setters()
    if setters is None:
        yield
        return
    mkl_threads = 0
    setters.openmp(1)
    try:
        mkl_threads = 0 if setters.mkl is None else setters.mkl(1)
        yield
    finally:
        setters.openmp(threads)
        if setters.mkl is not None:
            setters.mkl(mkl_threads)


@functools.cache
def _setters() -> _Setters | None:
    """Return the setters; None where this build of torch does not show them."""
    library = ctypes.CDLL(torch._C.__file__)
    try:
        # MKL keeps a number of its own.
        has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call, unused-ignore]
        mkl = library.MKL_Set_Num_Threads_Local if has_mkl else None
        return _Setters(library.omp_set_num_threads, mkl)
    except AttributeError:
        return None
