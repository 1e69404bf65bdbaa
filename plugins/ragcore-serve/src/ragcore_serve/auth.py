"""Decide who asks: by bearer tokens, and which passages the owner of each may read.

Knows callers, and the paths that need no token; the files of tokens, tokens.py knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar, cast

from starlette.requests import HTTPConnection

from ragcore.types import Answer, SearchResult
from ragcore_serve.config import ServeConfig, is_loopback
from ragcore_serve.errors import ForbiddenError, UnauthorizedError
from ragcore_serve.guards import path_of
from ragcore_serve.tokens import TokenFile, Where

__all__ = ["Access", "Caller", "is_open"]

_OPEN: Final = ("/", "/livez", "/readyz", "/docs", "/docs/docs.js", "/docs/docs.css")
"""Paths that say nothing of what is served; a browser sends no token for a page's files."""
_OPEN_FOLDER: Final = "/page/"

T = TypeVar("T")


def is_open(path: str) -> bool:
    """Return whether a path needs no token; every other does, also one that no route has."""
    return path in _OPEN or path.startswith(_OPEN_FOLDER)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        where: filter that all passages which the caller reads must match; None for no filter.
        admin: whether the caller may change which version is served.
    """

    where: Where | None = None
    admin: bool = False

    def narrowed(self, where: Where | None) -> Where | None:
        """Return the filter of a request: passages must match the request's and the caller's."""
        if self.where is None:
            return where
        if where is None:
            return self.where
        return {"and": [self.where, where]}

    @property
    def reads_all(self) -> bool:
        """Whether the caller may know what is not about single passages, as how many there are."""
        return self.admin or self.where is None

    def shown(self, result: T) -> T:
        """Return what the caller may know of a result, which is an answer, hits or anything else.

        Notes on a filter name fields and values of all passages, also of those that the caller may
        not read, so that whose token has a filter gets none.
        """
        if self.where is None or not isinstance(result, Answer | SearchResult):
            return result
        return cast("T", replace(result, filter_notes=()))


class Access:
    """Who may do what, by the settings of the server."""

    def __init__(self, config: ServeConfig) -> None:
        """Read the files of tokens.

        Raises:
            ConfigError: as `TokenFile`.
        """
        self._tokens = _read(config.token_file)
        self._admins = _read(config.admin_token_file)
        # A caller on this machine may use its files, too.
        self._local = is_loopback(config.host) and not config.open

    def __call__(self, connection: HTTPConnection) -> None:
        """Check one request, whose caller is `request.state.caller` where its path is not open.

        Raises:
            UnauthorizedError: as `caller`.
        """
        if not is_open(path_of(connection)):
            connection.state.caller = self.caller(connection.headers.get("authorization"))

    def caller(self, authorization: str | None) -> Caller:
        """Return who sends a request, by its header `Authorization`.

        Raises:
            UnauthorizedError: a token is needed, or the one that was sent is unknown.
        """
        presented = _bearer(authorization)
        if presented is not None:
            admin = self._admins and self._admins.current().find(presented)
            if admin:
                return Caller(admin.where, admin=True)
            known = self._tokens and self._tokens.current().find(presented)
            if known:
                return Caller(known.where)
        if self._tokens is not None or (presented is not None and self._admins is not None):
            raise UnauthorizedError(
                "this server answers only requests with a token that it knows: send the header "
                "Authorization: Bearer TOKEN"
            )
        return Caller(admin=self._local and self._admins is None)

    def check_admin(self, caller: Caller) -> None:
        """Refuse a caller who may not change which version is served.

        Raises:
            ForbiddenError: says what is missing.
        """
        if caller.admin:
            return
        if self._admins is None:
            raise ForbiddenError(
                "this server has no token for this: start it with --admin-token-file"
            )
        raise ForbiddenError("this needs a token of the server's --admin-token-file")

    def check_reads_all(self, caller: Caller) -> None:
        """Refuse a caller whose token has a filter what is about all passages.

        Raises:
            ForbiddenError: says which tokens may.
        """
        if not caller.reads_all:
            raise ForbiddenError(
                "this is about all passages, and the token may read some: use one without a filter"
            )


def _read(path: Path | None) -> TokenFile | None:
    return None if path is None else TokenFile(path)


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
