"""Freed memory that the C library keeps, given back to the system.

glibc keeps what was freed for the next allocation, in a heap for each thread. Once tensors of some
megabytes have been freed it raises the size from which it maps a block of its own, to 32 MiB, so
that the states of a decoder stay resident after they are freed.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

__all__ = ["release_free_memory"]


def release_free_memory() -> None:
    """Return the freed pages of all heaps to the system, where the C library can.

    Takes milliseconds: for the end of what is large and does not come again soon.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's `malloc_trim`; None with another C library."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
