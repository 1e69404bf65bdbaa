"""The fields of OpenAI's API that draw answers, end them, and carry a conversation."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from chat_server import QUESTION, build_store, make_app, make_pipelines, make_rag, served
from ragcore_serve.openai_requests import ChatRequest, decoding_of, history_of

from ragcore.config import RagConfig
from tests.helpers.table_generator import EOS

MESSAGES = [{"role": "user", "content": QUESTION}]
PLAIN = {"ragcore": {"citations": False}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("decoding"))


@pytest.fixture(scope="module")
def rag(store):
    with make_rag(store, rewrite={}) as rag:
        yield rag


@pytest.fixture(scope="module")
def client(store, rag) -> Iterator[openai.OpenAI]:
    application = make_app(make_pipelines(store, rag), max_samples=8)
    with (
        served(application) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def ask(client, **more):
    more = {"model": "tiny", "messages": MESSAGES, "extra_body": PLAIN} | more
    return client.chat.completions.create(**more)


def request(**fields) -> ChatRequest:
    return ChatRequest(model="tiny", **{"messages": MESSAGES} | fields)


def test_choices_are_the_draws_in_order_with_log_probs_of_their_own(client, rag):
    reply = ask(client, n=5, temperature=1.5, top_p=0.95, seed=3, logprobs=True)
    (answer,) = rag.answer(QUESTION, sample={"n": 5, "temperature": 1.5, "top_p": 0.95, "seed": 3})
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3, 4]
    texts = [choice.message.content for choice in reply.choices]
    assert texts == [sample.text for sample in answer.samples]
    assert len(set(texts)) > 1
    for choice, sample in zip(reply.choices, answer.samples, strict=True):
        log_probs = [token.logprob for token in choice.logprobs.content]
        assert log_probs == pytest.approx(sample.token_log_probs)
    assert reply.model_extra["ragcore"]["text"] == answer.text
    tokens = sum(len(sample.token_ids) for sample in answer.samples)
    assert reply.usage.completion_tokens == tokens


def test_each_choice_ends_with_its_own_sources(client, rag):
    reply = ask(client, n=6, temperature=1.5, seed=3, extra_body={})
    (answer,) = rag.answer(QUESTION, sample={"n": 6, "temperature": 1.5, "seed": 3})
    for choice, drawn in zip(reply.choices, rag.samples(answer), strict=True):
        shown = choice.message.content
        assert shown.startswith(drawn.text + "\n\nSources:\n\n")
        for citation in drawn.citations:
            assert f"({citation.posterior:.2f})" in shown


def test_a_seed_answers_again_as_before_also_as_a_stream(client):
    fields = {"temperature": 2.0, "seed": 11}
    first = ask(client, **fields).choices[0].message.content
    assert ask(client, **fields).choices[0].message.content == first
    stream = ask(client, stream=True, **fields)
    sent = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert sent == first


def test_at_temperature_0_all_choices_are_the_most_probable_answer(client, rag):
    (searched,) = rag.answer(QUESTION)
    reply = ask(client, n=3, temperature=0)
    assert [choice.message.content for choice in reply.choices] == [searched.text] * 3


def test_an_answer_ends_before_a_stop_string(client, rag):
    (answer,) = rag.answer(QUESTION, stop=["a"])
    assert answer.token_ids[-1] != EOS
    for stop in ("a", ["a"], ["", "a"]):
        assert ask(client, stop=stop).choices[0].message.content == answer.text
    (plain,) = rag.answer(QUESTION)
    assert "a" in plain.text


def test_a_repetition_penalty_reaches_the_search(client, rag):
    (answer,) = rag.answer(QUESTION, repetition_penalty=4.0)
    reply = ask(client, extra_body={**PLAIN, "repetition_penalty": 4.0})
    assert reply.choices[0].message.content == answer.text


def test_more_draws_than_the_server_allows_are_refused(client):
    with pytest.raises(openai.BadRequestError, match=r"sample.n: 9, and this server allows at m"):
        ask(client, n=9)
    settings = {"settings": {"sample": {"n": 9}}}
    with pytest.raises(openai.BadRequestError, match=r"sample.n: 9, and this server allows at m"):
        ask(client, extra_body={"ragcore": settings})
    with pytest.raises(openai.BadRequestError, match="stop: 17 strings"):
        ask(client, stop=["a"] * 17)


def test_earlier_messages_are_the_history_of_the_question(client, rag):
    messages = [
        {"role": "user", "content": "what of mali"},
        {"role": "assistant", "content": "a river\n\nSources:\n\n- \\[1\\] Mali (0.90)"},
        *MESSAGES,
    ]
    history = [{"question": "what of mali", "answer": "a river"}]
    (answer,) = rag.answer(QUESTION, history=history)
    assert answer.rewritten_question is not None
    row = ask(client, messages=messages).model_extra["ragcore"]
    assert row["question"] == QUESTION
    assert row["rewritten_question"] == answer.rewritten_question
    assert row["text"] == answer.text
    assert "rewritten_question" not in ask(client).model_extra["ragcore"]


def test_turns_are_made_of_what_users_and_assistants_wrote():
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image_url"}]},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": None},
    ]
    assert history_of(request(messages=messages), 4) == [
        {"question": "one", "answer": ""},
        {"question": "two", "answer": "answ"},
    ]


SEARCHING = RagConfig()
DRAWING = RagConfig(sample={"temperature": 0.7, "n": 2, "seed": 1})


@pytest.mark.parametrize(
    ("fields", "config", "expected"),
    [
        ({}, SEARCHING, {}),
        ({"seed": 4, "n": 1, "top_p": 1, "top_k": -1}, SEARCHING, {}),
        ({"temperature": 0, "n": 3}, SEARCHING, {}),
        ({"temperature": 0}, DRAWING, {"sample": {"temperature": 0}}),
        ({"top_k": 5, "seed": 4}, SEARCHING, {"sample": {"top_k": 5, "temperature": 1, "seed": 4}}),
        ({}, DRAWING, {}),
        ({"seed": 4}, DRAWING, {"sample": {"seed": 4}}),
        ({"n": 3, "seed": 4}, DRAWING, {"sample": {"n": 3, "seed": 4}}),
        ({"temperature": 1, "seed": 4}, DRAWING, {"sample": {"temperature": 1, "seed": 4}}),
        ({"stop": ["", "a"]}, SEARCHING, {"stop": ["a"]}),
        ({"stop": ""}, SEARCHING, {}),
        ({"repetition_penalty": 1.2}, SEARCHING, {"repetition_penalty": 1.2}),
    ],
    ids=str,
)
def test_fields_change_what_the_pipeline_draws_by(fields, config, expected):
    assert decoding_of(request(**fields), config) == expected


def test_without_a_seed_each_request_has_another():
    seeds = {decoding_of(request(temperature=1), SEARCHING)["sample"]["seed"] for _ in range(20)}
    assert len(seeds) == 20
