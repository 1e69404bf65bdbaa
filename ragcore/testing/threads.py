"""Run calls at the same moment in threads, as a server does."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

__all__ = ["at_once"]

_SWITCH_S: Final = 1e-5
"""How long a thread runs before another one may: short, so that calls interleave."""

_LEAST: Final = 2
"""How often each call is made at least."""

_SECONDS: Final = 0.2
"""For how long calls are made at least."""


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Run each call in a thread of its own, all from the same moment, again and again for a while.

    Raises:
        Exception: what a call raised; that of the first one.
    """
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        end = time.monotonic() + _SECONDS
        for _ in range(_LEAST):
            call()
        # Quick calls would otherwise be over before another thread begins.
        while time.monotonic() < end:
            call()

    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with ThreadPoolExecutor(len(calls)) as pool:
            for _ in pool.map(run, calls):
                pass
    finally:
        sys.setswitchinterval(before)
