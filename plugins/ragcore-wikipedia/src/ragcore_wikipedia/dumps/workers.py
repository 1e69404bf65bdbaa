"""Run tasks in processes, and return their results in order.

The processes are loky's: unlike multiprocessing's they are not forked, which is not safe in a
program with threads, and do not run the program's main module again, which a script need not expect
of a loop over a corpus. At most `AHEAD` tasks a worker are begun before their results are taken.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from ragcore.errors import CorpusError

__all__ = ["AHEAD", "Pool"]

Task = TypeVar("Task")
Sent = TypeVar("Sent")
Result = TypeVar("Result")
Context = TypeVar("Context")

AHEAD: Final = 2
"""Tasks for each worker that are begun at the same time."""

_WATCH: Final = 1.0
"""Seconds between two looks at whether the parent is alive."""

_context: Any = None
"""In a worker: what all of its tasks need."""


class Pool(Generic[Context]):
    """Processes that share a context, which each receives once."""

    def __init__(self, workers: int, context: Context) -> None:
        """Start no process yet."""
        from loky.process_executor import ProcessPoolExecutor

        self._window = AHEAD * workers
        self._executor = ProcessPoolExecutor(
            max_workers=workers, initializer=_begin, initargs=(context, os.getpid())
        )

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the processes; at an error, or where the results are not all taken, at once."""
        self._executor.shutdown(wait=True, kill_workers=error is not None)

    def map(
        self,
        function: Callable[[Context, Sent], Result],
        tasks: Iterable[Task],
        *,
        of: Callable[[Task], Sent],
    ) -> Iterator[tuple[Task, Result]]:
        """Yield each task with its result, in the order of the tasks.

        Args:
            function: of a module, called with the context and what is sent of a task.
            tasks: are drawn as results are taken.
            of: returns what is sent of a task.

        Raises:
            CorpusError: a process was killed, for instance since memory ran out.
        """
        from loky.process_executor import TerminatedWorkerError

        running: deque[tuple[Task, Future[Result]]] = deque()
        try:
            for task in tasks:
                running.append((task, self._executor.submit(_call, function, of(task))))
                if len(running) >= self._window:
                    yield _result(running)
            while running:
                yield _result(running)
        except TerminatedWorkerError as error:
            raise CorpusError(
                "a process that reads the dump was killed, perhaps since memory ran out: set fewer "
                f"workers, or workers: 1 ({' '.join(str(error).split())})"
            ) from None


def _result(running: deque[tuple[Task, Future[Result]]]) -> tuple[Task, Result]:
    task, future = running.popleft()
    return task, future.result()


def _begin(context: Any, parent: int) -> None:
    """In a worker: take the context, and watch the process that started this one."""
    global _context
    _context = context
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: int) -> None:
    """End this process soon after its parent, which can be killed without saying so.

    Else it would wait for tasks, or for a reader of its results, for ever. Windows does not tell.
    """
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


def _call(function: Callable[[Any, Sent], Result], sent: Sent) -> Result:
    return function(_context, sent)
