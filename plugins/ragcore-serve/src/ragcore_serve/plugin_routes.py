"""Serve the routers of plugins, each under a path of its own and behind the server's tokens.

Knows the hook `ragcore_routes`; knows nothing of what a router does. A router is guarded as a
whole, since FastAPI applies dependencies only to some kinds of the routes that it may have.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ragcore.errors import PluginError, RagcoreError
from ragcore.registry.discovery import registry
from ragcore_serve.auth import Access
from ragcore_serve.responses import error_reply

__all__ = ["Guarded", "mount_plugin_routes"]

_LOG: Final = logging.getLogger("ragcore.serve")
_POLICY_VIOLATION: Final = 1008
"""The code with which a WebSocket is refused; RFC 6455, section 7.4.1."""


def mount_plugin_routes(app: Starlette, access: Access) -> None:
    """Serve each router that a plugin names under `/plugins/NAME`.

    One that cannot be used is an ERROR in the log, and everything else is served.

    Args:
        app: of the server.
        access: who may ask.
    """
    for name in registry().names("router"):
        try:
            router = _router(name)
        except PluginError as error:
            _LOG.error("/plugins/%s is not served: %s", name, error)
        else:
            app.mount(f"/plugins/{name}", Guarded(router, access))


class Guarded:
    """An app that only those reach who have a token, if the server has any.

    The caller is `request.state.caller`.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Guard an app.

        Args:
            app: what replies.
            access: who may ask.
        """
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request of somebody who may ask; refuse others."""
        try:
            caller = self._access.caller(Headers(scope=scope).get("authorization"))
        except RagcoreError as error:
            if scope["type"] == "websocket":
                await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
            else:
                await error_reply(error)(scope, receive, send)
            return
        state = {**scope.get("state", {}), "caller": caller}
        await self._app({**scope, "state": state}, receive, send)


def _router(name: str) -> Router:
    """Import a router.

    Raises:
        PluginError: it cannot be imported, or is none.
    """
    router = registry().load("router", name)
    if not isinstance(router, Router):
        raise PluginError(
            f"router {name!r}: found {type(router).__name__} at {registry().target('router', name)}"
            ": expected a fastapi.APIRouter"
        )
    return router
