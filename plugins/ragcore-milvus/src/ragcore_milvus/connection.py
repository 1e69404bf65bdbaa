"""Requests to one Milvus: time-outs, what is tried again, and errors without secrets.

Knows the client library and its errors; knows nothing of vectors.
"""

from __future__ import annotations

import logging
import secrets
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

import grpc
from pymilvus import DataType, MilvusClient, MilvusException

from ragcore.errors import MemoryUnavailableError
from ragcore.process.fork import call_in_child, new_lock
from ragcore_milvus.config import MilvusConfig

__all__ = ["Connection", "MissingError", "NotLoadedError", "connection"]

T = TypeVar("T")

_MISSING: Final = frozenset({100})
_NOT_LOADED: Final = frozenset({101})
_NO_INDEX: Final = frozenset({700})
_PASSING: Final = frozenset({1, 2, 3, 4, 8, 103, 400, 401, 500, 501, 503, 901, 902, 903, 905})
"""Codes of Milvus for what is over soon: it starts, is full of requests, or moves data."""

_TIMED_OUT: Final = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED})
_WORDS_MISSING: Final = ("can't find collection", "collection not found", "collection not exist")
_WORDS_NO_INDEX: Final = ("index not found", "index not exist", "there is no vector index")
_WORDS_NOT_LOADED: Final = ("collection not loaded", "has not been loaded")
"""How servers word it that report no code."""

_PAUSE: Final = 0.2
_MOST_SHOWN: Final = 300
_IDENTITY: Final = "ragcore_database_"

# It logs each failed request with a traceback, also those that are tried again; errors are raised.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class MissingError(Exception):
    """Milvus has no such collection, or, where it says so, a collection has no index."""


class NotLoadedError(Exception):
    """The collection is there, but not in the memory of Milvus."""


