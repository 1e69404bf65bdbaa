"""The OpenAI route, asked by OpenAI's own client over a real connection."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import openai
import pytest
from chat_server import QUESTION, build_store, make_app, make_pipelines, make_rag, served
from ragcore_serve.openai_replies import sources_text

from ragcore import Passage, Rag
from ragcore.store.store import Store
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

ASKED = [{"role": "user", "content": QUESTION}]
LONG = "who rules chad in 1960"
"""A question whose answer is longer than the pipeline lets it be, without a beam."""
PLAIN = {"ragcore": {"citations": False}}


class Breaking(TableGenerator):
    """Fails after the first token of a question about a flood."""

    def step(self, state, tokens):
        if "flood" in state.keys[0] and len(state.prefixes[0]) == 1:
            raise RuntimeError("broken amid the answer")
        return super().step(state, tokens)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return build_store(tmp_path_factory.mktemp("openai"))


@pytest.fixture(scope="module")
def rag(store) -> Iterator[Rag]:
    with make_rag(store, Breaking) as rag:
        yield rag


@pytest.fixture(scope="module")
def address(store, rag) -> Iterator[str]:
    with served(make_app(make_pipelines(store, rag))) as address:
        yield address


@pytest.fixture(scope="module")
def client(address) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client, model="tiny", messages=ASKED, **more):
    return client.chat.completions.create(model=model, messages=messages, **more)


def test_a_completion_is_the_answer_with_its_evidence(client, rag):
    (expected,) = rag.answer(QUESTION)
    reply = ask(client, extra_body=PLAIN)
    (choice,) = reply.choices
    assert (choice.message.role, choice.message.content) == ("assistant", expected.text)
    assert choice.logprobs is None
    assert reply.model == "tiny"
    assert reply.system_fingerprint == "tiny@v1"
    fields = reply.model_extra["ragcore"]
    assert fields["pipeline"] == "tiny"
    assert fields["memory"] == "v1"
    assert fields["log_prob"] == pytest.approx(expected.log_prob)
    assert [each["posterior"] for each in fields["evidence"]] == pytest.approx(
        [each.posterior for each in expected.evidence]
    )
    assert fields["timings"]["total"] > 0


def test_the_text_ends_with_the_numbered_sources(client, rag):
    (expected,) = rag.answer(QUESTION)
    text = ask(client).choices[0].message.content
    answer, _, sources = text.partition("\n\nSources:\n\n")
    assert answer == expected.text
    lines = sources.split("\n")
    assert len(lines) == len(expected.citations) == 3
    for line, citation in zip(lines, expected.citations, strict=True):
        assert line.startswith(f"- \\[{citation.number}\\] ")
        assert line.endswith(f"<{citation.source.uri}> ({citation.posterior:.2f})")


def test_the_server_can_leave_the_sources_out_and_a_request_ask_for_them(store, rag):
    with (
        served(make_app(make_pipelines(store, rag), citations=False)) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client,
    ):
        assert "Sources" not in ask(client).choices[0].message.content
        asked = {"ragcore": {"citations": True}}
        assert "Sources" in ask(client, extra_body=asked).choices[0].message.content


def test_no_title_becomes_an_image_a_link_or_a_line_of_its_own(rag, tmp_path):
    store = Store(tmp_path / "store")
    title = "![x](https://evil.example/p.png)\n\n# <b>`*_~|$&[a]: b\\"
    uri = "javascript:alert(1)"
    store.build("v1", [Passage("p", title, "abc", {"uri": uri})], dense_part())
    with make_rag(store) as hostile:
        (answer,) = hostile.answer(QUESTION)
    *_, line = sources_text(answer).split("\n")
    shown = line.removeprefix("- \\[1\\] ")
    for mark in "`*_[]<>!&$|~#":
        assert shown.count(mark) == shown.count(f"\\{mark}"), mark
    assert sources_text(answer).count("\n") == 4
    assert "javascript:alert(1)" in shown


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "an earlier one"}, {"role": "assistant", "content": "a"}],
        [{"role": "system", "content": "be brief"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    ],
    ids=["earlier turns", "system", "an earlier image"],
)
def test_only_the_last_message_of_the_user_is_read(client, rag, messages):
    parts = [{"type": "text", "text": "who rules"}, {"type": "text", "text": "chad"}]
    for content in (QUESTION, parts):
        reply = ask(client, messages=[*messages, {"role": "user", "content": content}])
        assert reply.model_extra["ragcore"]["question"] == QUESTION
        assert reply.model_extra["ragcore"]["text"] == rag.answer(QUESTION)[0].text


def test_a_model_may_name_a_version(client, rag):
    reply = ask(client, "tiny@v2", extra_body=PLAIN)
    assert reply.model_extra["ragcore"]["memory"] == "v2"
    assert reply.choices[0].message.content == rag.answer(QUESTION, version="v2")[0].text
    assert reply.model == "tiny@v2"


def test_log_probs_of_the_tokens_sum_to_that_of_the_answer(client, rag):
    (expected,) = rag.answer(QUESTION)
    reply = ask(client, logprobs=True, top_logprobs=0)
    tokens = reply.choices[0].logprobs.content
    assert [token.token for token in tokens] == list(expected.tokens)
    assert [token.logprob for token in tokens] == pytest.approx(
        expected.candidates[0].token_log_probs
    )
    assert math.fsum(token.logprob for token in tokens) == pytest.approx(
        reply.model_extra["ragcore"]["log_prob"]
    )
    assert bytes(tokens[0].bytes).decode() == tokens[0].token


def test_usage_counts_tokens_of_the_generator(client, rag):
    usage = ask(client).usage
    (expected,) = rag.answer(QUESTION)
    assert usage.prompt_tokens == len(QUESTION)
    assert usage.completion_tokens == len(expected.token_ids)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_longest_answer_is_never_longer_than_the_pipeline_s(client, rag, name):
    (expected,) = rag.answer(LONG, beams=1, max_new_tokens=2)
    asked = [{"role": "user", "content": LONG}]
    greedy = {"ragcore": {"citations": False, "settings": {"beams": 1}}}
    short = ask(client, messages=asked, **{name: 2}, extra_body=greedy)
    assert short.choices[0].message.content == expected.text
    assert short.usage.completion_tokens == 2
    assert short.choices[0].finish_reason == "length"
    long = ask(client, messages=asked, **{name: 4000}, extra_body=greedy)
    assert long.choices[0].message.content == rag.answer(LONG, beams=1)[0].text
    assert long.usage.completion_tokens == rag.config.max_new_tokens


def test_a_setting_makes_an_answer_longer_than_the_pipeline_s(client, rag):
    (expected,) = rag.answer(LONG, beams=1, max_new_tokens=12)
    assert rag.config.max_new_tokens < len(expected.tokens) < 12
    settings = {"max_new_tokens": 12, "beams": 1}
    reply = ask(
        client,
        messages=[{"role": "user", "content": LONG}],
        extra_body={"ragcore": {"citations": False, "settings": settings}},
    )
    assert reply.choices[0].message.content == expected.text
    assert reply.choices[0].finish_reason == "stop"


def test_settings_of_ragcore_are_those_of_a_request(client, rag):
    settings = {"k": 2, "beams": 1, "where": {"n": 1}}
    reply = ask(client, extra_body={"ragcore": {"settings": settings}})
    (expected,) = rag.answer(QUESTION, **settings)
    evidence = reply.model_extra["ragcore"]["evidence"]
    assert [each["passage"]["id"] for each in evidence] == ["v1-1"]
    assert reply.model_extra["ragcore"]["log_prob"] == pytest.approx(expected.log_prob)


def test_a_stream_is_the_completion_in_chunks(client, rag):
    whole = ask(client, logprobs=True)
    *chunks, usage = ask(client, logprobs=True, stream=True, stream_options={"include_usage": True})
    assert {chunk.id for chunk in chunks} == {usage.id}
    choices = [chunk.choices[0] for chunk in chunks]
    assert choices[0].delta.role == "assistant"
    text = "".join(choice.delta.content or "" for choice in choices)
    assert text == whole.choices[0].message.content
    assert text.startswith(rag.answer(QUESTION)[0].text + "\n\nSources:")
    assert [choice.finish_reason for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1].finish_reason == whole.choices[0].finish_reason
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    assert [token.logprob for token in tokens] == pytest.approx(
        [token.logprob for token in whole.choices[0].logprobs.content]
    )
    assert usage.choices == []
    assert usage.usage == whole.usage
    fields = {**chunks[-1].model_extra["ragcore"], "timings": None}
    assert fields == {**whole.model_extra["ragcore"], "timings": None}


def test_a_stream_ends_with_done_and_has_usage_only_if_asked(client):
    with client.chat.completions.with_streaming_response.create(
        model="tiny", messages=ASKED, stream=True, extra_body=PLAIN
    ) as response:
        text = response.read().decode()
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert text.endswith("data: [DONE]\n\n")
    assert '"usage"' not in text
    assert "Sources" not in text


class Uncased(TableGenerator):
    capabilities: ClassVar[frozenset[str]] = frozenset({"uncased", "words"})


def test_a_spelling_that_was_sent_otherwise_is_right_in_the_last_chunk(tmp_path):
    every = " ".join(a + b + c for a in "abc" for b in ["", *"abc"] for c in ["", *"abc"])
    store = Store(tmp_path / "store")
    store.build("v1", [Passage("p", "t", every.upper())], dense_part())
    with (
        make_rag(store, Uncased, k=1) as rag,
        served(make_app(make_pipelines(store, rag))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        chunks = list(ask(client, stream=True, extra_body=PLAIN))
        (expected,) = rag.answer(QUESTION)
    sent = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert sent.upper() == expected.text
    assert chunks[-1].model_extra["ragcore"]["text"] == expected.text


@pytest.mark.parametrize("stream", [False, True])
def test_errors_before_an_answer_have_a_status(client, stream):
    for model in ("tyni", "tiny@v9", "tiny@"):
        with pytest.raises(openai.NotFoundError) as raised:
            ask(client, model, stream=stream)
        assert (raised.value.param, raised.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError, match="empty") as empty:
        ask(client, messages=[{"role": "user", "content": " "}], stream=stream)
    assert empty.value.type == "invalid_request_error"
    assert empty.value.code == "QuestionError"
    with pytest.raises(openai.InternalServerError) as late:
        ask(client, stream=stream, extra_body={"ragcore": {"timeout": 1e-9}})
    assert (late.value.status_code, late.value.code) == (504, "DeadlineError")


def test_an_error_amid_a_stream_is_raised_by_the_client(client, caplog):
    flood = [{"role": "user", "content": "what of the flood"}]
    with pytest.raises(openai.InternalServerError) as whole:
        ask(client, messages=flood)
    assert whole.value.type == "server_error"
    # The words of a library may name files or quote a question: neither client nor log has them.
    assert "broken amid the answer" not in str(whole.value)
    chunks = ask(client, messages=flood, stream=True)
    assert next(chunks).choices[0].delta.role == "assistant"
    with pytest.raises(openai.APIError, match="a component of the pipeline failed"):
        list(chunks)
    failures = [each.getMessage() for each in caplog.records if "component failed" in each.msg]
    assert len(failures) == 2
    assert all("RuntimeError" in each and "in step" in each for each in failures)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2, "stream": True}, "n"),
        ({"n": 0}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"extra_body": {"repetition_penalty": 0.9}}, "repetition_penalty"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
        ({"extra_body": {"max_token": 5}}, "max_token"),
        ({"extra_body": {"ragcore": {"citation": True}}}, "ragcore.citation"),
        ({"extra_body": {"ragcore": {"settings": {"kk": 1}}}}, "ragcore.settings.kk"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages.0.content",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(client, more, param):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, **more)
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"


def test_what_has_no_effect_is_accepted(client, rag):
    reply = ask(
        client,
        top_p=1,
        seed=1,
        user="someone",
        n=1,
        stop=[],
        tools=[],
        tool_choice="auto",
        response_format={"type": "text"},
        logit_bias={},
        presence_penalty=0.1,
        metadata={"a": "b"},
        extra_body={**PLAIN, "functions": None, "unheard_of": None},
    )
    assert reply.choices[0].message.content == rag.answer(QUESTION)[0].text


def test_models_are_pipelines_and_their_versions(client, store):
    listed = {model.id: model for model in client.models.list()}
    assert list(listed) == ["tiny", "tiny@v1", "tiny@v2"]
    assert listed["tiny"].model_extra["ragcore"] == {"pipeline": "tiny", "version": "v1"}
    assert listed["tiny"].created == listed["tiny@v1"].created > 1_700_000_000
    assert client.models.retrieve("tiny@v2") == listed["tiny@v2"]
    for unknown in ("tiny@v9", "none"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(unknown)


def test_a_token_is_needed_and_its_filter_holds(store, rag, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text('0123456789abcdef {"n": 2}\n', encoding="utf-8")
    tokens.chmod(0o600)
    app = make_app(make_pipelines(store, rag), token_file=tokens)
    with (
        served(app) as address,
        openai.OpenAI(
            base_url=f"{address}/v1", api_key="0123456789abcdef", max_retries=0
        ) as client,
    ):
        for stream in (False, True):
            for where in (None, {"n": 1}):
                settings = {"ragcore": {"settings": {"where": where}}}
                reply = ask(client, stream=stream, extra_body=settings)
                *_, last = reply if stream else [reply]
                evidence = last.model_extra["ragcore"]["evidence"]
                found = [each["passage"]["metadata"]["n"] for each in evidence]
                assert found == ([2] if where is None else [])
        stranger = client.with_options(api_key="a stranger's")
        with pytest.raises(openai.AuthenticationError):
            ask(stranger)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
