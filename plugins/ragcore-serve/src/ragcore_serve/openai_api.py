"""The routes that clients of OpenAI's chat API use: `/v1/chat/completions` and `/v1/models`.

Knows HTTP, the served pipelines and OpenAI's form of errors; knows nothing of how an answer becomes
a reply (openai_replies.py). A model is a pipeline, `PIPELINE`, or one version of its memory,
`PIPELINE@VERSION`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from time import monotonic
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from ragcore.contracts import gives_steps
from ragcore.errors import RagcoreError, UnknownVersionError
from ragcore_serve.errors import (
    UnknownPipelineError,
    client_message,
    headers_of,
    invalid_request,
    location_of,
    quoted,
    status_of,
)
from ragcore_serve.limits import RefusedBody
from ragcore_serve.openai_replies import ChatReply
from ragcore_serve.openai_requests import (
    ChatRequest,
    RefusedFieldError,
    check_fields,
    decoding_of,
    drawable,
    history_of,
    question_of,
)
from ragcore_serve.requests import check_limits, check_settings, question_fault
from ragcore_serve.responses import Json
from ragcore_serve.served import ServedPipeline
from ragcore_serve.serving import (
    CallerNow,
    Serving,
    ServingNow,
    answers_to,
    events_of,
    request_for,
)
from ragcore_serve.streams import EventResponse, data_frame

__all__ = ["PATHS", "OpenAIRoute", "openai_error", "openai_row", "router"]

_QUESTIONS: Final = logging.getLogger("ragcore.serve.questions")

PATHS: Final = ("/v1/chat/", "/v1/models")
"""How the paths begin that are these routes'."""

_BAD_REQUEST: Final = 400
_UNPROCESSABLE: Final = 422
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


def openai_row(error: RagcoreError) -> dict[str, Any]:
    """Return an error in OpenAI's form; `code` is its class where OpenAI has no word for it."""
    status = status_of(error)
    kind = "invalid_request_error"
    if status >= _SERVER_ERROR:
        kind = "server_error"
    elif status == _TOO_MANY:
        kind = "rate_limit_error"
    param, code = None, type(error).__name__
    match error:
        case RefusedFieldError():
            kind, param, code = "invalid_request_error", error.param, error.code
        case UnknownPipelineError() | UnknownVersionError():
            param, code = "model", "model_not_found"
    return {"error": {"message": client_message(error), "type": kind, "param": param, "code": code}}


def openai_error(error: RagcoreError) -> Json:
    """Return the reply to a request that failed; what is wrong with a request is 400 here."""
    status = status_of(error)
    if status == _UNPROCESSABLE or isinstance(error, RefusedFieldError):
        status = _BAD_REQUEST
    return Json(openai_row(error), status, headers_of(error))


