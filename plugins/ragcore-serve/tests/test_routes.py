"""What each route replies: the JSON of the core, an error a question, and its limits."""

from __future__ import annotations

import json
import math

import pytest
from gated_rag import make_rag
from ragcore_serve.errors import error_row
from serving_app import QUESTION, SALES, TOKEN, error_of, serving

from ragcore.errors import MemoryMismatchError, StoreCorruptError
from tests.helpers.sqlite_index import make_database, remote_part
from tests.helpers.sqlite_passages import sqlite_passages


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def untimed(answer):
    return {key: value for key, value in answer.items() if key != "timings"}


def test_an_answer_is_that_of_the_python_api(client):
    reply = client.post("/v1/answer", {"question": QUESTION})
    (expected,) = client.rag.answer(QUESTION)
    assert reply.status_code == 200
    (answer,) = reply.json()["answers"]
    as_json = json.loads(json.dumps({**expected.to_dict(), "pipeline": "world"}))
    assert untimed(answer) == untimed(as_json)
    assert set(answer["timings"]) == {"search", "read", "decode", "total", "rewrite"}


def test_get_answers_as_post_does(client):
    settings = {"k": 2, "where": {"n": {"lt": 4}}, "beams": 2, "marginalize": "sequence"}
    settings |= {"stop": ["b", "c"], "repetition_penalty": 1.5}
    body = {"question": QUESTION, "version": "v2", "settings": {**settings, "decode": "joint"}}
    query = {**settings, "where": json.dumps(settings["where"]), "decode": "joint"}
    by_post = client.post("/v1/answer", body).json()["answers"]
    by_get = client.get("/v1/answer", params={"question": QUESTION, "version": "v2", **query})
    assert list(map(untimed, by_get.json()["answers"])) == list(map(untimed, by_post))
    assert by_post[0]["memory"] == "v2"
    assert len(by_post[0]["evidence"]) == 2


def test_a_request_may_ask_for_one_prompt(client):
    settings = {"marginalize": "none", "cite": False}
    body = {"question": QUESTION, "settings": settings}
    (row,) = client.post("/v1/answer", body).json()["answers"]
    (answer,) = client.rag.answer(QUESTION, **settings)
    assert (row["text"], row["log_prob"]) == (answer.text, answer.log_prob)
    assert {each["posterior"] for each in row["evidence"]} == {None}
    assert row["token_posteriors"] == []
    query = {"question": QUESTION, "marginalize": "none"}
    (by_get,) = client.get("/v1/answer", params=query).json()["answers"]
    assert untimed(by_get) == untimed(row)
    refused = client.post("/v1/answer", {"question": QUESTION, "settings": {"cite": True}})
    assert refused.status_code == 422
    assert "cite needs marginalize: none" in refused.json()["error"]["message"]


def test_a_request_draws_stops_and_has_a_history(client):
    settings = {
        "sample": {"n": 4, "temperature": 1.2, "seed": 3},
        "stop": "c",
        "repetition_penalty": 1.5,
        "history": [{"question": "before", "answer": "it"}],
    }
    (row,) = client.post("/v1/answer", {"question": QUESTION, "settings": settings}).json()[
        "answers"
    ]
    (answer,) = client.rag.answer(QUESTION, **settings)
    assert [sample["text"] for sample in row["samples"]] == [
        candidate.text for candidate in answer.samples
    ]
    assert len(row["samples"]) == 4


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"sample": {"n": 17}}, "sample.n: 17, and this server allows at most 16"),
        ({"sample": {"heat": 1}}, "settings.sample.heat"),
        ({"stop": ["a"] * 17}, "stop: 17 strings"),
        ({"history": [{"question": "a", "answer": "b" * 10_001}]}, "a text of 10,001 characters"),
        ({"history": [{"question": "a"}]}, "settings.history.0.answer"),
        ({"stop": ""}, "stop.0: must have at least 1 character"),
    ],
    ids=str,
)
def test_settings_that_draw_or_stop_are_limited(client, settings, fault):
    reply = client.post("/v1/answer", {"question": QUESTION, "settings": settings})
    assert reply.status_code == 422
    assert fault in reply.json()["error"]["message"]


