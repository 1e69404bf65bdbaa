"""Answers without log p, or with bounds, as clients get them: JSON, streams, OpenAI, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import openai
import pytest
from chat_server import QUESTION, build_store, make_app, make_pipelines, served
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ragcore_serve.batching import Batcher
from ragcore_serve.metrics import Metrics
from ragcore_serve.tracing import Tracing

from ragcore import Rag, Request
from ragcore.config import RagConfig
from ragcore.store.store import Store
from tests.helpers.tiers import generator_of
from tests.helpers.word_encoder import dense_part

ASKED = [{"role": "user", "content": QUESTION}]
TIERS = ["score", "top", "text"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return build_store(tmp_path_factory.mktemp("tiers"))


def make_rag(store: Store, tier: str) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part(), temperature=20.0),
        generator_of(tier, top=3),
        RagConfig(k=3, max_new_tokens=4),
        store=store,
        retriever=dense_part(),
    )


@pytest.fixture(scope="module", params=TIERS)
def rag(store, request) -> Iterator[Rag]:
    with make_rag(store, request.param) as rag:
        yield rag


@pytest.fixture(scope="module")
def address(store, rag) -> Iterator[str]:
    with served(make_app(make_pipelines(store, rag))) as address:
        yield address


def test_an_answer_in_json_has_votes_and_usage_and_null_for_what_is_not_known(address, rag):
    (expected,) = rag.answer(QUESTION)
    (row,) = httpx.post(f"{address}/v1/answer", json={"question": QUESTION}).json()["answers"]
    assert row["tier"] == expected.tier
    assert row["text"] == expected.text
    assert row["usage"]["requests"] == expected.usage.requests
    if expected.tier == "text":
        assert row["log_prob"] is row["confidence"] is None
        assert [vote["share"] for vote in row["votes"]] == [v.share for v in expected.votes]
        assert all(evidence["posterior"] is None for evidence in row["evidence"])
    else:
        assert row["log_prob"] == pytest.approx(expected.log_prob)
        assert "votes" not in row


def test_a_stream_ends_with_the_answer(address, rag):
    (expected,) = rag.answer(QUESTION)
    headers = {"Accept": "text/event-stream"}
    body = {"question": QUESTION}
    text = httpx.post(f"{address}/v1/answer", json=body, headers=headers).text
    events = [frame.split("\n", 1) for frame in text.split("\n\n") if frame.startswith("event")]
    rows = [(name[7:], json.loads(data[6:])) for name, data in events]
    tokens = [row for name, row in rows if name == "token"]
    assert "".join(row["text"] for row in tokens) == expected.text
    if expected.tier == "text":
        (token,) = tokens
        assert token == {"text": expected.text, "log_prob": None, "posterior": []}
    assert rows[-1][0] == "answer"
    assert rows[-1][1]["text"] == expected.text


@pytest.mark.parametrize("stream", [False, True])
def test_openais_client_gets_an_answer_and_log_probs_where_there_are_any(address, rag, stream):
    (expected,) = rag.answer(QUESTION)
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        settings = {"model": "tiny", "messages": ASKED, "logprobs": True}
        if stream:
            chunks = list(client.chat.completions.create(**settings, stream=True))
            choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
            text = "".join(choice.delta.content or "" for choice in choices)
            contents = [c.logprobs.content for c in choices if c.logprobs is not None]
        else:
            reply = client.chat.completions.create(**settings)
            (choice,) = reply.choices
            text = choice.message.content
            contents = [] if choice.logprobs is None else [choice.logprobs.content]
            assert reply.usage.completion_tokens == expected.token_count
            assert reply.usage.prompt_tokens == expected.usage.prompt_tokens
    answer, _, sources = text.partition("\n\nSources:\n\n")
    assert answer == expected.text
    shares = [c.prior if c.posterior is None else c.posterior for c in expected.citations]
    assert [
        f"({share:.2f})" in line for share, line in zip(shares, sources.split("\n"), strict=True)
    ]
    log_probs = [token.logprob for content in contents for token in content]
    if expected.tier == "text":
        assert log_probs == []
    else:
        assert log_probs == pytest.approx(expected.candidates[0].token_log_probs)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_with_a_temperature_is_drawn_by_rag_sequence(address, rag, stream):
    settings = {"model": "tiny", "messages": ASKED, "temperature": 0.8, "seed": 5}
    sample = {"temperature": 0.8, "seed": 5}
    (expected,) = rag.answer(QUESTION, marginalize="sequence", sample=sample)
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        if stream:
            chunks = list(client.chat.completions.create(**settings, stream=True))
            parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
            text, last = "".join(parts), chunks[-1].choices[0].finish_reason
        else:
            choice = client.chat.completions.create(**settings).choices[0]
            text, last = choice.message.content, choice.finish_reason
    assert text.partition("\n\nSources:")[0] == expected.text
    assert last == ("length" if expected.cut else "stop")


def test_each_choice_of_a_chat_is_a_draw(address, rag):
    sample = {"temperature": 1.0, "n": 5, "seed": 5}
    (expected,) = rag.answer(QUESTION, marginalize="sequence", sample=sample)
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        reply = client.chat.completions.create(model="tiny", messages=ASKED, n=5, seed=5)
    texts = [choice.message.content.partition("\n\nSources:")[0] for choice in reply.choices]
    assert texts == [sample.text for sample in expected.samples]
    cut = [choice.finish_reason == "length" for choice in reply.choices]
    assert cut == [sample.cut for sample in expected.samples]
    if expected.tier != "score":
        assert reply.usage.completion_tokens == expected.usage.completion_tokens


def test_a_formula_that_cannot_be_drawn_by_is_refused_where_it_is_named(address):
    settings = {"sample": {"temperature": 1}}
    asked = {"question": QUESTION, "settings": settings}
    reply = httpx.post(f"{address}/v1/answer", json=asked)
    assert "RAG-Token draws each token from all passages" in reply.text
    with (
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match="RAG-Token draws each token"),
    ):
        client.chat.completions.create(
            model="tiny",
            messages=ASKED,
            temperature=1,
            extra_body={"ragcore": {"settings": {"marginalize": "token"}}},
        )


def test_leaving_passages_out_and_scoring_say_why_they_cannot(address, rag):
    (expected,) = rag.answer(QUESTION)
    ids = [expected.evidence[0].passage.id]
    without = httpx.post(
        f"{address}/v1/without", json={"question": QUESTION, "passage_ids": ids}
    ).json()
    scored = httpx.post(
        f"{address}/v1/log_prob", json={"questions": [QUESTION], "answers": ["ab"]}
    ).json()
    if expected.tier == "text":
        assert "no log p" in without["error"]["message"]
    else:
        assert without["without"]["log_prob"] <= 0
    if expected.tier == "score":
        assert "error" not in scored
        (usage,) = scored["usage"]
        assert usage["requests"] == len(expected.evidence)
    else:
        assert "needs log p(y|x) of given answers" in scored["error"]["message"]


def test_metrics_count_tokens_and_measure_what_is_known(store, rag):
    (answer,) = rag.answer(QUESTION)
    metrics = Metrics()
    tiny = metrics.pipeline("tiny", lambda: rag.memory.version)

    async def main():
        await Batcher(rag, queue=2, streams=1, observe=tiny.observe).answer([Request(QUESTION)])

    asyncio.run(main())
    lines = metrics.exposition()[0].decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    label = '{pipeline="tiny"}'
    assert float(values[f"ragcore_tokens_total{label}"]) == answer.token_count > 0
    assert float(values[f"ragcore_prior_entropy_nats_count{label}"]) == 1
    known = float(answer.log_prob is not None)
    assert float(values[f"ragcore_answer_surprise_nats_count{label}"]) == known
    assert float(values[f"ragcore_posterior_entropy_nats_count{label}"]) == known


def test_a_span_has_log_p_where_there_is_one(store):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider=provider)
    for tier in TIERS:
        with make_rag(store, tier) as rag:
            (answer,) = rag.answer(QUESTION)
            with tracing.request("/v1/answer", "tiny", [QUESTION]) as span:
                span.add([answer])
        attributes = exporter.get_finished_spans()[-1].attributes
        assert attributes.get("ragcore.answer.log_prob") == answer.log_prob
        assert attributes["gen_ai.usage.output_tokens"] == answer.token_count
