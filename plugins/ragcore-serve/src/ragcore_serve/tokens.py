"""Read files of bearer tokens, and look a token up.

Knows the format of a file, and when it is read again; knows nothing of requests. A token is never
part of an error, a log line or a `repr`.

A file has a token on each line, alone or followed by a filter as JSON. Requests with that token
read only passages that match the filter:

    3f0c…  {"department": "sales"}
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time_ns
from typing import Any, Final

from ragcore.errors import ConfigError, QuestionError
from ragcore.filters.expressions import where_from_json

__all__ = ["Token", "TokenFile", "Tokens", "Where"]

Where = Mapping[str, Any]

_LOG: Final = logging.getLogger("ragcore.serve")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
"""As RFC 6750 writes one (b64token), long enough not to be guessed."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The variable by which systemd names the folder of a service's credentials, systemd.exec(5)."""
_LOOK_SECONDS: Final = 1.0
"""Between two looks at whether a file has changed."""
_COARSE_NS: Final = 2 * 10**9
"""A file that was changed so recently may change again without another time of change."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a file.

    Attributes:
        digest: its sha256.
        where: filter that all passages which its owner reads must match; None for no filter.
    """

    digest: bytes = field(repr=False)
    where: Where | None


class Tokens:
    """The tokens of a file, of which only the sha256 stay in memory."""

    def __init__(self, tokens: list[Token]) -> None:
        """Take tokens that `parse` has checked."""
        self._tokens = tokens

    @classmethod
    def parse(cls, path: Path, content: bytes) -> Tokens:
        """Read tokens; empty lines and lines that begin with # are skipped.

        Args:
            path: of the file, for errors.
            content: of the file.

        Raises:
            ConfigError: there is no token, or a line is wrong; names the line by its number alone.
        """
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: the file of tokens is not UTF-8 text") from None
        tokens = list(_lines(path, text))
        if not tokens:
            raise ConfigError(
                f"{path}: the file has no token: write one on a line, such as the output of "
                "openssl rand -hex 32"
            )
        return cls(tokens)

    def find(self, presented: str) -> Token | None:
        """Return a token that a client has sent; None for an unknown one.

        The time that it takes does not depend on the token: sha256 are compared, each with all.
        """
        digest = _digest(presented)
        match = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                match = token
        return match


class TokenFile:
    """A file of tokens that may change while the server runs: tokens are exchanged without a pause.

    A file that cannot be used any more is an ERROR in the log, and the tokens before it stay.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = monotonic) -> None:
        """Read the file.

        Warns where others than the file's owner may read it.

        Args:
            path: of the file.
            clock: tells the time in seconds.

        Raises:
            ConfigError: it cannot be read, has no token, or a line is wrong.
        """
        self._path = path
        self._clock = clock
        self._looked = clock()
        # Before it is read: what is written from then on is a change.
        self._signature = _signature(path)
        content, mode = _read(path)
        self._tokens = Tokens.parse(path, content)
        self._digest = hashlib.sha256(content).digest()
        self._fault: str | None = None
        _warn_of_others(path, mode)

    def current(self) -> Tokens:
        """Return the tokens; looks whether the file has changed, at most once a second."""
        now = self._clock()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._tokens

    def _look(self) -> None:
        signature = _signature(self._path)
        if signature is not None and signature == self._signature:
            return
        self._signature = signature
        try:
            content, mode = _read(self._path)
            digest = hashlib.sha256(content).digest()
            if digest != self._digest:
                self._tokens, self._digest = Tokens.parse(self._path, content), digest
                _LOG.info("%s: the file of tokens has changed, and was read again", self._path)
                _warn_of_others(self._path, mode)
        except ConfigError as error:
            fault = str(error)
            if fault != self._fault:
                _LOG.error("the tokens that were read before stay in use: %s", fault)
            self._fault = fault
        else:
            self._fault = None


def _signature(path: Path) -> tuple[int, ...] | None:
    """Return what differs once a file has changed; None where that cannot be known."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        # A pipe can be read once, and would be waited for.
        return ()
    if time_ns() - status.st_mtime_ns < _COARSE_NS:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> tuple[bytes, int]:
    """Return the content and the mode of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot read the file of tokens: {reason}") from None


def _warn_of_others(path: Path, mode: int) -> None:
    """Warn where others than its owner have access to a file of tokens."""
    folder = os.environ.get(_CREDENTIALS)
    # systemd lets the service's user alone read them, by an access list that the mode shows as the
    # rights of the group.
    if folder is not None and path.parent == Path(folder):
        return
    if mode & _OTHERS:
        _LOG.warning(
            "%s: others than its owner have access to this file of tokens (mode %o): chmod 600 it",
            path,
            mode,
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _lines(path: Path, text: str) -> Iterator[Token]:
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
        yield Token(digest, _where(path, number, rest.strip()))


def _where(path: Path, number: int, text: str) -> Where | None:
    if not text:
        return None
    try:
        return where_from_json(text)
    except QuestionError as error:
        raise ConfigError(f"{path}:{number}: after the token: {error}") from None
