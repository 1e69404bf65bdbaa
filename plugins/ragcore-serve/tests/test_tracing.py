"""Spans of requests, batches and stages, by the names of the GenAI conventions."""

from __future__ import annotations

import asyncio

import pytest
from gated_rag import SECONDS, make_rag
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from ragcore_serve.batching import Batcher
from ragcore_serve.plugin import ragcore_timed
from ragcore_serve.tracing import Tracing
from serving_app import serving

from ragcore import Request


@pytest.fixture
def rag(tmp_path):
    with make_rag(tmp_path) as rag:
        yield rag


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def test_a_batch_is_a_child_of_its_first_request_and_linked_to_the_others(rag, exporter, provider):
    tracing = Tracing(provider=provider)

    async def ask(batcher, *questions):
        with tracing.request("/v1/answer", "world", questions) as span:
            results = await batcher.answer([Request(question) for question in questions])
            span.add(results)
            return results

    async def main():
        batcher = Batcher(rag, queue=8, streams=1, batch_span=tracing.batch)
        rag.generator.gate.close()
        first = asyncio.create_task(ask(batcher, "hold"))
        assert await asyncio.to_thread(rag.generator.gate.reached.acquire, timeout=SECONDS)
        others = [
            asyncio.create_task(ask(batcher, "a")),
            asyncio.create_task(ask(batcher, "broken")),
        ]
        while batcher.waiting != 2:
            await asyncio.sleep(0)
        rag.generator.gate.open()
        answers = await asyncio.gather(first, *others)
        assert await batcher.drain(SECONDS)
        return answers

    ((answer,), _, _) = asyncio.run(main())
    spans = exporter.get_finished_spans()
    requests = [span for span in spans if span.name == "/v1/answer world"]
    batches = [span for span in spans if span.name == "batch"]
    by_id = {span.context.span_id: span for span in requests}
    alone, together = batches
    assert alone.attributes["ragcore.questions"] == 1
    assert together.attributes["ragcore.questions"] == 2
    parents = [by_id[span.parent.span_id] for span in batches]
    assert parents[0] is not parents[1]
    (link,) = together.links
    assert by_id[link.context.span_id] not in parents
    assert not alone.links
    answered = parents[0]
    assert answered.attributes["gen_ai.usage.output_tokens"] == len(answer.token_ids)
    assert answered.attributes["gen_ai.request.model"] == "world"
    assert answered.attributes["ragcore.memory.version"] == "v1"
    (failed,) = [span for span in requests if "error.type" in span.attributes]
    assert failed.attributes["error.type"] == "ComponentError"
    assert not failed.status.is_ok


@pytest.mark.parametrize("content", [False, True])
def test_questions_and_answers_are_attributes_only_on_demand(rag, exporter, provider, content):
    tracing = Tracing(content=content, provider=provider)
    question = "who rules chad"
    with tracing.request("/v1/answer", "world", [question]) as span:
        (answer,) = rag.answer(question)
        span.add([answer])
        with pytest.raises(ValueError, match="broken"), tracing.request("/x", "w", [question]):
            raise ValueError(f"broken by {question}")
    _, finished = exporter.get_finished_spans()
    assert (question in str([span.to_json() for span in exporter.get_finished_spans()])) == content
    assert (finished.attributes.get("ragcore.answer") == (answer.text,)) == content


def test_a_stage_is_a_span_of_its_own_time_under_its_caller(exporter, provider):
    tracing = Tracing(provider=provider)
    with tracing.request("/v1/answer", "world", ["who"]), tracing.listening():
        ragcore_timed("search", 10**9, 0.5, 3, "v1")
    stage, request = exporter.get_finished_spans()
    assert (stage.name, stage.start_time, stage.end_time) == ("search", 10**9, 15 * 10**8)
    assert stage.parent.span_id == request.context.span_id
    assert stage.attributes == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "v1",
        "ragcore.questions": 3,
    }


def test_without_an_sdk_spans_cost_nothing_and_answers_are_the_same(rag):
    tracing = Tracing()

    async def main():
        batcher = Batcher(rag, queue=8, streams=1, batch_span=tracing.batch)
        with tracing.request("/v1/answer", "world", ["who"]) as span:
            results = await batcher.answer([Request("who")])
            span.add(results)
        assert await batcher.drain(SECONDS)
        return results

    assert asyncio.run(main()) == rag.answer("who")