class Connection:
    """A client of one server and database; several threads may use it, also after a fork."""

    def __init__(self, config: MilvusConfig) -> None:
        """Connect to nothing yet.

        Args:
            config: how to connect.
        """
        self._config = config
        self._lock = new_lock()
        self._client: MilvusClient | None = None
        self._finalizer: weakref.finalize[..., Connection] | None = None
        self._identity: str | None = None
        self._connecting = new_lock()
        self._failed = 0.0
        self._failure = (0, "")
        call_in_child(self._forget)

    @property
    def address(self) -> str:
        """The server and database, for messages."""
        database = f", database {self._config.database!r}" if self._config.database else ""
        return f"Milvus at {self._config.uri}{database}"

    def request(
        self,
        what: str,
        send: Callable[[MilvusClient, float], T],
        *,
        repeatable: bool = True,
        seconds: float | None = None,
    ) -> T:
        """Send a request, and return what it returns.

        What Milvus says is over soon is tried again until the time is up. So is a lost connection,
        by the client library.

        Args:
            what: is done, for messages: "search".
            send: called with the client, and the seconds that it may take.
            repeatable: whether it is sent once more where no reply comes in time.
            seconds: that it may take; the config's `timeout` where None.

        Raises:
            MissingError: there is no such collection, or it has no index.
            NotLoadedError: a search needs the collection to be loaded first.
            MemoryUnavailableError: Milvus cannot be reached, does not reply, or refuses.
        """
        limit = self._config.timeout if seconds is None else seconds
        ends, repeated = time.monotonic() + limit, False
        while True:
            left = max(ends - time.monotonic(), _PAUSE)
            try:
                return send(self._connected(), left)
            except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
                code, text = _code(error), _text(error)
                if code in _MISSING or _says(text, _WORDS_MISSING):
                    raise MissingError from None
                if code in _NO_INDEX or _says(text, _WORDS_NO_INDEX):
                    raise MissingError("the index of ") from None
                if code in _NOT_LOADED or _says(text, _WORDS_NOT_LOADED):
                    raise NotLoadedError from None
                if code in _PASSING and time.monotonic() + _PAUSE < ends:
                    time.sleep(_PAUSE)
                    continue
                if repeatable and not repeated and code in _TIMED_OUT:
                    ends, repeated = time.monotonic() + limit, True
                    continue
                raise MemoryUnavailableError(
                    f"{self.address} did not {what}: {self._shown(text)}{_hint(code, text)}"
                ) from None

    def identity(self, *, make: bool) -> str:
        """Return the name by which this database differs from any other; empty where it has none.

        It is the name of an empty collection: Milvus has no such thing itself.

        Args:
            make: create one where there is none.

        Raises:
            MemoryUnavailableError: as `request`.
        """
        if self._identity is None:
            names = self.request(
                "list collections", lambda client, t: client.list_collections(timeout=t)
            )
            known = sorted(name for name in names if name.startswith(_IDENTITY))
            if known:
                self._identity = known[0]
            elif make:
                name = _IDENTITY + secrets.token_hex(8)
                self.request(
                    "create a collection", lambda client, t: _create_empty(client, name, t)
                )
                self._identity = name
        return self._identity or ""

    def has(self, name: str) -> bool:
        """Return whether there is a collection of a name.

        Raises:
            MemoryUnavailableError: as `request`.
        """
        return bool(
            self.request(
                "look for a collection", lambda client, t: client.has_collection(name, timeout=t)
            )
        )

    def close(self) -> None:
        """Close the connection; another request opens a new one."""
        with self._lock:
            finalizer, self._client, self._finalizer = self._finalizer, None, None
        if finalizer is not None:
            finalizer()

    def _connected(self) -> MilvusClient:
        client = self._client
        if client is not None:
            return client
        config = self._config
        options: dict[str, Any] = {}
        if config.ca_file is not None:
            options["server_pem_path" if config.uri.startswith("https") else "ca_pem_path"] = str(
                config.ca_file
            )
        came = time.monotonic()
        # The library lets one thread connect at a time. Where no server answers, those that waited
        # for one fail as it did: each would wait as long again, one after the other.
        with self._connecting:
            if self._client is not None:
                return self._client
            if self._failed > came:
                code, text = self._failure
                raise MilvusException(code, text)
            try:
                client = MilvusClient(
                    uri=config.uri,
                    token=config.token or "",
                    db_name=config.database,
                    timeout=config.timeout,
                    dedicated=True,
                    **options,
                )
            except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
                code = _code(error)
                self._failed = time.monotonic()
                self._failure = (code if isinstance(code, int) else 2, _text(error))
                raise
            with self._lock:
                self._client = client
                self._finalizer = weakref.finalize(self, client.close)
            return client

    def _forget(self) -> None:
        """Leave the parent's connection to the parent: two processes cannot share one."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self._client = self._finalizer = None

    def _shown(self, text: str) -> str:
        """Return a server's text for a message: without the token, clipped, no control codes."""
        token = self._config.token
        for secret in () if token is None else (token, *token.split(":", 1)[1:]):
            text = text.replace(secret, "…")
        return repr(text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…")


_CONNECTIONS: Final[weakref.WeakValueDictionary[str, Connection]] = weakref.WeakValueDictionary()
_CONNECTIONS_LOCK: Final = new_lock()


def connection(config: MilvusConfig) -> Connection:
    """Return the connection that all indexes share whose config says to connect in the same way."""
    names = ("uri", "token", "database", "ca_file", "timeout")
    key = repr([getattr(config, name) for name in names])
    with _CONNECTIONS_LOCK:
        shared = _CONNECTIONS.get(key)
        if shared is None:
            _CONNECTIONS[key] = shared = Connection(config)
        return shared


def _create_empty(client: MilvusClient, name: str, seconds: float) -> None:
    schema = client.create_schema(auto_id=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema, num_shards=1, timeout=seconds)


def _code(error: Exception) -> Any:
    """Return Milvus's number of an error, or gRPC's status."""
    if isinstance(error, grpc.FutureTimeoutError):
        return grpc.StatusCode.DEADLINE_EXCEEDED
    code = getattr(error, "code", None)
    return code() if callable(code) else code


def _text(error: Exception) -> str:
    """Return what an error says, without what the library adds to it."""
    if isinstance(error, MilvusException):
        return str(error.message)
    details = getattr(error, "details", None)
    text = details() if callable(details) else str(error)
    return str(text) if text else type(error).__name__


def _says(text: str, words: tuple[str, ...]) -> bool:
    return any(each in text.lower() for each in words)


def _hint(code: Any, text: str) -> str:
    """Return what to do about an error."""
    if code in (1400, grpc.StatusCode.UNAUTHENTICATED) or _says(text, ("auth check failure",)):
        return ": check the token"
    if _says(text, ("fail connecting",)):
        # The client library says the same of a token that is refused.
        return ": check uri, that it runs, and the token"
    if code in (1401, grpc.StatusCode.PERMISSION_DENIED):
        return ": the user of this token may not do it"
    return ""
