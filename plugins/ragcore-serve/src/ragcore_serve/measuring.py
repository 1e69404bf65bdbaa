"""Measure each request of an app, and reply where it fails.

Knows ASGI; knows nothing of where the measures go, nor of what is done about a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragcore.errors import RagcoreError
from ragcore_serve.responses import error_reply

__all__ = ["FinishedRequest", "MeasuredRequests"]


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """A request whose reply has ended.

    Attributes:
        route: its template, such as "/v1/versions/{version}"; None where no route matches.
        method: of HTTP, as the client wrote it.
        path: as the client wrote it, without the query string.
        status: of the reply; None where the client left before it began.
        seconds: from the request's head to the end of the reply.
    """

    route: str | None
    method: str
    path: str
    status: int | None
    seconds: float


class MeasuredRequests:
    """Passes on what is known of each request when it ends."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        observers: Sequence[Callable[[FinishedRequest], None]],
        on_fault: Callable[[Exception], RagcoreError],
    ) -> None:
        """Measure the requests of an app.

        Args:
            app: what replies.
            observers: called at the end of each request.
            on_fault: called with an error that the app lets pass; returns what the client reads.
        """
        self._app = app
        self._observers = observers
        self._on_fault = on_fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status: int | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            fault = self._on_fault(error)
            if status is not None:
                # The reply has begun, so all that can be done is to end the connection.
                raise ConnectionAbortedError("the reply could not be completed") from None
            await error_reply(fault)(scope, receive, noting)
        finally:
            # The router has noted the route in the scope, with its template and not its path.
            template = getattr(scope.get("route"), "path", None)
            seconds = perf_counter() - began
            finished = FinishedRequest(template, scope["method"], scope["path"], status, seconds)
            for observe in self._observers:
                observe(finished)
