"""Send events as a stream of server-sent events: what a client sees, and what ends a stream.

Knows HTTP, and the events of `ragcore.Rag.events`; knows nothing of pipelines, queues and threads.
Format: HTML Living Standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ragcore.errors import RagcoreError
from ragcore.types import Answer, Correction, Event, SearchResult
from ragcore.views.output import json_text
from ragcore_serve.access import log_fault
from ragcore_serve.errors import InternalError, error_row

__all__ = ["EventResponse", "Events", "data_frame", "event_frame", "event_stream"]

_LOG: Final = logging.getLogger("ragcore.serve")

HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment is sent: proxies close silent connections."""

PATIENCE: Final = 30.0
"""Seconds that a client may take before it reads on."""

_COMMENT: Final = ":\n\n"
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    # nginx and others would collect the whole answer before they pass it on.
    "X-Accel-Buffering": "no",
}


class Events(Protocol):
    """The events of one question; `Batcher.stream` and `Rag.aevents` return such."""

    async def __anext__(self) -> Event:
        """Return the next event, or raise the error that ends them."""
        ...

    async def aclose(self) -> None:
        """Compute no more of them."""
        ...


def event_frame(name: str, data: object) -> str:
    r"""Return an event of a stream as it is sent: its name, and its data as JSON in one line.

    Everything but ASCII is escaped: some clients split lines where the standard does not, as at
    U+2028, and find none.

    >>> event_frame("token", {"text": "a\nb"})
    'event: token\ndata: {"text": "a\\nb"}\n\n'
    """
    return f"event: {name}\n{data_frame(data)}"


def data_frame(data: object) -> str:
    """Return an event without a name as it is sent; otherwise as `event_frame`."""
    return f"data: {json_text(data, ascii_only=True)}\n\n"


def event_stream(
    events: Events,
    *,
    pipeline: str,
    shown: Callable[[Event], Event] = lambda event: event,
    deadline: float | None = None,
    heartbeat: float = HEARTBEAT,
    patience: float = PATIENCE,
) -> EventResponse:
    """Return the response that streams an answer as `hits`, `token`, `correction`, `answer`.

    An error before the first event is raised, and answered by a status as any other request's;
    a later one is the event `error`, with which the stream ends.

    Args:
        events: of one question.
        pipeline: its name, which `hits` and `answer` repeat.
        shown: returns what the client may know of an event.
        deadline: as of `EventResponse`.
        heartbeat: as of `EventResponse`.
        patience: as of `EventResponse`.
    """

    def frame(event: Event) -> str:
        match event := shown(event):
            case SearchResult():
                return event_frame("hits", {"pipeline": pipeline} | event.to_dict())
            case Answer():
                return event_frame("answer", {"pipeline": pipeline} | event.to_dict())
            case Correction():
                return event_frame("correction", {"text": event.text})
            case _:
                return event_frame(
                    "token",
                    {
                        "text": event.text,
                        "log_prob": event.log_prob,
                        "posterior": event.posterior,
                    },
                )

    return EventResponse(
        events,
        frame,
        error_frame=lambda error: event_frame("error", error_row(error)),
        deadline=deadline,
        heartbeat=heartbeat,
        patience=patience,
    )


class EventResponse(StreamingResponse):
    """A response of events that are sent as they come.

    The events are closed at the end, also where the client leaves before it, which cancels the
    request. A client that stops reading is disconnected.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: Events,
        frame: Callable[[Event], str],
        *,
        error_frame: Callable[[RagcoreError], str],
        refusal: Callable[[RagcoreError], Response] | None = None,
        deadline: float | None = None,
        heartbeat: float = HEARTBEAT,
        patience: float = PATIENCE,
    ) -> None:
        """Begin nothing yet.

        Args:
            events: of one question; those of `Rag.aevents` keep their version of the memory open
                until they are taken, those of `Batcher.stream` do not wait for it.
            frame: returns what is sent for an event; may be empty.
            error_frame: returns what is sent for an error that ends the events.
            refusal: returns the response where they end before the first one, in place of the
                stream; None where the error is raised then.
            deadline: seconds after which the events should have ended; a client that has not read
                them `patience` later is disconnected. None for no limit of the whole.
            heartbeat: seconds without an event after which a comment is sent.
            patience: seconds that a client may take before it reads on.
        """
        super().__init__((), headers=dict(_HEADERS))
        self._events = events
        self._frame = frame
        self._error_frame = error_frame
        self._refusal = refusal
        self._limit = None if deadline is None else deadline + patience
        self._heartbeat = heartbeat
        self._patience = patience
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, until it ends or its client leaves."""
        sending = asyncio.create_task(self._send_all(scope, receive, send))
        leaving = asyncio.create_task(_client_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = sending.done()
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._events.aclose()
        if ended:
            sending.result()

    async def _send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._limit):
                refused = await self._send_events(send)
        except TimeoutError:
            # The server closes the connection of a response that is not complete.
            _LOG.warning("a client did not read its stream in time: it is disconnected")
        except OSError:
            _LOG.debug("a client left amid its stream")
        else:
            if refused is not None:
                await refused(scope, receive, send)

    async def _send_events(self, send: Send) -> Response | None:
        """Send events until the last; return what is to be sent in their place, if anything."""
        step: asyncio.Task[Event] | None = None
        try:
            while True:
                step = step or asyncio.create_task(_next(self._events))
                await asyncio.wait({step}, timeout=self._heartbeat)
                if not step.done():
                    await self._write(_COMMENT, send)
                    continue
                try:
                    event = step.result()
                except StopAsyncIteration:
                    await self._write("", send, last=True)
                    return None
                # What computes the events may fail by any error; the client reads one of ours.
                except Exception as error:
                    failure = _as_ragcore_error(error)
                    if self._started:
                        await self._write(self._error_frame(failure), send, last=True)
                        return None
                    if self._refusal is None:
                        raise failure from error
                    return self._refusal(failure)
                step = None
                if text := self._frame(event):
                    await self._write(text, send)
        finally:
            if step is not None:
                step.cancel()
                await asyncio.wait({step})

    async def _write(self, text: str, send: Send, *, last: bool = False) -> None:
        messages: list[Message] = []
        if not self._started:
            self._started = True
            start = {"status": self.status_code, "headers": self.raw_headers}
            messages.append({"type": "http.response.start", **start})
        body = {"body": text.encode("ascii"), "more_body": not last}
        messages.append({"type": "http.response.body", **body})
        async with asyncio.timeout(self._patience):
            for message in messages:
                await send(message)


async def _next(events: Events) -> Event:
    """Return the next event; a task needs a coroutine, which `__anext__` may not return."""
    return await events.__anext__()


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _as_ragcore_error(error: Exception) -> RagcoreError:
    if isinstance(error, RagcoreError):
        return error
    log_fault(error, messages=False)
    return InternalError("a fault of the server: its log has the cause")
