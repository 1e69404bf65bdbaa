"""Log each request, and turn a fault of the server into a reply.

Knows method, path, status and time; knows nothing of questions: the query string, which may have
one, is not logged, nor is the message of a fault, which may quote one.
"""

from __future__ import annotations

import logging
import traceback
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragcore.process.log_fields import fields
from ragcore_serve.errors import InternalError
from ragcore_serve.responses import error_reply

__all__ = ["AccessLog", "log_fault"]

_LOG: Final = logging.getLogger("ragcore.serve.access")
_FAULTS: Final = logging.getLogger("ragcore.serve")
_LONGEST_PATH: Final = 200


class AccessLog:
    """Logs what an app replies, as INFO."""

    def __init__(self, app: ASGIApp, *, messages: bool = False) -> None:
        """Log the requests of an app.

        Args:
            app: what replies.
            messages: whether the messages of faults are logged, which may quote questions.
        """
        self._app = app
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            log_fault(error, messages=self._messages)
            if status:
                # The reply has begun, so all that can be done is to end the connection.
                raise ConnectionAbortedError("the reply could not be completed") from None
            fault = InternalError("a fault of the server: its log has the cause")
            await error_reply(fault)(scope, receive, noting)
        finally:
            _log_request(scope, status, perf_counter() - began)


def log_fault(error: BaseException, *, messages: bool) -> None:
    """Log where a fault arose, with its message only if asked: it may quote a question."""
    if messages:
        _FAULTS.error("a request failed", exc_info=error)
        return
    frames = "".join(traceback.format_tb(error.__traceback__))
    _FAULTS.error("a request failed with %s:\n%s", type(error).__name__, frames.rstrip("\n"))


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    path = ascii(scope["path"][:_LONGEST_PATH])[1:-1]
    _LOG.info(
        "%s %s: %s, %.1f ms",
        scope["method"],
        path,
        status or "left",
        seconds * 1000,
        extra=fields(
            event="request", method=scope["method"], path=path, status=status, seconds=seconds
        ),
    )