class OpenAIRoute(APIRoute):
    """A route whose errors have OpenAI's form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return openai_error(_invalid(error))
            except RefusedBody as refused:
                return openai_error(refused.error)
            except RagcoreError as error:
                return openai_error(error)

        return handled


router = APIRouter(prefix="/v1", route_class=OpenAIRoute, tags=["OpenAI"])


@router.post("/chat/completions", response_model=None)
async def chat_completions(
    request: Request, body: ChatRequest, caller: CallerNow, serving: ServingNow
) -> Response:
    """Answer the user's last message; see docs/how-to/serve-openai.md."""
    check_fields(body)
    served, version = _model(serving, body.model)
    question = question_of(body)
    if (fault := question_fault(question, serving.config)) is not None:
        raise fault
    settings = check_settings(body.ragcore.settings, serving.config)
    decoding = decoding_of(body, served.rag.config)
    if "sample" in decoding:
        settings["sample"] = decoding.pop("sample") | settings.get("sample", {})
    settings |= decoding
    if served.rag.config.rewrite is not None:
        settings.setdefault("history", history_of(body, serving.config.max_question_chars))
    check_limits(settings, serving.config)
    settings = drawable(settings, served.rag.config, served.rag.generator)
    longest = settings.get("max_new_tokens", served.rag.config.max_new_tokens)
    if body.longest is not None:
        longest = min(longest, body.longest)
    deadline = serving.deadline(body.ragcore.timeout)
    if serving.config.log_questions:
        _QUESTIONS.info("%s: %s", served.name, ascii(question))
    await asyncio.to_thread(served.check_version, version)
    asked = request_for(caller, question, settings | {"max_new_tokens": longest}, version)
    citations = body.ragcore.citations
    reply = ChatReply(
        model=body.model,
        pipeline=served.name,
        prompt_tokens=await asyncio.to_thread(_tokens, served, question),
        citations=serving.config.citations if citations is None else citations,
        logprobs=bool(body.logprobs),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
    )
    if body.stream:
        return EventResponse(
            events_of(request, serving, served, asked, deadline),
            lambda event: reply.frames(caller.shown(event)),
            error_frame=lambda error: data_frame(openai_row(error)),
            refusal=openai_error,
            deadline=deadline - monotonic(),
        )
    (answer,) = await answers_to(request, serving, served, [asked], deadline)
    if isinstance(answer, RagcoreError):
        raise answer
    choices = [answer] * (body.n or 1)
    if body.n is not None and body.n > 1 and answer.samples:
        # Decodes their tokens.
        choices = await asyncio.to_thread(served.rag.samples, answer)
    shown = [caller.shown(each) for each in choices]
    return Json(reply.completion(caller.shown(answer), shown))


@router.get("/models", response_model=None)
async def models(caller: CallerNow, serving: ServingNow) -> Response:
    """List the pipelines, each by itself and with each version of its memory."""
    rows = [row for served in serving.pipelines for row in await asyncio.to_thread(_rows, served)]
    return Json({"object": "list", "data": rows})


@router.get("/models/{model}", response_model=None)
async def model(model: str, caller: CallerNow, serving: ServingNow) -> Response:
    """Describe a pipeline, or one version of its memory."""
    served, _ = _model(serving, model)
    rows = await asyncio.to_thread(_rows, served)
    for row in rows:
        if row["id"] == model:
            return Json(row)
    raise UnknownPipelineError(
        f"there is no model {quoted(model)}: there are {', '.join(row['id'] for row in rows)}"
    )


def _model(serving: Serving, name: str) -> tuple[ServedPipeline, str | None]:
    """Return the pipeline of a model's name, and the version that it names, if it does.

    Raises:
        UnknownPipelineError: there is none of this name.
    """
    pipeline, at, version = name.partition("@")
    return serving.pipelines.get(pipeline), version if at else None


def _tokens(served: ServedPipeline, question: str) -> int:
    """Count the tokens of a question, as the generator would write it; 0 where it has none."""
    generator = served.rag.generator
    if not gives_steps(generator):
        # Its server counts what it reads; see `Answer.usage`.
        return 0
    (ids,) = generator.encode_answers([question])
    # Without the end token.
    return len(ids) - 1


def _rows(served: ServedPipeline) -> list[dict[str, Any]]:
    """Return the models of a pipeline, its own first; reads the store."""
    current = served.rag.memory.version
    versions = [] if served.store is None else served.store.versions()
    created = {info.name: _seconds(info.created) for info in versions if info.broken is None}
    created.setdefault(current, 0)
    return [
        _row(served, served.name, current, created[current]),
        *(_row(served, f"{served.name}@{name}", name, created[name]) for name in sorted(created)),
    ]


def _row(served: ServedPipeline, name: str, version: str, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "ragcore",
        "ragcore": {"pipeline": served.name, "version": version},
    }


def _seconds(created: str) -> int:
    """Return a version's time, ISO 8601, in seconds since 1970."""
    return int(datetime.fromisoformat(created).timestamp())


def _invalid(error: RequestValidationError) -> RefusedFieldError:
    details = error.errors()
    return RefusedFieldError(
        str(invalid_request(details)), location_of(details[0]), code="invalid_value"
    )
