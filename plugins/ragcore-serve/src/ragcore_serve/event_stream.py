"""Produce the events of one question as fast as they are known, however fast they are taken.

Knows a pipeline's events and their deadline; knows nothing of lanes (batching.py) or of how events
are sent. A slow reader keeps no version of the memory open: the events of one answer, which are
bounded by its length, wait in a queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any

from ragcore.errors import ComponentError, DeadlineError, RagcoreError, RequestCancelledError
from ragcore.rag import Rag
from ragcore.types import Answer, Event, Token
from ragcore_serve.outcomes import Outcome, kind_of

__all__ = ["EventStream"]


class EventStream(AsyncIterator[Event]):
    """The events of one answer; a failed answer raises its error in their place.

    A `__anext__` that is cancelled, as by `asyncio.wait_for`, loses no event: ask again. Close a
    stream that is left before its end, so that no more of it is computed.
    """

    def __init__(
        self,
        rag: Rag,
        question: str,
        settings: dict[str, Any],
        deadline: float | None,
        opened: AbstractAsyncContextManager[None],
        ended: Callable[[EventStream, Outcome], None],
    ) -> None:
        """Begin to answer, in the running event loop.

        Args:
            rag: answers.
            question: the question.
            settings: of the request.
            deadline: in seconds of `time.monotonic`; then the stream ends with DeadlineError.
            opened: keeps the version of the memory open that the settings name.
            ended: called with this and its outcome, once, when nothing more is computed.
        """
        self._items: asyncio.Queue[Event | RagcoreError | None] = asyncio.Queue()
        self._finished = False
        self._stopped: RagcoreError | None = None
        self._ended = ended
        self._admitted = monotonic()
        self._began: float | None = None
        self._first_token: float | None = None
        self._task = asyncio.get_running_loop().create_task(
            self._produce(rag, question, settings, deadline, opened)
        )
        # Also where the task is cancelled before it has begun.
        self._task.add_done_callback(self._end)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        if self._finished:
            raise StopAsyncIteration
        item = await self._items.get()
        if item is None or isinstance(item, RagcoreError):
            self._finished = True
            if item is None:
                raise StopAsyncIteration
            raise item
        return item

    async def aclose(self) -> None:
        """Compute no more, and forget the events that nobody has taken. Idempotent."""
        self._finished = True
        self.stop(RequestCancelledError("the stream was closed before its answer was known"))
        await asyncio.wait({self._task})

    def stop(self, error: RagcoreError) -> None:
        """End the stream with an error, unless it has ended."""
        if self._stopped is None and self._task.cancel():
            self._stopped = error

    async def _produce(
        self,
        rag: Rag,
        question: str,
        settings: dict[str, Any],
        deadline: float | None,
        opened: AbstractAsyncContextManager[None],
    ) -> Answer:
        remaining = None if deadline is None else max(0.0, deadline - monotonic())
        events = rag.aevents(question, **settings)
        answer: Answer | None = None
        try:
            async with asyncio.timeout(remaining) as limit, opened:
                async for event in events:
                    self._note(event)
                    self._items.put_nowait(event)
                    if isinstance(event, Answer):
                        answer = event
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(
                f"the stream was not complete within its time, {remaining:.3g} s: give it more "
                "time, a smaller k, fewer beams, or a smaller max_new_tokens"
            ) from None
        finally:
            await events.aclose()
        if answer is None:
            raise ComponentError("the stream of events ended without an answer")
        return answer

    def _note(self, event: Event) -> None:
        """Note the times of the first event and of the first token."""
        seconds = monotonic() - self._admitted
        if self._began is None:
            self._began = seconds
        if self._first_token is None and isinstance(event, Token):
            self._first_token = seconds

    def _end(self, task: asyncio.Task[Answer]) -> None:
        result = self._result(task)
        self._items.put_nowait(None if isinstance(result, Answer) else result)
        seconds = monotonic() - self._admitted
        began = self._began
        self._ended(
            self,
            Outcome(
                kind_of(result),
                result,
                seconds=seconds,
                waited=seconds if began is None else began,
                batch=0 if began is None else 1,
                streamed=True,
                first_token=self._first_token,
            ),
        )

    def _result(self, task: asyncio.Task[Answer]) -> Answer | RagcoreError:
        """Return the answer of a finished task, or why there is none."""
        if task.cancelled():
            return self._stopped or RequestCancelledError("the server stopped amid the stream")
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, RagcoreError):
            return error
        wrapped = ComponentError(
            f"the question could not be answered: {type(error).__name__}: {error}"
        )
        wrapped.__cause__ = error
        return wrapped