def test_several_questions_are_answered_in_order_with_errors_in_place(client):
    questions = [QUESTION, " ", "where is the river", "x" * 10_001, "broken"]
    reply = client.post("/v1/answer", {"question": questions})
    assert reply.status_code == 200
    rows = reply.json()["answers"]
    kinds = [row["error"]["type"] if "error" in row else row["question"] for row in rows]
    expected = [QUESTION, "QuestionError", "where is the river", "QuestionError", "ComponentError"]
    assert kinds == expected


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"question": ""}, 422, "QuestionError"),
        ({"question": "x" * 10_001}, 422, "QuestionError"),
        ({"question": "\ud800"}, 422, "QuestionError"),
        ({"question": []}, 422, "InvalidRequestError"),
        ({"question": ["a"] * 65}, 422, "InvalidRequestError"),
        ({"question": 1}, 422, "InvalidRequestError"),
        ({}, 422, "InvalidRequestError"),
        ({"question": "a", "stream": True}, 422, "InvalidRequestError"),
        ({"question": "a", "settings": {"temperature": 1}}, 422, "InvalidRequestError"),
        ({"question": "a", "settings": {"k": "5"}}, 422, "InvalidRequestError"),
        ({"question": "a", "settings": {"k": -1}}, 422, "ConfigError"),
        ({"question": "a", "settings": {"k": 101}}, 422, "ConfigError"),
        ({"question": "a", "settings": {"beams": 17}}, 422, "ConfigError"),
        ({"question": "a", "settings": {"max_new_tokens": 513}}, 422, "ConfigError"),
        ({"question": "a", "settings": {"where": {"n": {"near": 1}}}}, 422, "QuestionError"),
        ({"question": "a", "timeout": 0}, 422, "ConfigError"),
        ({"question": "a", "timeout": 1e-9}, 504, "DeadlineError"),
        ({"question": "a", "version": "v9"}, 404, "UnknownVersionError"),
        ({"question": "a", "version": "../v1"}, 404, "UnknownVersionError"),
        ({"question": "a", "pipeline": "moon"}, 404, "UnknownPipelineError"),
        ({"question": "broken"}, 500, "ComponentError"),
    ],
)
def test_what_is_wrong_has_a_status_and_one_form(client, body, status, kind):
    reply = client.request(
        "POST",
        "/v1/answer",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert (reply.status_code, error_of(reply)) == (status, kind)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"settings": {"k": "5"}}, "question: is missing; settings.k: should be a valid integer"),
        ({"question": "a", "questions": ["a"]}, "questions: there is no such field"),
    ],
)
def test_faults_of_a_request_are_named_in_plain_words(client, body, message):
    reply = client.post("/v1/answer", body)
    assert reply.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b'{"question"', "application/json", "the body is no JSON, from character 11 on"),
        (b'{"question": "a"}', "text/plain", "expected JSON: send the header Content-Type"),
        (b"[" * 100_000, "application/json", "parsing the body"),
    ],
)
def test_a_body_that_is_no_json_is_refused(client, content, kind, message):
    headers = {"Content-Type": kind}
    reply = client.request("POST", "/v1/answer", content=content, headers=headers)
    assert reply.status_code in (400, 422)
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v2", 404), ("GET", "/v1/versions/", 404), ("DELETE", "/v1/answer", 405)],
)
def test_a_path_that_is_none_has_the_same_form(client, method, path, status):
    reply = client.request(method, path)
    assert (reply.status_code, error_of(reply)) == (status, "HTTPError")


def test_a_search_finds_what_an_answer_is_read_from(client):
    body = {"question": [QUESTION, ""], "settings": {"k": 2}}
    found, failed = client.post("/v1/search", body).json()["results"]
    (expected,) = client.rag.search(QUESTION, 2)
    assert found == {**json.loads(json.dumps(expected.to_dict())), "pipeline": "world"}
    assert failed["error"]["type"] == "QuestionError"
    by_get = client.get("/v1/search", params={"question": QUESTION, "k": 2})
    assert by_get.json()["results"] == [found]
    assert client.post("/v1/search", {"question": ""}).status_code == 422


