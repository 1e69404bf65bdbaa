"""Errors as HTTP: the status of each, and the one JSON form that all have.

    {"error": {"type": "QueueFull", "message": "…"}}

Knows every error that a request can cause; knows nothing of how a reply is sent.
"""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ragcore.config.reasons import reason
from ragcore.errors import (
    ComponentError,
    ConfigError,
    DeadlineError,
    MemoryMismatchError,
    MemoryUnavailableError,
    QuestionError,
    RagcoreError,
    RemoteError,
    RequestCancelledError,
    StoreCorruptError,
    StoreError,
    UnknownVersionError,
    UnsupportedOperation,
)
from ragcore_serve.outcomes import Draining, QueueFull

__all__ = [
    "BodyTimeoutError",
    "BodyTooLargeError",
    "ForbiddenError",
    "HostError",
    "InternalError",
    "InvalidRequestError",
    "NotReadyError",
    "RefusedError",
    "UnauthorizedError",
    "UnknownPipelineError",
    "client_message",
    "error_row",
    "headers_of",
    "invalid_request",
    "location_of",
    "quoted",
    "status_of",
]


class UnauthorizedError(RagcoreError):
    """A request has no token, or an unknown one."""


class ForbiddenError(RagcoreError):
    """The caller may not do this."""


class HostError(RagcoreError):
    """A request names a host, or comes from a page, that the server does not serve."""


class BodyTooLargeError(RagcoreError):
    """The body of a request is larger than the server reads."""


class BodyTimeoutError(RagcoreError):
    """The body of a request did not come in time."""


class InvalidRequestError(RagcoreError):
    """A request is not in the form that its route expects; names all faults."""


class UnknownPipelineError(RagcoreError):
    """The server has no pipeline of this name."""


class RefusedError(RagcoreError):
    """A change was refused, because of the state that the pipeline is in."""


class NotReadyError(RagcoreError):
    """The server does not serve yet, or no longer."""


class InternalError(RagcoreError):
    """A fault of the server; its log has the cause."""


_LOG: Final = logging.getLogger("ragcore.serve")
_STATUSES: Final[Sequence[tuple[type[RagcoreError], int]]] = (
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (HostError, 403),
    (UnknownPipelineError, 404),
    (UnknownVersionError, 404),
    (BodyTimeoutError, 408),
    (MemoryMismatchError, 409),
    (RefusedError, 409),
    (BodyTooLargeError, 413),
    (InvalidRequestError, 422),
    (QuestionError, 422),
    (ConfigError, 422),
    (UnsupportedOperation, 422),
    (QueueFull, 429),
    (RemoteError, 502),
    (ComponentError, 500),
    (StoreCorruptError, 500),
    (Draining, 503),
    (NotReadyError, 503),
    (RequestCancelledError, 503),
    (StoreError, 503),
    (DeadlineError, 504),
)
"""A class before its bases."""


_LONGEST_NAME: Final = 100
_LONGEST_MESSAGE: Final = 2000
_MOST_FAULTS: Final = 10


def quoted(name: str) -> str:
    """Return a name that a client has sent as an error shows it: in quotes, on one line, cut."""
    return repr(name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…")


def status_of(error: RagcoreError) -> int:
    """Return the HTTP status of an error; 500 for one that no request should cause."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def client_message(error: RagcoreError) -> str:
    """Return what a client may read of an error; an error that it may not is in the log.

    Errors of stores and components name files of the server, and folders that models are in. What
    the client has sent may be long, and comes back cut.
    """
    message = _client_message(error)
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return message[: _LONGEST_MESSAGE - 1] + "…"


def _client_message(error: RagcoreError) -> str:
    match error:
        case UnknownVersionError(version=str() as version):
            return f"no version {quoted(version)}: there are {', '.join(error.versions) or 'none'}"
        case UnknownVersionError():
            message = "the memory has no such version"
        case MemoryMismatchError():
            message = "the pipeline cannot read this version, which was made for another one"
        case MemoryUnavailableError():
            message = "the memory's database does not answer: ask again later"
        case StoreError():
            message = "the memory cannot be used"
        case RemoteError(summary=str() as summary) if summary:
            # Without the reply's words, which may quote a question; and clients need no address.
            _LOG.error("a server that a component asks failed: %s", summary)
            return (
                "a server that the pipeline asks failed: ask again later; the cause is in the log "
                "of the server that you asked"
            )
        case ComponentError():
            # A library's own words, which may name files or quote a question.
            cause = error.__cause__ or error
            frames = "".join(traceback.format_tb(cause.__traceback__)).rstrip("\n")
            _LOG.error("a component failed with %s:\n%s", type(cause).__name__, frames)
            return "a component of the pipeline failed: the server's log says where"
        case _:
            return str(error)
    _LOG.error("a request failed: %s", error)
    return f"{message}: the server's log has the cause"


def error_row(error: RagcoreError, *, to_admin: bool = False) -> dict[str, Any]:
    """Return the JSON form of an error; an administrator reads the whole message."""
    message = str(error) if to_admin else client_message(error)
    return {"error": {"type": type(error).__name__, "message": message}}


def headers_of(error: RagcoreError) -> dict[str, str]:
    """Return the headers that go with an error's reply."""
    match error:
        case UnauthorizedError():
            return {"WWW-Authenticate": "Bearer"}
        case QueueFull():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        case _:
            return {}


def invalid_request(details: Sequence[Mapping[str, Any]]) -> InvalidRequestError:
    """Return pydantic's errors about a request as one error, without the values that were sent."""
    faults = []
    for detail in details:
        where = location_of(detail)
        fault = _fault(detail)
        faults.append(f"{where}: {fault}" if where else fault)
    faults = list(dict.fromkeys(faults))
    if (more := len(faults) - _MOST_FAULTS) > 0:
        faults[_MOST_FAULTS:] = [f"and {more} more"]
    return InvalidRequestError("; ".join(faults))


def _fault(detail: Mapping[str, Any]) -> str:
    """Say in plain words what one of pydantic's errors is."""
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "there is no such field"
        case "json_invalid":
            return f"the body is no JSON, from character {detail['loc'][-1]} on"
        case _:
            return reason(detail)


def location_of(detail: Mapping[str, Any]) -> str:
    """Return the field that one of pydantic's errors is about, such as "settings.k"."""
    if detail["type"] == "json_invalid":
        # The position in the text is no field.
        return ""
    parts = [str(part) for part in detail["loc"] if part not in ("body", "query")]
    return ".".join(part[:_LONGEST_NAME] for part in parts)
