"""Refuse requests that name a foreign host, or that a foreign web page sends.

A page of elsewhere can point its own name at this machine (DNS rebinding), or send a form to it.
The browser of its visitor names the page: in `Host`, which has the page's name, and in
`Origin`. Knows these two headers; knows nothing of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from ragcore_serve.config import ServeConfig, is_loopback
from ragcore_serve.errors import HostError
from ragcore_serve.responses import error_reply

__all__ = ["HostGuard", "hosts_of"]

_PROBES: Final = ("/livez", "/readyz")
"""A probe asks by the address of a container."""
_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\](?::[0-9]+)?")
"""An IPv6 address; what else follows the brackets would be part of another name."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def hosts_of(config: ServeConfig) -> tuple[str, ...]:
    """Return the hosts that requests may name.

    A server that others can reach has names that it does not know, such as those of a proxy. Where
    it needs tokens, which no foreign page has, any name may be used unless some are listed.
    """
    if is_loopback(config.host):
        return (*_LOOPBACK, _host_of(config.host), *map(_host_of, config.hosts))
    return tuple(map(_host_of, config.hosts)) or ("*",)


class HostGuard:
    """Refuses requests of which `Host` or `Origin` is foreign, except those of probes.

    `request.state.foreign` is whether it is, for the routes of probes.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> None:
        """Guard an app.

        Args:
            app: what is guarded.
            hosts: that a request may name; `*` allows any.
            origins: of pages that may ask, besides those of the server itself; `*` allows any.
        """
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            error = self._error(scope)
            if error is not None and scope["path"] not in _PROBES:
                await error_reply(error)(scope, receive, send)
                return
            scope.setdefault("state", {})["foreign"] = error is not None
        await self._app(scope, receive, send)

    def _error(self, scope: Scope) -> HostError | None:
        headers = {name: value.decode("latin-1").lower() for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if "*" not in self._hosts and _host_of(host) not in self._hosts:
            return HostError(
                f"this server does not answer for the host {_host_of(host)[:100]!r}: start it with "
                "--allow-host for each name that it is reached by"
            )
        origin = headers.get(b"origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return None
        if origin in (f"http://{host}", f"https://{host}"):
            return None
        return HostError(
            f"pages of {origin[:100]!r} may not ask this server: start it with --cors for each "
            "origin that may"
        )


def _host_of(authority: str) -> str:
    """Return the host of `host:port`, without the brackets of an IPv6 address."""
    if bracketed := _BRACKETED.fullmatch(authority):
        return bracketed[1].lower()
    host, colon, port = authority.rpartition(":")
    # More than one colon is an address without a port.
    return (host if colon and ":" not in host and port.isdigit() else authority).lower()
