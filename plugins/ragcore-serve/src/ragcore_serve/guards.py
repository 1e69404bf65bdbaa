"""Refuse requests by their head alone, before their body is read and anything is computed.

Knows ASGI, and how a refusal is sent; what is refused, each check knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ragcore.errors import RagcoreError

__all__ = ["Check", "Guard", "path_of"]

Check = Callable[[HTTPConnection], None]
"""Raises a RagcoreError where a request, or a WebSocket, is refused."""

_POLICY_VIOLATION: Final = 1008
"""The code with which a WebSocket is refused; RFC 6455, section 7.4.1."""


class Guard:
    """Passes on what all checks let pass, and replies to the rest with the error of a check."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        checks: Sequence[Check],
        reply: Callable[[HTTPConnection, RagcoreError], Response],
    ) -> None:
        """Guard an app.

        Args:
            app: what is guarded.
            checks: are called in order.
            reply: returns the reply to a request that a check refuses.
        """
        self._app = app
        self._checks = checks
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or one WebSocket."""
        if scope["type"] in ("http", "websocket"):
            connection = HTTPConnection(scope)
            try:
                for check in self._checks:
                    check(connection)
            except RagcoreError as error:
                refusal = (
                    self._reply(connection, error)
                    if scope["type"] == "http"
                    else WebSocketClose(_POLICY_VIOLATION)
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def path_of(connection: HTTPConnection) -> str:
    """Return the path of a request inside the app, which another app may have mounted."""
    path: str = connection.scope["path"]
    return path.removeprefix(connection.scope.get("root_path", ""))
