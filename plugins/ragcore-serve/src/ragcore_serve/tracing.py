"""Make OpenTelemetry spans of requests, batches and stages.

Knows the names of spans and attributes, by the semantic conventions for generative AI where these
have one, and the headers by which a request names its caller's span; knows nothing of routes. Only
the API of OpenTelemetry is needed: without an SDK, spans are none. Questions and answers are
attributes only where it was asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from typing import Final, Literal

from opentelemetry import propagate, trace
from opentelemetry.context import Context as OpenTelemetryContext
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

import ragcore
from ragcore.errors import RagcoreError
from ragcore.types import Answer, Event
from ragcore_serve.event_stream import EventStream
from ragcore_serve.listeners import Listener, listening

__all__ = ["Tracing", "TracedStream"]

_OPERATION: Final = "gen_ai.operation.name"
_PROVIDER: Final = "gen_ai.provider.name"
_MODEL: Final = "gen_ai.request.model"
_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
_QUESTION: Final = "gen_ai.retrieval.query.text"
_DATA_SOURCE: Final = "gen_ai.data_source.id"
_ERROR: Final = "error.type"
_ANSWER: Final = "ragcore.answer"
_VERSION: Final = "ragcore.memory.version"
_LOG_PROB: Final = "ragcore.answer.log_prob"
_ABSTAINS: Final = "ragcore.answer.abstains"
_PASSAGES: Final = "ragcore.passages"
_QUESTIONS: Final = "ragcore.questions"

Operation = Literal["retrieval", "text_completion"]

_OPERATIONS: Final[Mapping[str, Operation]] = {"search": "retrieval", "decode": "text_completion"}
"""The operation of the conventions that a stage is; others have none."""


class Tracing:
    """The spans of one process."""

    def __init__(self, *, content: bool = False, provider: TracerProvider | None = None) -> None:
        """Make no span yet.

        Args:
            content: whether questions and answers are attributes.
            provider: of tracers; the global one where None.
        """
        self._content = content
        self._tracer: Tracer = trace.get_tracer(
            "ragcore_serve", ragcore.__version__, tracer_provider=provider
        )

    @contextmanager
    def request(
        self,
        route: str,
        pipeline: str,
        questions: Sequence[str],
        headers: Mapping[str, str] | None = None,
        *,
        operation: Operation = "text_completion",
    ) -> Iterator[RequestSpan]:
        """Make the span of a request, which is current inside the block.

        Args:
            route: its template, such as "/v1/answer".
            pipeline: the name of the pipeline, the model of the conventions.
            questions: that are asked.
            headers: of the request, of which `traceparent` names the parent, unless a span is
                current already, as where the app is instrumented.
            operation: of the conventions.
        """
        span = self._start(route, pipeline, questions, headers, operation)
        # The messages of errors may quote the question.
        with trace.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield RequestSpan(span, content=self._content)
            except Exception as error:
                _fail(span, error)
                raise

    def stream(
        self,
        route: str,
        pipeline: str,
        question: str,
        begin: Callable[[], EventStream],
        headers: Mapping[str, str] | None = None,
    ) -> TracedStream:
        """Begin a stream, with the span of its request, which ends when the stream is closed.

        Args:
            route: its template, such as "/v1/answer".
            pipeline: the name of the pipeline, the model of the conventions.
            question: that is asked.
            begin: begins the stream; the span is current meanwhile, and for all that it computes.
            headers: as of `request`.
        """
        span = self._start(route, pipeline, [question], headers, "text_completion")
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            try:
                events = begin()
            except Exception as error:
                _fail(span, error)
                span.end()
                raise
        return TracedStream(events, span, content=self._content)

    @contextmanager
    def batch(self, contexts: Sequence[Context]) -> Iterator[None]:
        """Make the span of a batch: a child of its oldest request's, with links to the others'.

        Args:
            contexts: of the callers, oldest first; see `Batcher`.
        """
        first, *others = [_span_of(context) for context in contexts]
        links = [Link(other.get_span_context()) for other in dict.fromkeys(others)]
        with self._tracer.start_as_current_span(
            "batch",
            trace.set_span_in_context(first),
            SpanKind.INTERNAL,
            {_QUESTIONS: len(contexts)},
            links=[link for link in links if link.context.is_valid],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                _fail(span, error)
                raise

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Make spans of stages inside the block, by the core's hook `ragcore_timed`."""
        with listening(Listener(self._stage)):
            yield

    def _start(
        self,
        route: str,
        pipeline: str,
        questions: Sequence[str],
        headers: Mapping[str, str] | None,
        operation: Operation,
    ) -> Span:
        """Start the span of a request, current for nothing yet; see `request`."""
        span = self._tracer.start_span(
            f"{route} {pipeline}",
            _caller_context(headers or {}),
            SpanKind.SERVER,
            {
                _OPERATION: operation,
                _PROVIDER: "ragcore",
                _MODEL: pipeline,
                _QUESTIONS: len(questions),
            },
        )
        if self._content:
            span.set_attribute(_QUESTION, list(questions))
        return span

    def _stage(self, stage: str, started: int, seconds: float, questions: int, memory: str) -> None:
        attributes: dict[str, str | int] = {_DATA_SOURCE: memory, _QUESTIONS: questions}
        if stage in _OPERATIONS:
            attributes[_OPERATION] = _OPERATIONS[stage]
        span = self._tracer.start_span(stage, attributes=attributes, start_time=started)
        span.end(started + int(seconds * 1e9))


