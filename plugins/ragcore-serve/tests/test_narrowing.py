"""Every route takes the caller, and none reads a passage that the caller's token does not allow."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from ragcore_serve.auth import is_open
from ragcore_serve.serving import administrator, authenticated
from serving_app import ADMIN, QUESTION, SALES, TOKEN, serving

WITHOUT_TOKEN = {
    "/livez",
    "/readyz",
    "/docs",
    "/docs/docs.js",
    "/docs/docs.css",
    "/",
    "/page/{name}",
}
"""What says nothing of what is served; a browser sends no token for a page's files."""
ALLOWED = {"v1:3", "v2:3"}
"""The passages that the token allows, {"n": 3}."""
WIDER = {"or": [{"n": 3}, {"not": {"n": 3}}]}
"""A filter that all passages match."""


@pytest.fixture
def client(tmp_path):
    tokens, admins = tmp_path / "tokens", tmp_path / "admins"
    tokens.write_text(f'{TOKEN}\n{SALES} {{"n": 3}}\n', encoding="utf-8")
    admins.write_text(f"{ADMIN}\n", encoding="utf-8")
    for path in (tokens, admins):
        path.chmod(0o600)
    with serving(tmp_path, token_file=tokens, admin_token_file=admins) as client:
        yield client


def calls_of(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from calls_of(inner)


def routes_of(client) -> list[APIRoute]:
    found = [route for route in all_routes(client.app.router) if isinstance(route, APIRoute)]
    assert len(found) > 15
    return found


def all_routes(router):
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from all_routes(inner)


def test_every_route_takes_the_caller(client):
    open_to_all = {
        route.path for route in routes_of(client) if authenticated not in calls_of(route.dependant)
    }
    assert open_to_all == WITHOUT_TOKEN


def test_no_route_escapes_the_walk(client):
    known = {route.path for route in routes_of(client)}
    assert known >= set(client.app.openapi()["paths"])
    others = [route for route in all_routes(client.app.router) if not isinstance(route, APIRoute)]
    # Dependencies do not reach them: the guard of the whole app does.
    for route in others:
        assert client.post(route.path).status_code == 401


def test_the_guard_lets_pass_what_takes_no_caller_and_nothing_else(client):
    for route in routes_of(client):
        path = route.path.replace("{name}", "page.js")
        assert is_open(path) == (authenticated not in calls_of(route.dependant)), path
    for path in ("/none", "/plugins/none", "/v1", "/page", "/docs/", "/livez/"):
        assert client.get(path).status_code == 401, path


def test_every_route_for_changes_takes_an_administrator(client):
    for route in routes_of(client):
        changes = administrator in calls_of(route.dependant)
        assert changes == route.path.startswith("/v1/admin/"), route.path


def test_no_route_answers_without_a_token(client):
    for route in routes_of(client):
        (method,) = route.methods
        path = route.path.replace("{version}", "v1").replace("{model}", "world")
        if path in WITHOUT_TOKEN:
            continue
        for token in (None, "unknown-0123456789abcdef"):
            reply = client.request(method, path, token=token, **request_to(path, method))
            assert reply.status_code == 401, (method, path)
            # The OpenAI routes have a form of their own.
            error = reply.json()["error"]
            assert (error.get("code") or error["type"]) == "UnauthorizedError"
            assert reply.headers["www-authenticate"] == "Bearer"
            assert "unknown-" not in reply.text


def request_to(path: str, method: str, where: object = None) -> dict[str, object]:
    """Return what a request to a route has to have, with a filter of the request's own."""
    settings = {} if where is None else {"where": where}
    if method == "GET":
        params = {"question": QUESTION} if path in ("/v1/answer", "/v1/search") else {}
        return {"params": {**params, **{key: json.dumps(where) for key in settings if params}}}
    bodies = {
        "/v1/answer": {"question": QUESTION, "settings": settings},
        "/v1/search": {"question": QUESTION, "settings": settings},
        "/v1/log_prob": {"questions": [QUESTION], "answers": ["a"], "settings": settings},
        "/v1/without": {"question": QUESTION, "passage_ids": "v1:0", "settings": settings},
        "/v1/compare": {"question": QUESTION, "versions": ["v1", "v2"], "settings": settings},
        "/v1/chat/completions": {
            "model": "world@v2",
            "messages": [{"role": "user", "content": QUESTION}],
            "ragcore": {"settings": settings},
        },
        "/v1/admin/activate": {"version": "v2"},
        "/v1/admin/rollback": {},
        "/v1/admin/check": {"version": "v2"},
    }
    return {"json": bodies[path]}


def test_the_body_of_a_stranger_is_not_read(client):
    sent = []

    async def chunks():
        sent.append(True)
        yield b"{"

    reply = client.request("POST", "/v1/answer", content=chunks(), token="x" * 20)
    assert reply.status_code == 401
    assert not sent
    large = {"Content-Length": str(10**9)}
    assert client.request("POST", "/v1/answer", headers=large).status_code == 401
    assert client.request("POST", "/v1/answer", headers=large, token=TOKEN).status_code == 413


def test_counts_of_all_passages_are_for_those_who_may_read_all(client):
    for token, seen in ((TOKEN, True), (ADMIN, True), (SALES, False)):
        listed = client.get("/v1/versions", token=token).json()["versions"]
        one = client.get("/v1/versions/v1", token=token).json()
        assert [row["name"] for row in listed] == ["v1", "v2"]
        for row in (*listed, one):
            assert bool({"passages", "documents", "bytes"} & set(row)) == seen
        assert client.get("/metrics", token=token).status_code == (200 if seen else 403)


def ids_in(value: object) -> set[str]:
    """Return the ids of all passages that a reply names, at any depth."""
    if isinstance(value, dict):
        return set().union(*map(ids_in, value.values()), set())
    if isinstance(value, list):
        return set().union(*map(ids_in, value), set())
    return {value} if isinstance(value, str) and value[:3] in ("v1:", "v2:") else set()


READING = [
    ("POST", "/v1/answer"),
    ("GET", "/v1/answer"),
    ("POST", "/v1/search"),
    ("GET", "/v1/search"),
    ("POST", "/v1/compare"),
    ("POST", "/v1/chat/completions"),
]


@pytest.mark.parametrize("where", [None, WIDER], ids=["no filter", "wider filter"])
@pytest.mark.parametrize(("method", "path"), READING)
def test_no_request_widens_the_filter_of_its_token(client, method, path, where):
    asked = request_to(path, method, where)
    everything = client.request(method, path, token=TOKEN, **asked)
    assert len(ids_in(everything.json())) >= 3
    narrowed = client.request(method, path, token=SALES, **asked)
    assert narrowed.status_code == 200
    assert ids_in(narrowed.json())
    assert ids_in(narrowed.json()) <= ALLOWED


UNKNOWN = {"no such field": 1}
"""A filter for which the core writes notes, which name fields and count passages."""


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(("method", "path"), READING)
def test_notes_on_a_filter_say_nothing_of_other_passages(client, method, path, accept):
    asked = request_to(path, method, {"or": [{"n": {"gte": 0}}, UNKNOWN]})
    if path == "/v1/chat/completions" and "event" in accept:
        asked["json"]["stream"] = True
    everything, narrowed = (
        client.request(method, path, token=token, headers={"Accept": accept}, **asked)
        for token in (TOKEN, SALES)
    )
    assert everything.status_code == narrowed.status_code == 200
    assert "no passage has the field" in everything.text
    assert "no passage has the field" not in narrowed.text
    assert "filter_notes" in narrowed.text


def test_a_stream_keeps_to_the_filter(client):
    reply = client.post(
        "/v1/answer",
        {"question": QUESTION, "settings": {"where": WIDER}},
        token=SALES,
        headers={"Accept": "text/event-stream"},
    )
    frames = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    assert ids_in(frames)
    assert ids_in(frames) <= ALLOWED


def test_a_filter_of_the_request_narrows_further(client):
    body = {"question": QUESTION, "settings": {"where": {"n": 1}}}
    (answer,) = client.post("/v1/answer", body, token=SALES).json()["answers"]
    assert answer["evidence"] == []


def test_a_passage_that_is_not_allowed_cannot_be_left_out(client):
    body = {"question": QUESTION, "passage_ids": "v1:0"}
    assert client.post("/v1/without", body, token=TOKEN).status_code == 200
    reply = client.post("/v1/without", body, token=SALES)
    assert reply.status_code == 422


def test_log_probs_are_over_the_allowed_passages(client):
    body = {"questions": [QUESTION], "answers": ["b"]}
    (narrowed,) = client.post("/v1/log_prob", body, token=SALES).json()["log_probs"]
    expected = client.rag.log_prob([QUESTION], ["b"], where={"n": 3})
    everything = client.rag.log_prob([QUESTION], ["b"])
    assert narrowed == pytest.approx(expected[0])
    assert narrowed != pytest.approx(everything[0])
