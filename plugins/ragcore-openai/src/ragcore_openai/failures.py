"""How requests to a server fail: for good, or in a way that another attempt may not.

Knows errors and what a reply says of itself; sends nothing.
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Final

from ragcore.errors import GeneratorError, RemoteError

__all__ = [
    "FOR_THE_MOMENT",
    "HINTS",
    "SERVER_FAULT",
    "Passing",
    "ServerError",
    "message_of",
    "retry_after",
]

FOR_THE_MOMENT: Final = frozenset({408, 409, 425, 429})
SERVER_FAULT: Final = 500

HINTS: Final[Mapping[int, str]] = {
    401: "check the key",
    403: "check the key, and what it may do",
    404: "check base_url and the model's name",
    413: "send fewer or shorter texts",
    429: "the server allows fewer requests: lower concurrency, or raise retry_seconds",
}


class ServerError(RemoteError, GeneratorError):
    """A server could not be reached, refused a request, or replied with something else.

    Attributes:
        status: of the reply; None where there is none, or its content is at fault.
        reply: its text, which may hold anything; empty where there is none.
    """

    def __init__(
        self, message: str, status: int | None = None, reply: str = "", summary: str = ""
    ) -> None:
        super().__init__(message, summary)
        self.status = status
        self.reply = reply


class Passing(Exception):  # noqa: N818 (not an error of the caller yet)
    """An attempt failed in a way that another one may not.

    Attributes:
        reason: what happened.
        summary: the same without the words of the reply.
        after: seconds that the server asks to wait; None where it does not say.
        status: of the reply, if there is one.
        reply: its text.
    """

    def __init__(
        self,
        reason: str,
        after: float | None = None,
        status: int | None = None,
        reply: str = "",
        summary: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.summary = reason if summary is None else summary
        self.after = after
        self.status = status
        self.reply = reply


def message_of(text: str) -> str:
    """Return the message of an error in OpenAI's form, or the whole text."""
    try:
        error = json.loads(text)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        return text
    return message if isinstance(message, str) else text


def retry_after(header: str | None) -> float | None:
    """Return how many seconds a server asks to wait: a number, or a date; None if it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = moment.timestamp() - time.time()
    # NaN is in no order.
    return max(seconds, 0.0) if seconds < float("inf") else None
