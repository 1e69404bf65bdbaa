"""The bodies of replies: the JSON of answers, search results and errors.

Knows the core's own JSON forms and what the server adds to them; knows nothing of routes.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel, Field
from starlette.responses import Response

from ragcore.errors import RagcoreError
from ragcore.store.info import VersionInfo
from ragcore.store.manifest import Manifest
from ragcore.types import Answer
from ragcore.views.output import json_text
from ragcore_serve.auth import Caller
from ragcore_serve.errors import error_row, headers_of, status_of

__all__ = ["ERRORS", "Json", "answer_row", "error_reply", "manifest_row", "version_row"]


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


_COUNTS: Final = ("passages", "documents", "bytes")
"""Of a version; by their growth, a caller would learn of passages that it may not read."""

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


def version_row(info: VersionInfo, serving: str, caller: Caller) -> dict[str, Any]:
    """Return the JSON form of a version in a list.

    Args:
        info: of the version.
        serving: the version that is served.
        caller: one whose token has a filter learns no counts, which are of all passages.
    """
    # What is wrong with a broken one names files of the server's.
    row = {**asdict(info), "broken": info.broken is not None, "serving": info.name == serving}
    return _without_counts(row, caller)


def manifest_row(manifest: Manifest, serving: str, caller: Caller) -> dict[str, Any]:
    """Return what is recorded of a version, but for paths of files; arguments as `version_row`."""
    row = {
        "name": manifest.name,
        "created": manifest.created,
        "passages": manifest.passages,
        "documents": manifest.documents,
        "retriever": str(manifest.retriever.get("use")),
        "fingerprint": manifest.fingerprint,
        "parent": manifest.parent,
        "ragcore": manifest.ragcore,
        "bytes": manifest.bytes,
        "serving": manifest.name == serving,
    }
    return _without_counts(row, caller)


def _without_counts(row: dict[str, Any], caller: Caller) -> dict[str, Any]:
    if caller.reads_all:
        return row
    return {name: value for name, value in row.items() if name not in _COUNTS}


def error_reply(error: RagcoreError, *, to_admin: bool = False) -> Json:
    """Return the reply to a request that failed; an administrator reads the whole message."""
    return Json(error_row(error, to_admin=to_admin), status_of(error), headers_of(error))
