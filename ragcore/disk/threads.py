"""Let serving threads run during long work in the same process."""

from __future__ import annotations

import time

__all__ = ["yield_gil"]


def yield_gil() -> None:
    """Let threads that wait for the interpreter lock run.

    While a version is opened in a running program, other threads of the same interpreter answer
    requests, and only one thread computes at a time. Call this between steps of a millisecond or
    so: requests then wait for one step, not for all of them.
    """
    # sleep(0) is not enough: this thread would take the lock again before a waiting one wakes up.
    time.sleep(0.0002)
