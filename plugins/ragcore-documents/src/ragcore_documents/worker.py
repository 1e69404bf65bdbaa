"""What runs in a process that reads files: memory is bounded, and it ends with its parent.

Knows how a file is read; knows nothing of who hands it over.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ragcore_documents.reading import Job, Outcome, Task

__all__ = ["begin", "read_all", "read_alone"]

_WATCH: Final = 1.0
"""Seconds between two looks at whether the parent is alive."""

_read: Callable[[Task], Outcome] | None = None
"""Reads a file."""

_modules = 0
"""How many modules the garbage collector leaves alone."""


def begin(job: Job, read: Callable[[Task, Job], Outcome], parent: int) -> None:
    """In a worker: bound its memory, and watch the process that started it."""
    global _read

    def read_one(task: Task) -> Outcome:
        return read(task, job)

    _read = read_one
    _bound_memory(job.memory)
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _bound_memory(most: int) -> None:
    """Let allocations fail beyond so many bytes; where the system cannot, they are not bounded."""
    try:
        import resource
    except ImportError:
        return
    # Of data, not of addresses: libraries reserve many more of these than they use. Some systems
    # refuse, or have a lower bound already, which stays.
    for name, bound in ((resource.RLIMIT_DATA, most), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(name)
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(name, (bound, hard))


def _exit_after(parent: int) -> None:
    """End this process soon after its parent, which can be killed without saying so."""
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


def read_alone(
    sender: Any, job: Job, read: Callable[[Task, Job], Outcome], task: Task, parent: int
) -> None:
    """In a process of its own: send None, then what became of a file, or a lack of memory."""
    begin(job, read, parent)
    assert _read is not None
    sender.send(None)
    try:
        outcome: Outcome | MemoryError = _read(task)
    except MemoryError as error:
        outcome = error
    sender.send(outcome)


def read_all(tasks: Sequence[Task], seconds: float) -> list[Outcome]:
    """Read files, the first at least; none is begun after so many seconds."""
    assert _read is not None
    end = time.monotonic() + seconds
    outcomes = [_read(tasks[0])]
    for task in tasks[1:]:
        if time.monotonic() >= end:
            break
        outcomes.append(_read(task))
    _spare_modules()
    return outcomes


def _spare_modules() -> None:
    """Spare the garbage collector what modules hold, where some were imported since it was.

    Readers' libraries hold some 50,000 objects, which stay until the process ends; looking at them
    again and again took 7% of the time of reading small files.
    """
    global _modules
    if len(sys.modules) != _modules:
        _modules = len(sys.modules)
        gc.collect()
        gc.freeze()
