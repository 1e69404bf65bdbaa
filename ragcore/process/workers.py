"""The threads in which a pipeline works for an event loop.

Knows nothing of questions. Work that is cancelled before it has begun is dropped; work that has
begun is told by a function that its caller passes, since a thread cannot be stopped from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, ParamSpec, TypeVar

from ragcore.errors import StoreError
from ragcore.process.cpus import usable_cpus
from ragcore.process.fork import call_in_child, new_lock

__all__ = ["Workers"]

P = ParamSpec("P")
T = TypeVar("T")

_FEWEST: Final = 2
"""Threads at least, so that one long answer does not hold up all others."""


class Workers:
    """Threads of one pipeline's own, started when they are first needed.

    Attributes:
        threads: how many at most: one a processor, since each computes, and each has a heap of its
            own.
    """

    def __init__(self, name: str) -> None:
        """Start nothing yet; `name` is what the threads are called."""
        self._name = name
        self.threads = max(_FEWEST, usable_cpus())
        self._lock = new_lock()
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False
        call_in_child(self._forget_threads)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread, in a copy of the caller's context, and await its result.

        Raises:
            StoreError: the pipeline is closed, or was closed before the call began.
        """
        return await self._result(self._submit(function, *args, **kwargs), None)

    async def run_until_cancelled(
        self,
        cancel: Callable[[], None],
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a function as `run` does, and tell it where its caller is cancelled.

        Args:
            cancel: called then, so that the function may end early.
            function: what is called.
            args: of the function.
            kwargs: of the function.

        Raises:
            StoreError: as `run`.
        """
        return await self._result(self._submit(function, *args, **kwargs), cancel)

    async def iterate(
        self, steps: Generator[T, None, None], cancel: Callable[[], None] | None = None
    ) -> AsyncGenerator[T, None]:
        """Yield what a generator does, each step in a thread; it is closed at the end.

        Where the caller is cancelled amid a step, the generator is closed as soon as the step ends.

        Args:
            steps: the generator.
            cancel: called where the caller is cancelled, so that the step may end early.

        Raises:
            StoreError: the pipeline is closed, or was closed before a step began.
        """
        step: Future[tuple[T] | None] | None = None
        try:
            while True:
                step = self._submit(_advance, steps)
                item = await self._result(step, cancel)
                if item is None:
                    return
                yield item[0]
        finally:
            if step is None:
                steps.close()
            else:
                # At once where the step is done or dropped, else in its thread when it ends.
                step.add_done_callback(lambda _: steps.close())

    def close(self) -> None:
        """Drop the work that has not begun; what has begun ends in its thread. Idempotent."""
        with self._lock:
            executor, self._executor, self._closed = self._executor, None, True
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        context = copy_context()
        with self._lock:
            if self._closed:
                raise StoreError("the pipeline is closed: load it again")
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self.threads, self._name)
            return self._executor.submit(lambda: context.run(function, *args, **kwargs))

    async def _result(self, future: Future[T], cancel: Callable[[], None] | None) -> T:
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if cancel is not None:
                cancel()
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise StoreError(
                    "the pipeline was closed before this question was begun: load it again"
                ) from None
            raise

    def _forget_threads(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._executor = None


def _advance(steps: Generator[T, None, None]) -> tuple[T] | None:
    """Return the next item in a tuple, or None at the end."""
    for item in steps:
        return (item,)
    return None
