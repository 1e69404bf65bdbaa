"""Long work beside threads that answer."""

from __future__ import annotations

import time

__all__ = ["yield_gil"]


def yield_gil() -> None:
    """Let threads run that wait for the interpreter.

    While a version is opened in a running program, requests are answered by other threads of the
    same interpreter, and only one of them computes at a time. Called between two steps of a
    millisecond or so, this has them see no gap as long as all steps together.
    """
    # Sleeping no time at all is not enough: who sleeps is back before who waits has woken up.
    time.sleep(0.0002)
