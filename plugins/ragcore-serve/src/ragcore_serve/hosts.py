"""Refuse requests that name a foreign host, or that a foreign web page sends.

A page of elsewhere can point its own name at this machine (DNS rebinding), send a form to it, or
show what it asks for as an image. The browser of its visitor names the page: in `Host`, which has
the page's name, in `Origin`, and, where that is missing, in `Sec-Fetch-Site`, which says whether
the page is another site's. Knows these headers; knows nothing of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import HTTPConnection

from ragcore_serve.auth import is_open
from ragcore_serve.config import ServeConfig, is_loopback
from ragcore_serve.errors import HostError
from ragcore_serve.guards import path_of

__all__ = ["HostCheck", "hosts_of"]

_PROBES: Final = ("/livez", "/readyz")
"""A probe asks by the address of a container."""
_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\](?::[0-9]+)?")
"""An IPv6 address; what else follows the brackets would be part of another name."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_FOREIGN_SITES: Final = ("cross-site", "same-site")
"""What `Sec-Fetch-Site` is for pages of others; ports of one host are one site, and two origins.
https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header"""


def hosts_of(config: ServeConfig) -> tuple[str, ...]:
    """Return the hosts that requests may name.

    A server that others can reach has names that it does not know, such as those of a proxy. Where
    it needs tokens, which no foreign page has, any name may be used unless some are listed.
    """
    if is_loopback(config.host):
        return (*_LOOPBACK, _host_of(config.host), *map(_host_of, config.hosts))
    return tuple(map(_host_of, config.hosts)) or ("*",)


class HostCheck:
    """Refuses requests that name a foreign host or come from a foreign page, except of probes.

    `request.state.foreign` is whether they do, for the routes of probes.
    """

    def __init__(self, hosts: Sequence[str], origins: Sequence[str]) -> None:
        """Take what is not foreign.

        Args:
            hosts: that a request may name; `*` allows any.
            origins: of pages that may ask, besides those of the server itself; `*` allows any.
        """
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    def __call__(self, connection: HTTPConnection) -> None:
        """Check one request.

        Raises:
            HostError: says which option would let it in.
        """
        error = self._error(connection)
        connection.state.foreign = error is not None
        if error is not None and path_of(connection) not in _PROBES:
            raise error

    def _error(self, connection: HTTPConnection) -> HostError | None:
        host = connection.headers.get("host", "").lower()
        if "*" not in self._hosts and _host_of(host) not in self._hosts:
            return HostError(
                f"this server does not answer for the host {_host_of(host)[:100]!r}: start it with "
                "--allow-host for each name that it is reached by"
            )
        if "*" in self._origins:
            return None
        origin = connection.headers.get("origin", "").lower()
        if "origin" not in connection.headers:
            return self._site_error(connection)
        if origin in self._origins or origin in (f"http://{host}", f"https://{host}"):
            return None
        return HostError(
            f"pages of {origin[:100]!r} may not ask this server: start it with --cors for each "
            "origin that may"
        )

    def _site_error(self, connection: HTTPConnection) -> HostError | None:
        """Refuse what a foreign page loads, as an image; links to the server's page work."""
        site = connection.headers.get("sec-fetch-site", "").lower()
        if site not in _FOREIGN_SITES or is_open(path_of(connection)):
            return None
        return HostError(
            "pages of other sites may not load what this server computes: ask by fetch, and start "
            "the server with --cors for each origin that may"
        )


def _host_of(authority: str) -> str:
    """Return the host of `host:port`, without the brackets of an IPv6 address."""
    if bracketed := _BRACKETED.fullmatch(authority):
        return bracketed[1].lower()
    host, colon, port = authority.rpartition(":")
    # More than one colon is an address without a port.
    return (host if colon and ":" not in host and port.isdigit() else authority).lower()
