"""Log requests, and faults of the server.

Knows method, path, status and time; knows nothing of questions: the query string, which may have
one, is not logged, nor is the message of a fault, which may quote one.
"""

from __future__ import annotations

import logging
import traceback
from typing import Final

from ragcore.process.log_fields import fields
from ragcore_serve.measuring import FinishedRequest

__all__ = ["log_fault", "log_request"]

_LOG: Final = logging.getLogger("ragcore.serve.access")
_FAULTS: Final = logging.getLogger("ragcore.serve")
_LONGEST_PATH: Final = 200


def log_fault(error: BaseException, *, messages: bool) -> None:
    """Log where a fault arose, with its message only if asked: it may quote a question."""
    if messages:
        _FAULTS.error("a request failed", exc_info=error)
        return
    frames = "".join(traceback.format_tb(error.__traceback__))
    _FAULTS.error("a request failed with %s:\n%s", type(error).__name__, frames.rstrip("\n"))


def log_request(request: FinishedRequest) -> None:
    """Log a request as INFO; control characters of its path are escaped."""
    path = ascii(request.path[:_LONGEST_PATH])[1:-1]
    _LOG.info(
        "%s %s: %s, %.1f ms",
        request.method,
        path,
        request.status or "left",
        request.seconds * 1000,
        extra=fields(
            event="request",
            method=request.method,
            path=path,
            status=request.status,
            seconds=request.seconds,
        ),
    )
