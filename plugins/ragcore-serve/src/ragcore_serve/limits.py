"""Bound the body of a request while it is read: its bytes, and the time that it takes.

Knows ASGI; knows nothing of what a body says.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragcore.errors import RagcoreError
from ragcore_serve.errors import BodyTimeoutError, BodyTooLargeError, status_of
from ragcore_serve.guards import Check

__all__ = ["BodyLimit", "RefusedBody", "declared_size_check"]

BODY_SECONDS: Final = 30.0
"""In which a body must have come."""


class RefusedBody(HTTPException):
    """Leaves FastAPI's reading of a body, which lets no other exception pass."""

    def __init__(self, error: RagcoreError) -> None:
        super().__init__(status_of(error))
        self.error = error


class BodyLimit:
    """Ends a request whose body is too large, or comes too slowly, as soon as that is known."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float = BODY_SECONDS) -> None:
        """Bound the requests of an app.

        Args:
            app: what reads the bodies.
            max_bytes: of a body.
            seconds: in which it must have come, from the first read on.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        bounded = scope["type"] == "http"
        await self._app(scope, _Bounded(receive, self).receive if bounded else receive, send)


def declared_size_check(max_bytes: int) -> Check:
    """Return the check of the size that a request's head declares, before any of it is read."""

    def check(connection: HTTPConnection) -> None:
        declared = connection.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_bytes:
            raise _too_large(max_bytes)

    return check


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"the body is larger than this server reads, {max_bytes:,} bytes: send fewer or shorter "
        "questions"
    )


class _Bounded:
    """Passes on the messages of one request."""

    def __init__(self, receive: Receive, limit: BodyLimit) -> None:
        self._receive = receive
        self._limit = limit
        self._bytes = 0
        self._complete = False
        self._deadline: float | None = None

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            RefusedBody: the body is too large, or late.
        """
        if self._complete:
            # What comes now is that the client has left, for which any time is right.
            return await self._receive()
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + self._limit._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise RefusedBody(
                BodyTimeoutError(
                    f"the body did not come within {self._limit._seconds:g} s: send it again"
                )
            ) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._limit._max_bytes:
            raise RefusedBody(_too_large(self._limit._max_bytes))
        self._complete = not message.get("more_body", False)
        return message
