"""Errors as clients read them: what they have sent comes back cut."""

from __future__ import annotations

import pytest
from ragcore_serve.errors import client_message, invalid_request, status_of
from serving_app import QUESTION, serving

from ragcore.errors import QuestionError, RemoteError

LONG = "x" * 100_000
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("errors")) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/answer", {"question": QUESTION, "pipeline": LONG}),
        ("/v1/answer", {"question": QUESTION, "version": LONG}),
        ("/v1/answer", {"question": QUESTION, LONG: 1}),
        ("/v1/answer", {"question": QUESTION, **{f"{n}": 1 for n in range(1000)}}),
        ("/v1/answer", {"question": [QUESTION], "settings": {LONG: 1}}),
        ("/v1/answer", {"question": list(range(1000))}),
        ("/v1/answer", {"question": QUESTION, "settings": {"where": {LONG: {LONG: 1}}}}),
        ("/v1/search", {"question": QUESTION, "settings": {"where": {"n": {LONG: 1}}}}),
        ("/v1/without", {"question": QUESTION, "passage_ids": LONG}),
        ("/v1/chat/completions", {**CHAT, "model": LONG}),
        ("/v1/chat/completions", {**CHAT, "model": "world@" + LONG}),
        ("/v1/chat/completions", {**CHAT, "model": "world", LONG: 1}),
        ("/v1/chat/completions", {**CHAT, "model": "world", "messages": [{"role": LONG}]}),
        (
            "/v1/chat/completions",
            {"model": "world", "messages": [{"role": "user", "content": [{"type": LONG}]}]},
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_what_a_client_has_sent_comes_back_cut(client, path, body):
    reply = client.post(path, body)
    assert 400 <= reply.status_code < 500
    assert len(reply.content) < 6000
    # Known names are said, too: it is the client's own that is cut.
    if body.get("pipeline") == LONG:
        assert "there are world" in reply.json()["error"]["message"]


def test_a_path_that_names_none_comes_back_cut(client):
    for path in ("/v1/models/", "/v1/versions/"):
        reply = client.get(path + "x" * 10_000)
        assert reply.status_code == 404
        assert len(reply.content) < 6000


def test_the_first_faults_are_named_and_the_others_counted():
    details = [{"type": "missing", "loc": ("body", f"f{n}"), "msg": ""} for n in range(13)]
    message = str(invalid_request(details))
    assert message.startswith("f0: is missing; f1: is missing; ")
    assert message.endswith("f9: is missing; and 3 more")
    assert "more" not in str(invalid_request(details[:10]))


def test_a_message_of_usual_length_is_whole():
    message = "q" * 2000
    assert client_message(QuestionError(message)) == message
    assert client_message(QuestionError(message + "q")) == message[:-1] + "…"


def test_a_failure_of_another_server_is_in_the_log_without_the_words_of_its_reply(caplog):
    summary = "POST http://models.example/v1/completions: status 400 Bad Request"
    error = RemoteError(f"{summary}: 'too long: Who was here?'", summary)
    assert status_of(error) == 502
    assert "ask again later" in client_message(error)
    assert "models.example" not in client_message(error)
    assert summary in caplog.text
    assert "Who was here" not in caplog.text
