"""End foreign Python code in this thread when its time is over.

A chat template is a program of the model's file: a sandbox keeps it from Python, and not from
looping without an end. Knows frames; knows nothing of templates.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["time_limit"]


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError inside the block, at the next call of Python after so many seconds.

    In code that comes from no file, as compiled templates do, at the next line. What a single call
    of C computes is not ended. A debugger of this thread does not see the block.
    """
    end = time.monotonic() + seconds

    def look(frame: FrameType, event: str, argument: Any) -> Any:
        # When it raises, Python calls it no more, so that what cleans up is not interrupted.
        if time.monotonic() > end:
            raise TimeoutError(f"it was not done after {seconds:g} seconds")
        return look if frame.f_code.co_filename.startswith("<") else None

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