class RequestSpan:
    """The span of a request, to which its results are added."""

    def __init__(self, span: Span, *, content: bool) -> None:
        self._span = span
        self._content = content

    def add(self, results: Sequence[Answer | RagcoreError]) -> None:
        """Add the results of the request's questions; of several, sums and the first answer."""
        answers = [result for result in results if isinstance(result, Answer)]
        errors = [result for result in results if isinstance(result, RagcoreError)]
        tokens = sum(answer.token_count for answer in answers)
        self._span.set_attribute(_OUTPUT_TOKENS, tokens)
        if answers:
            self._span.set_attributes(
                {
                    _VERSION: answers[0].memory,
                    _ABSTAINS: answers[0].abstains,
                    _PASSAGES: len(answers[0].evidence),
                }
            )
            if answers[0].log_prob is not None:
                self._span.set_attribute(_LOG_PROB, answers[0].log_prob)
            if self._content:
                self._span.set_attribute(_ANSWER, [answer.text for answer in answers])
        if errors:
            _fail(self._span, errors[0])


class TracedStream(AsyncIterator[Event]):
    """The events of one answer, whose result is added to the span of its request."""

    def __init__(self, events: EventStream, span: Span, *, content: bool) -> None:
        self._events = events
        self._span = span
        self._request = RequestSpan(span, content=content)

    async def __anext__(self) -> Event:
        try:
            event = await self._events.__anext__()
        except RagcoreError as error:
            self._request.add([error])
            raise
        if isinstance(event, Answer):
            self._request.add([event])
        return event

    async def aclose(self) -> None:
        """Close the events, and end the span. Idempotent."""
        try:
            await self._events.aclose()
        finally:
            self._span.end()


def _fail(span: Span, error: Exception) -> None:
    """Mark a span as failed by the kind of an error alone."""
    name = type(error).__name__
    span.set_attribute(_ERROR, name)
    span.set_status(Status(StatusCode.ERROR, name))


def _caller_context(headers: Mapping[str, str]) -> OpenTelemetryContext | None:
    """Return the context of the span that a request's headers name; None for the current one.

    https://www.w3.org/TR/trace-context/
    """
    if trace.get_current_span().get_span_context().is_valid:
        return None
    return propagate.extract(headers)


def _span_of(context: Context) -> Span:
    """Return the span that is current in a context."""
    return context.run(trace.get_current_span)