STREAMED = {"headers": {"Accept": "text/event-stream"}}
CHAT = {"model": "world@v2", "messages": [{"role": "user", "content": "who"}]}


@pytest.mark.parametrize(
    ("path", "body", "more", "version", "error"),
    [
        ("/v1/answer", {"question": ["who", "where"]}, {}, "v1", None),
        ("/v1/answer", {"question": "who"}, STREAMED, "v1", None),
        ("/v1/answer", {"question": "broken"}, {}, None, "ComponentError"),
        ("/v1/answer", {"question": "broken"}, STREAMED, None, "ComponentError"),
        ("/v1/without", {"question": "who", "passage_ids": "v1:0"}, {}, "v1", None),
        ("/v1/search", {"question": ["who", "where"]}, {}, None, None),
        ("/v1/search", {"question": "who", "version": "v9"}, {}, None, "UnknownVersionError"),
        ("/v1/log_prob", {"questions": ["who"], "answers": ["a"]}, {}, None, None),
        ("/v1/log_prob", {"questions": ["broken"], "answers": ["a"]}, {}, None, "RuntimeError"),
        ("/v1/compare", {"question": "who", "versions": ["v2", "v1"]}, {}, "v2", None),
        ("/v1/chat/completions", CHAT, {}, "v2", None),
        ("/v1/chat/completions", {**CHAT, "stream": True}, {}, "v2", None),
    ],
)
def test_each_request_for_answers_is_a_span_by_its_route(
    tmp_path, exporter, provider, path, body, more, version, error
):
    tracing = Tracing(provider=provider)
    with serving(tmp_path, tracing=tracing) as client, tracing.listening():
        client.post(path, body, **more)
    (request,) = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert request.name == f"{path} world"
    assert request.attributes.get("ragcore.memory.version") == version
    assert request.attributes.get("error.type") == error
    expected = "retrieval" if path == "/v1/search" else "text_completion"
    assert request.attributes["gen_ai.operation.name"] == expected


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("path", "body", "more"),
    [
        ("/v1/answer", {"question": "who"}, {}),
        ("/v1/answer", {"question": "who"}, {"Accept": "text/event-stream"}),
        ("/v1/search", {"question": "who"}, {}),
        ("/v1/chat/completions", CHAT, {}),
    ],
)
def test_a_request_is_a_span_of_its_caller_s_trace(tmp_path, exporter, provider, path, body, more):
    tracing = Tracing(provider=provider)
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", **more}
    with serving(tmp_path, tracing=tracing) as client, tracing.listening():
        client.post(path, body, headers=headers)
        client.post(path, body, headers={**headers, "traceparent": "nonsense"})
    spans = exporter.get_finished_spans()
    one, other = [span for span in spans if span.kind is SpanKind.SERVER]
    assert f"{one.context.trace_id:032x}" == TRACE
    assert f"{one.parent.span_id:016x}" == SPAN
    assert other.parent is None
    assert {span.context.trace_id for span in spans} == {
        one.context.trace_id,
        other.context.trace_id,
    }


def test_the_span_of_an_instrumented_app_is_the_nearer_parent(exporter, provider):
    tracing = Tracing(provider=provider)
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    with (
        provider.get_tracer("app").start_as_current_span("app") as app,
        tracing.request("/v1/answer", "world", ["who"], headers),
    ):
        pass
    request, _ = exporter.get_finished_spans()
    assert request.parent.span_id == app.get_span_context().span_id


def test_the_stages_of_a_stream_are_spans_under_its_request(tmp_path, exporter, provider):
    tracing = Tracing(provider=provider)
    with serving(tmp_path, tracing=tracing) as client, tracing.listening():
        client.post("/v1/answer", {"question": "who"}, **STREAMED)
        with client.rag.memory.reading() as snapshot:
            version = snapshot.version
    *stages, request = exporter.get_finished_spans()
    assert {"search", "decode"} <= {span.name for span in stages}
    assert {span.parent.span_id for span in stages} == {request.context.span_id}
    assert {span.attributes["gen_ai.data_source.id"] for span in stages} == {version}
