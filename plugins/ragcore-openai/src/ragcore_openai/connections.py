"""The connections of one client, in an event loop that runs in a thread of its own.

A thread that waits for a blocking socket cannot be called back. In an event loop a request can be
given up at any moment, from any thread, and its connection is closed: the server then stops writing
what nobody reads. Knows HTTP's bytes and when to look whether to go on; knows nothing of attempts,
statuses or JSON.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

import httpx

__all__ = ["LOOK_EVERY", "Connections", "Lines", "Received"]

LOOK_EVERY: Final = 0.05
"""Seconds between two looks whether a request should go on."""

_CLOSING: Final = 5.0
"""Seconds that open connections are waited for when they are closed."""

_END: Final = object()

T = TypeVar("T")

Received = tuple[httpx.Response, bytes]
"""A response, and its whole content."""

Lines = Generator[httpx.Response | str, None, None]
"""A response, and then the lines of its content; closing ends the request."""


class Connections:
    """Sends requests, each from the thread that calls; safe to use from several threads."""

    def __init__(self, headers: Mapping[str, str], most_bytes: int) -> None:
        """Start the thread; connect to nothing yet.

        Args:
            headers: of every request.
            most_bytes: of a reply; what is longer raises OverflowError.
        """
        self._loop: Final = asyncio.new_event_loop()
        self._most_bytes: Final = most_bytes
        # The whole of an attempt has its time, below.
        limits, timeout = httpx.Limits(max_connections=None), httpx.Timeout(None)
        self._http: Final = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits)
        closing = asyncio.Event()
        self._thread: Final = threading.Thread(
            target=_run, args=(self._loop, self._http, closing), name="ragcore-openai", daemon=True
        )
        self._thread.start()
        self._finalizer: Final = weakref.finalize(
            self, self._loop.call_soon_threadsafe, closing.set
        )

    def exchange(
        self, method: str, url: str, body: bytes, seconds: float, check: Callable[[], None]
    ) -> Received:
        """Send a request, and return the response with its content.

        Args:
            method: of HTTP.
            url: the whole address.
            body: what is sent.
            seconds: until the whole reply is there.
            check: called every `LOOK_EVERY` seconds; what it raises gives the request up.

        Raises:
            TimeoutError: the time is over.
            OverflowError: the reply is too long.
            httpx.HTTPError, httpx.InvalidURL: it failed.
        """
        future = self._submit(self._received(method, url, body, seconds))
        try:
            while not wait([future], LOOK_EVERY).done:
                check()
            return future.result()
        finally:
            future.cancel()

    def lines(
        self, method: str, url: str, body: bytes, seconds: float, check: Callable[[], None]
    ) -> Lines:
        """Send a request; yield the response, and then each line of a success as it comes.

        The content of a response that is no success is its `text`. A request whose lines are not
        all asked for is given up. Arguments and errors as `exchange`.
        """
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        future = self._submit(self._feed(arrived, method, url, body, seconds))
        future.add_done_callback(lambda _: arrived.put(_END))
        try:
            while True:
                try:
                    item = arrived.get(timeout=LOOK_EVERY)
                except queue.Empty:
                    check()
                    continue
                if item is _END:
                    break
                yield item
            future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        self._finalizer()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSING)

    def leave(self) -> None:
        """Close nothing when this is collected, as in a forked child: a parent has these, too."""
        self._finalizer.detach()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _received(self, method: str, url: str, body: bytes, seconds: float) -> Received:
        async with asyncio.timeout(seconds), self._http.stream(method, url, content=body) as reply:
            return reply, await self._content(reply)

    async def _feed(
        self, arrived: queue.SimpleQueue[Any], method: str, url: str, body: bytes, seconds: float
    ) -> None:
        async with asyncio.timeout(seconds), self._http.stream(method, url, content=body) as reply:
            if not reply.is_success:
                await reply.aread()
                arrived.put(reply)
                return
            arrived.put(reply)
            size = 0
            async for line in reply.aiter_lines():
                size += len(line)
                if size > self._most_bytes:
                    raise OverflowError
                arrived.put(line)

    async def _content(self, reply: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in reply.aiter_bytes():
            content += chunk
            if len(content) > self._most_bytes:
                raise OverflowError
        return bytes(content)


def _run(loop: asyncio.AbstractEventLoop, http: httpx.AsyncClient, closing: asyncio.Event) -> None:
    """Run the loop until it is to close; then give up what runs, and close the connections."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(http, closing))
    finally:
        loop.close()


async def _serve(http: httpx.AsyncClient, closing: asyncio.Event) -> None:
    await closing.wait()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await http.aclose()
