"""Measure each request of an app: its route, its status, and how long it took.

Knows ASGI; knows nothing of where the numbers go.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MeasuredRequests"]

_CLIENT_LEFT: Final = 499
"""What counts as the status of a request whose client left before its reply began."""


class MeasuredRequests:
    """Passes the route's template, the method, the status and the seconds of each request on."""

    def __init__(
        self, app: ASGIApp, *, observe: Callable[[str | None, str, int, float], None]
    ) -> None:
        """Measure the requests of an app.

        Args:
            app: what replies.
            observe: called at the end of each request; the template is None where no route matches.
        """
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = _CLIENT_LEFT

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # The router has noted the route in the scope, with its template and not its path.
            template = getattr(scope.get("route"), "path", None)
            self._observe(template, scope["method"], status, perf_counter() - began)
