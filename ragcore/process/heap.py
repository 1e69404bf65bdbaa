"""The heaps of the C library: how many there are, and freed memory given back to the system.

glibc keeps what was freed for the next allocation, in a heap for each thread. Once tensors of some
megabytes have been freed it raises the size from which it maps a block of its own, to 32 MiB, so
that the states of a decoder stay resident after they are freed.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["limit_heaps", "release_free_memory"]

_ARENA_MAX: Final = -8
"""`M_ARENA_MAX` of glibc's malloc.h."""


def limit_heaps(count: int, environment: Mapping[str, str] = os.environ) -> None:
    """Let all threads allocate from a few heaps, where the C library can.

    glibc gives threads up to eight heaps a processor. In a process of many threads each heap grows
    to the largest work that ever ran in one of its threads, so that memory rises for an hour before
    it stays level. Python's threads take turns, and seldom wait for a heap. What the user has set
    by `MALLOC_ARENA_MAX` stays.

    Args:
        count: heaps, at least 1; those that exist stay, so this is for the start of a process.
        environment: is looked at only.
    """
    set_option = _c_function("mallopt")
    if set_option is not None and "MALLOC_ARENA_MAX" not in environment:
        set_option(_ARENA_MAX, count)


def release_free_memory() -> None:
    """Return the freed pages of all heaps to the system, where the C library can.

    Takes milliseconds: for the end of what is large and does not come again soon.
    """
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


@functools.cache
def _c_function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None where it has none of that name."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function
