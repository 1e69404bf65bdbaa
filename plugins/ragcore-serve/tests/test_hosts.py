"""Requests of foreign hosts and pages are refused."""

from __future__ import annotations

import asyncio

import pytest
from serving_app import QUESTION, error_of, serving
from starlette.routing import WebSocketRoute

BODY = {"question": QUESTION}


def status(client, path="/v1/versions", **headers):
    return client.get(path, headers=headers).status_code


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:81", "[::1]", "[::1]:8000", "a.test:1"],
)
def test_own_names_are_served(tmp_path, host):
    with serving(tmp_path, hosts=("a.test",)) as client:
        assert status(client, Host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8000",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "::1x",
        "",
        "[::1]evil.test",
        "[::1",
        "[::1]x:80",
        "[127.0.0.1].evil.test:80",
    ],
)
def test_a_name_that_another_site_has_is_refused(tmp_path, host):
    with serving(tmp_path) as client:
        reply = client.get("/v1/versions", headers={"Host": host})
        assert (reply.status_code, error_of(reply)) == (403, "HostError")
        assert status(client, "/readyz", Host=host) == 200


def test_an_open_server_has_the_names_that_are_listed(tmp_path):
    with serving(tmp_path, host="0.0.0.0", open=True, hosts=("a.test",)) as client:
        assert status(client, Host="a.test") == 200
        assert status(client, Host="localhost") == 403
    with serving(tmp_path / "other", host="0.0.0.0", open=True) as client:
        assert status(client, Host="b.test") == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.test", "null", "http://127.0.0.1:9", "http://[x", "file://127.0.0.1", ""],
)
def test_a_foreign_page_can_neither_ask_nor_change_anything(tmp_path, origin):
    with serving(tmp_path) as client:
        for path, body in (("/v1/answer", BODY), ("/v1/admin/rollback", None)):
            reply = client.post(path, body, headers={"Origin": origin})
            assert (reply.status_code, error_of(reply)) == (403, "HostError")
        assert client.rag.memory.version == "v1"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_cannot_load_what_is_computed(tmp_path, site):
    # As an image or a script: the browser names no origin.
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    with serving(tmp_path, cors=("https://a.test",)) as client:
        reply = client.get("/v1/answer", params=BODY, headers=headers)
        assert (reply.status_code, error_of(reply)) == (403, "HostError")
        assert not client.rag.generator.batches
        listed = client.get(
            "/v1/answer", params=BODY, headers=headers | {"Origin": "https://a.test"}
        )
        assert listed.status_code == 200
        # A link to the server's own page, from anywhere.
        assert status(client, "/", **headers | {"Sec-Fetch-Mode": "navigate"}) == 200
    with serving(tmp_path / "any", cors=("*",)) as client:
        assert client.get("/v1/answer", params=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_page_and_the_address_bar_can(tmp_path, site):
    with serving(tmp_path) as client:
        assert status(client, **{"Sec-Fetch-Site": site}) == 200


def test_a_foreign_page_cannot_open_a_socket(tmp_path):
    async def opened(app, origin: bytes) -> str:
        sent = []

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message["type"])

        headers = [(b"host", b"localhost"), (b"origin", origin)]
        scope = {
            "type": "websocket",
            "path": "/socket",
            "headers": headers,
            "query_string": b"",
            "root_path": "",
        }
        await app(scope, receive, send)
        return sent[0]

    async def accepting(socket):
        await socket.accept()

    with serving(tmp_path) as client:
        client.app.router.routes.append(WebSocketRoute("/socket", accepting))
        assert asyncio.run(opened(client.app, b"http://localhost")) == "websocket.accept"
        assert asyncio.run(opened(client.app, b"https://evil.test")) == "websocket.close"


def test_pages_of_the_server_and_of_listed_origins_can(tmp_path):
    with serving(tmp_path, cors=("https://a.test",)) as client:
        own = client.post("/v1/answer", BODY, headers={"Origin": "http://127.0.0.1"})
        assert own.status_code == 200
        listed = client.post("/v1/answer", BODY, headers={"Origin": "https://a.test"})
        assert listed.headers["access-control-allow-origin"] == "https://a.test"
        preflight = client.request(
            "OPTIONS",
            "/v1/answer",
            headers={
                "Origin": "https://a.test",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        assert preflight.status_code == 200
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