def test_log_probs_are_those_of_the_python_api(client):
    (answer,) = client.rag.answer(QUESTION)
    body = {"questions": [QUESTION] * 2, "answers": [answer.text, ""], "settings": {"k": 3}}
    reply = client.post("/v1/log_prob", body)
    expected = client.rag.log_prob([QUESTION] * 2, [answer.text, ""])
    found = reply.json()["log_probs"]
    assert found == pytest.approx([each if math.isfinite(each) else None for each in expected])
    assert client.post("/v1/log_prob", {**body, "answers": []}).status_code == 422
    assert client.post("/v1/log_prob", {**body, "answers": ["", "x" * 10_001]}).status_code == 422


def test_passages_are_left_out_of_an_answer(client):
    (expected,) = client.rag.answer(QUESTION)
    first = expected.evidence[0].passage.id
    reply = client.post("/v1/without", {"question": QUESTION, "passage_ids": first}).json()
    assert reply["answer"]["text"] == expected.text
    assert reply["without"]["log_prob"] == pytest.approx(
        client.rag.without(expected, first).to_dict()["log_prob"]
    )
    unknown = client.post("/v1/without", {"question": QUESTION, "passage_ids": ["v9"]})
    assert (unknown.status_code, error_of(unknown)) == (422, "QuestionError")


def test_two_versions_are_compared(client):
    body = {"question": QUESTION, "versions": ["v1", "v2"]}
    reply = client.post("/v1/compare", body).json()
    assert [answer["memory"] for answer in reply["answers"]] == ["v1", "v2"]
    one_missing = client.post("/v1/compare", {**body, "versions": ["v1", "v9"]}).json()
    assert [set(row) & {"memory", "error"} for row in one_missing["answers"]] == [
        {"memory"},
        {"error"},
    ]
    none = client.post("/v1/compare", {**body, "versions": ["v8", "v9"]})
    assert none.status_code == 404
    assert client.post("/v1/compare", {**body, "versions": ["v1"]}).status_code == 422


def test_versions_are_listed_and_shown(client):
    listed = client.get("/v1/versions").json()
    assert (listed["pipeline"], listed["serving"]) == ("world", "v1")
    assert [(row["name"], row["serving"]) for row in listed["versions"]] == [
        ("v1", True),
        ("v2", False),
    ]
    shown = client.get("/v1/versions/v2").json()
    assert (shown["name"], shown["passages"], shown["serving"]) == ("v2", 5, False)
    assert client.get("/v1/versions/v9").status_code == 404
    assert client.get("/v1/pipelines").json() == {
        "pipelines": [{"name": "world", "version": "v1", "default": True}]
    }


def test_a_stream_ends_with_the_answer(client):
    headers = {"Accept": "text/event-stream"}
    reply = client.post("/v1/answer", {"question": QUESTION}, headers=headers)
    assert reply.headers["content-type"].startswith("text/event-stream")
    names = [line[7:] for line in reply.text.splitlines() if line.startswith("event: ")]
    assert names[0] == "hits"
    assert names[-1] == "answer"
    refused = client.post("/v1/answer", {"question": ["a", "b"]}, headers=headers)
    assert (refused.status_code, error_of(refused)) == (422, "InvalidRequestError")
    failed = client.post("/v1/answer", {"question": "a", "version": "v9"}, headers=headers)
    assert (failed.status_code, error_of(failed)) == (404, "UnknownVersionError")


def test_a_full_queue_says_when_to_ask_again(tmp_path):
    with serving(tmp_path, queue=2, max_questions=2) as client:
        client.pipelines.default.batcher._questions.admit(1)
        reply = client.post("/v1/answer", {"question": ["a", "b"]})
        client.pipelines.default.batcher._questions.leave(1)
        assert (reply.status_code, error_of(reply)) == (429, "QueueFull")
        assert int(reply.headers["retry-after"]) >= 1
        assert client.post("/v1/answer", {"question": ["a", "b"]}).status_code == 200


