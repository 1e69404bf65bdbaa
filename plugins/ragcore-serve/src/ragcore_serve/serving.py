"""What the routes of one server share, and how they get it: pipelines, settings, and the caller.

Each route takes `CallerNow`, or `AdminNow`, so that none answers a stranger; a test looks at all
of them. Knows FastAPI's dependencies; knows nothing of single routes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request

import ragcore
from ragcore.errors import ConfigError, RagcoreError
from ragcore.types import Answer
from ragcore_serve.auth import Access, Caller
from ragcore_serve.config import ServeConfig
from ragcore_serve.leaving import while_connected
from ragcore_serve.metrics import Metrics
from ragcore_serve.served import Pipelines, ServedPipeline
from ragcore_serve.tracing import Operation, TracedStream, Tracing

__all__ = [
    "AdminNow",
    "CallerNow",
    "Serving",
    "ServingNow",
    "administrator",
    "answers_to",
    "authenticated",
    "called",
    "events_of",
    "narrowed_settings",
    "request_for",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Serving:
    """What one server is made of.

    Attributes:
        pipelines: that are served.
        config: the server's settings.
        access: who may ask.
        metrics: of this process.
        tracing: of this process.
    """

    pipelines: Pipelines
    config: ServeConfig
    access: Access
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=Tracing)

    def seconds(self, timeout: float | None = None) -> float:
        """Return how long a request may take.

        Args:
            timeout: that the request asks for; the server's where None or larger.

        Raises:
            ConfigError: it is no number above 0.
        """
        if timeout is None:
            return self.config.timeout
        # A number that no float can be is large, too.
        if not timeout > 0:
            raise ConfigError(f"timeout: expected seconds, a number above 0, found {timeout!r}")
        return min(timeout, self.config.timeout)

    def deadline(self, timeout: float | None = None) -> float:
        """Return when a request ends that begins now, in seconds of `time.monotonic`."""
        return monotonic() + self.seconds(timeout)


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


ServingNow = Annotated[Serving, Depends(_serving)]
"""The server that a route belongs to."""


def authenticated(request: Request) -> Caller:
    """Return who sends a request, which the app's guard has checked before its body was read."""
    caller: Caller = request.state.caller
    return caller


CallerNow = Annotated[Caller, Depends(authenticated)]
"""Who sends a request. Each route takes it, and asks by `request_for` or `narrowed_settings`."""


def administrator(caller: CallerNow, serving: ServingNow) -> Caller:
    """Return who sends a request that changes which version is served.

    Raises:
        UnauthorizedError, ForbiddenError: the caller may not.
    """
    serving.access.check_admin(caller)
    return caller


AdminNow = Annotated[Caller, Depends(administrator)]
"""Who sends a request that changes which version is served."""


def narrowed_settings(
    caller: Caller, settings: Mapping[str, Any], version: str | None = None
) -> dict[str, Any]:
    """Return the settings of a request of a caller, who reads only what its token allows.

    Args:
        caller: who asks.
        settings: that the request has, by name.
        version: of the memory; the one that is served where None.
    """
    narrowed = dict(settings)
    where = caller.narrowed(narrowed.pop("where", None))
    if where is not None:
        narrowed["where"] = where
    if version is not None:
        narrowed["version"] = version
    return narrowed


def request_for(
    caller: Caller, question: str, settings: Mapping[str, Any], version: str | None = None
) -> ragcore.Request:
    """Return a question of a caller, who reads only what its token allows; see the above."""
    narrowed = narrowed_settings(caller, settings, version)
    return ragcore.Request(question, cast("Any", narrowed))


async def answers_to(
    request: Request,
    serving: Serving,
    pipeline: ServedPipeline,
    asked: Sequence[ragcore.Request],
    deadline: float,
) -> list[Answer | RagcoreError]:
    """Answer the questions of an HTTP request, in its span, as long as its client waits.

    Args:
        request: of a route.
        serving: the server.
        pipeline: that is asked.
        asked: the questions, made by `request_for`.
        deadline: in seconds of `time.monotonic`.

    Returns:
        The answer to each question, or its error.

    Raises:
        RagcoreError: they were not let in.
    """
    questions = [each.question for each in asked]
    route, headers = _template(request), request.headers
    with serving.tracing.request(route, pipeline.name, questions, headers) as span:
        answers = await while_connected(request, pipeline.batcher.answer(asked, deadline=deadline))
        span.add(answers)
    return answers


def events_of(
    request: Request,
    serving: Serving,
    pipeline: ServedPipeline,
    asked: ragcore.Request,
    deadline: float,
) -> TracedStream:
    """Begin to answer the question of an HTTP request as a stream; arguments as of `answers_to`.

    Raises:
        RagcoreError: it was not let in.
    """
    return serving.tracing.stream(
        _template(request),
        pipeline.name,
        asked.question,
        lambda: pipeline.batcher.stream(asked, deadline=deadline),
        request.headers,
    )


async def called(
    request: Request,
    serving: Serving,
    pipeline: ServedPipeline,
    function: Callable[..., T],
    *args: object,
    questions: Sequence[str],
    timeout: float | None = None,
    operation: Operation = "text_completion",
    **settings: object,
) -> T:
    """Call a function of a pipeline, in its span, as long as the client of an HTTP request waits.

    Args:
        request: of a route.
        serving: the server.
        pipeline: that is asked.
        function: takes a timeout and a cancellation, such as `rag.search`.
        args: of the function.
        questions: that it is about.
        timeout: that the request asks for.
        operation: for the span.
        settings: of the function, made by `narrowed_settings`.

    Raises:
        RagcoreError: the call was not let in, or failed.
    """
    route, headers = _template(request), request.headers
    with serving.tracing.request(route, pipeline.name, questions, headers, operation=operation):
        return await while_connected(
            request,
            pipeline.batcher.call(
                function,
                *args,
                questions=len(questions),
                deadline=serving.deadline(timeout),
                cancellation=ragcore.Cancellation(),
                # So that the pipeline does not go on after the reply.
                timeout=serving.seconds(timeout),
                **settings,
            ),
        )


def _template(request: Request) -> str:
    """Return the path of a request's route, such as "/v1/versions/{version}"."""
    # Only FastAPI's routes note themselves; others have no parameters in their path.
    route, path = request.scope.get("route"), request.scope["path"]
    return str(getattr(route, "path", path))
