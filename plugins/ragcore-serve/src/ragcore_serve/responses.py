"""The bodies of replies: the JSON of answers, search results and errors.

Knows the core's own JSON forms and what the server adds to them; knows nothing of routes.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field
from starlette.responses import Response

from ragcore.errors import RagcoreError
from ragcore.types import Answer
from ragcore.views.output import json_text
from ragcore_serve.errors import error_row, headers_of, status_of

__all__ = ["ERRORS", "Json", "answer_row", "error_reply"]


class Json(Response):
    """A reply in JSON that any program can read: NaN is null, and half surrogates are escapes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the text of a value."""
        return json_text(content).encode("utf-8")


class ErrorFields(BaseModel):
    """What is wrong."""

    type: str = Field(description="The name of the error's class, such as QueueFull.")
    message: str = Field(description="What was found, what was expected, and what to do.")


class ErrorReply(BaseModel):
    """The body of every error."""

    error: ErrorFields


_MEANINGS: Final = {
    400: "The body cannot be read.",
    401: "A token is needed.",
    403: "The caller may not do this, or asks from a host or page that is not served.",
    404: "There is no such pipeline, version or path.",
    408: "The body did not come in time.",
    409: "The pipeline is in a state that does not allow this.",
    413: "The body is too large.",
    422: "The request is not as the route expects, or a question cannot be asked.",
    429: "The queue is full; `Retry-After` says when to ask again.",
    500: "A fault of the server or of a component.",
    503: "The server does not serve yet, or no longer.",
    504: "The answer was not known in time.",
}
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorReply, "description": meaning} for status, meaning in _MEANINGS.items()
}
"""What any route may reply besides its result, for the OpenAPI document."""


def answer_row(answer: Answer | RagcoreError, pipeline: str) -> dict[str, Any]:
    """Return the JSON form of an answer, or of the error in its place."""
    if isinstance(answer, RagcoreError):
        return error_row(answer)
    return {**answer.to_dict(), "pipeline": pipeline}


def error_reply(error: RagcoreError, *, to_admin: bool = False) -> Json:
    """Return the reply to a request that failed; an administrator reads the whole message."""
    return Json(error_row(error, to_admin=to_admin), status_of(error), headers_of(error))
