"""Who asks: bearer tokens, and the passages that the owner of each may read.

Knows files of tokens and how a token is compared; knows nothing of routes. A token is never part of
an error, a log line or a `repr`.

A file has a token on each line, alone or followed by a filter as JSON. Requests with that token
read only passages that match the filter:

    3f0c…  {"department": "sales"}
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from ragcore.errors import ConfigError, QuestionError
from ragcore.filters.expressions import where_from_json
from ragcore.types import Answer, SearchResult
from ragcore_serve.config import ServeConfig, is_loopback
from ragcore_serve.errors import ForbiddenError, UnauthorizedError

__all__ = ["Access", "Caller", "Tokens"]

_LOG: Final = logging.getLogger("ragcore.serve")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
"""As RFC 6750 writes one (b64token), long enough not to be guessed."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

T = TypeVar("T")

Where = Mapping[str, Any]


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

    def shown(self, result: T) -> T:
        """Return what the caller may know of a result, which is an answer, hits or anything else.

        Notes on a filter name fields and values of all passages, also of those that the caller may
        not read, so that whose token has a filter gets none.
        """
        if self.where is None or not isinstance(result, Answer | SearchResult):
            return result
        return cast("T", replace(result, filter_notes=()))


@dataclass(frozen=True, slots=True)
class _Token:
    digest: bytes = field(repr=False)
    where: Where | None


class Tokens:
    """The tokens of a file, of which only the sha256 stay in memory."""

    def __init__(self, tokens: list[_Token]) -> None:
        """Take tokens that `read` has checked."""
        self._tokens = tokens

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Read a file of tokens; empty lines and lines that begin with # are skipped.

        Warns where others than the file's owner may read it.

        Raises:
            ConfigError: the file cannot be read, has no token, or a line is wrong; names the line
                by its number alone.
        """
        try:
            text = path.read_text(encoding="utf-8")
            mode = path.stat().st_mode
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(f"{path}: cannot read the file of tokens: {reason}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: the file of tokens is not UTF-8 text") from None
        if mode & _OTHERS:
            _LOG.warning(
                "%s: others than its owner have access to this file of tokens (mode %o): "
                "chmod 600 it",
                path,
                stat.S_IMODE(mode),
            )
        tokens = list(_lines(path, text))
        if not tokens:
            raise ConfigError(
                f"{path}: the file has no token: write one on a line, such as the output of "
                "openssl rand -hex 32"
            )
        return cls(tokens)

    def find(self, presented: str) -> Caller | None:
        """Return who a token belongs to; None for an unknown one.

        The time that it takes does not depend on the token: sha256 are compared, each with all.
        """
        digest = _digest(presented)
        match = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                match = token
        return None if match is None else Caller(match.where)


class Access:
    """Who may do what, by the settings of the server."""

    def __init__(self, config: ServeConfig) -> None:
        """Read the files of tokens.

        Raises:
            ConfigError: as `Tokens.read`.
        """
        self._tokens = _read(config.token_file)
        self._admins = _read(config.admin_token_file)
        # A caller on this machine may use its files, too.
        self._local = is_loopback(config.host) and not config.open

    def caller(self, authorization: str | None) -> Caller:
        """Return who sends a request, by its header `Authorization`.

        Raises:
            UnauthorizedError: a token is needed, or the one that was sent is unknown.
        """
        presented = _bearer(authorization)
        if presented is not None:
            admin = self._admins and self._admins.find(presented)
            if admin:
                return Caller(admin.where, admin=True)
            known = self._tokens and self._tokens.find(presented)
            if known:
                return known
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


def _read(path: Path | None) -> Tokens | None:
    return None if path is None else Tokens.read(path)


def _bearer(authorization: str | None) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _lines(path: Path, text: str) -> Iterator[_Token]:
    """Yield the tokens of a file.

    Raises:
        ConfigError: a line is wrong.
    """
    seen: dict[bytes, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        token, _, rest = line.strip().partition(" ")
        if not token or token.startswith("#"):
            continue
        if not _TOKEN.fullmatch(token):
            raise ConfigError(
                f"{path}:{number}: a token has at least 16 letters, digits or . _ ~ + / - and "
                "is followed by nothing, or by a space and a filter"
            )
        digest = _digest(token)
        if digest in seen:
            raise ConfigError(f"{path}:{number}: the same token as on line {seen[digest]}")
        seen[digest] = number
        yield _Token(digest, _where(path, number, rest.strip()))


def _where(path: Path, number: int, text: str) -> Where | None:
    if not text:
        return None
    try:
        return where_from_json(text)
    except QuestionError as error:
        raise ConfigError(f"{path}:{number}: after the token: {error}") from None