@pytest.mark.parametrize(
    ("token", "host", "named"),
    [
        (TOKEN, "127.0.0.1", True),
        (TOKEN, "evil.test", False),
        (None, "127.0.0.1", False),
        (SALES, "127.0.0.1", False),
    ],
    ids=["known token", "foreign page", "no token", "unknown token"],
)
def test_only_those_who_may_ask_learn_the_versions_of_a_ready_server(tmp_path, token, host, named):
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN + "\n", encoding="utf-8")
    tokens.chmod(0o600)
    with serving(tmp_path, token_file=tokens) as client:
        reply = client.get("/readyz", token=token, headers={"Host": host})
    assert reply.status_code == 200
    assert reply.json() == {"status": "ready"} | ({"versions": {"world": "v1"}} if named else {})


def test_a_closed_pipeline_is_not_ready(tmp_path):
    with serving(tmp_path) as client:
        assert client.get("/readyz").json() == {"status": "ready", "versions": {"world": "v1"}}
        client.rag.close()
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.post("/v1/answer", {"question": QUESTION}).status_code == 503


def test_a_server_whose_database_is_silent_is_not_ready_until_it_answers(tmp_path):
    database = make_database(tmp_path / "database.sqlite")
    with serving(tmp_path, make_rag(tmp_path, part=remote_part(database))) as client:
        assert client.post("/v1/answer", {"question": QUESTION}).status_code == 200
        away = database.rename(tmp_path / "away")
        reply = client.post("/v1/answer", {"question": QUESTION})
        assert reply.status_code == 503
        assert error_of(reply) == "MemoryUnavailableError"
        assert "database does not answer" in reply.json()["error"]["message"]
        assert "sqlite" not in reply.text
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        away.rename(database)
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/answer", {"question": QUESTION}).status_code == 200


def test_a_server_is_not_ready_while_the_database_of_its_passages_is_silent(tmp_path):
    """The vectors are in files, so that each search succeeds."""
    (tmp_path / "database").mkdir()
    passages = sqlite_passages(tmp_path / "database" / "passages.sqlite")
    with serving(tmp_path, make_rag(tmp_path, passages=passages)) as client:
        away = (tmp_path / "database").rename(tmp_path / "away")
        reply = client.post("/v1/answer", {"question": QUESTION})
        assert (reply.status_code, error_of(reply)) == (503, "MemoryUnavailableError")
        for _ in range(2):
            assert client.get("/readyz").status_code == 503
        away.rename(tmp_path / "database")
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/answer", {"question": QUESTION}).status_code == 200


def test_numbers_that_json_lacks_and_half_characters_are_sent(tmp_path):
    rag = make_rag(tmp_path)
    with serving(tmp_path, rag) as client:
        reply = client.get("/v1/answer", params={"question": QUESTION, "version": "\x00\u2028"})
        assert reply.status_code == 404
        assert "\u2028" not in reply.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/answer", {"question": QUESTION, "version": "v9"}),
        ("POST", "/v1/answer", {"question": [QUESTION], "version": "v9"}),
        ("POST", "/v1/search", {"question": QUESTION, "version": "v9"}),
        ("POST", "/v1/compare", {"question": QUESTION, "versions": ["v9", "v1"]}),
        ("GET", "/v1/versions/v9", None),
        (
            "POST",
            "/v1/chat/completions",
            {"model": "world@v9", "messages": [{"role": "user", "content": QUESTION}]},
        ),
    ],
)
def test_only_an_administrator_is_shown_where_the_store_is(tmp_path, method, path, body):
    with serving(tmp_path) as client:
        reply = client.request(method, path, json=body)
        assert "no version 'v9': there are v1, v2" in reply.text
        assert str(tmp_path) not in reply.text
        changed = client.post("/v1/admin/activate", {"version": "v9"})
    assert changed.status_code == 404
    assert f"store {tmp_path / 'store'} has no version 'v9'" in changed.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreCorruptError("/srv/store/v1/passages.bin: its sha256 differs"), "cannot be used"),
        (MemoryMismatchError("made by /srv/one, found /srv/two"), "made for another one"),
    ],
)
def test_what_a_store_says_of_its_files_is_in_the_log_alone(caplog, error, words):
    (row,) = error_row(error).values()
    assert words in row["message"]
    assert "/srv" not in row["message"]
    assert str(error) in caplog.text
