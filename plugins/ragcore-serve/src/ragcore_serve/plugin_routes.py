"""Serve the routers of plugins, each under a path of its own.

Knows the hook `ragcore_routes`; knows nothing of what a router does, nor of tokens: the app's guard
checks them for every path, and the caller is `request.state.caller`.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.applications import Starlette
from starlette.routing import Router

from ragcore.errors import PluginError
from ragcore.registry.discovery import registry

__all__ = ["mount_plugin_routes"]

_LOG: Final = logging.getLogger("ragcore.serve")


def mount_plugin_routes(app: Starlette) -> None:
    """Serve each router that a plugin names under `/plugins/NAME`.

    One that cannot be used is an ERROR in the log, and everything else is served.

    Args:
        app: of the server.
    """
    for name in registry().names("router"):
        try:
            router = _router(name)
        except PluginError as error:
            _LOG.error("/plugins/%s is not served: %s", name, error)
        else:
            app.mount(f"/plugins/{name}", router)


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
