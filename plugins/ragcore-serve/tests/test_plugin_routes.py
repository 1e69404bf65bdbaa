"""Routers of plugins: where they are served, and that no request passes the tokens by."""

from __future__ import annotations

import asyncio
import logging

import pytest
from chat_server import build_store, make_app, make_pipelines, make_rag
from starlette.testclient import TestClient

from tests.conftest import Installed, installed  # noqa: F401 (a fixture)

SOURCE = """
from fastapi import APIRouter, Request
from ragcore import hookimpl
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

router = APIRouter()
inner = APIRouter()


@inner.get("/caller")
def caller(request: Request):
    names = [each.name for each in request.app.state.serving.pipelines]
    return {"where": request.state.caller.where, "pipelines": names}


async def plain(request):
    return PlainTextResponse("plain")


async def accepting(socket):
    await socket.accept()
    await socket.close()


router.include_router(inner)
router.routes += [
    Route("/plain", plain),
    Mount("/mounted", Route("/x", plain)),
    WebSocketRoute("/socket", accepting),
]


@hookimpl
def ragcore_routes():
    return {"mine": "mine_plugin:router", "none": "mine_plugin:plain", "lost": "mine_plugin:lost"}
"""
PATHS = ["caller", "plain", "mounted/x"]
HEADERS = {"Authorization": "Bearer 0123456789abcdef"}


@pytest.fixture
def pipelines(tmp_path):
    with make_rag(build_store(tmp_path)) as rag:
        yield make_pipelines(None, rag)


@pytest.fixture
def tokens(tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text('0123456789abcdef {"n": 2}\n', encoding="utf-8")
    tokens.chmod(0o600)
    return tokens


@pytest.fixture
def client(installed, pipelines, tokens):  # noqa: F811 (the fixture above)
    installed.add("mine", SOURCE)
    app = make_app(pipelines, token_file=tokens)
    return TestClient(app, base_url="http://localhost")


@pytest.mark.parametrize("path", PATHS)
def test_a_router_is_behind_the_server_s_tokens(client, path):
    reply = client.get(f"/plugins/mine/{path}")
    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "UnauthorizedError")
    assert client.get(f"/plugins/mine/{path}", headers=HEADERS).status_code == 200


def test_a_router_knows_the_pipelines_and_the_filter_of_its_caller(client):
    reply = client.get("/plugins/mine/caller", headers=HEADERS)
    assert reply.json() == {"where": {"n": 2}, "pipelines": ["tiny"]}


def test_a_socket_is_behind_the_tokens_too(client):
    async def opened(headers) -> str:
        sent = []

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message["type"])

        scope = {
            "type": "websocket",
            "path": "/plugins/mine/socket",
            "headers": [(b"host", b"localhost"), *headers],
            "query_string": b"",
            "root_path": "",
        }
        await client.app(scope, receive, send)
        return sent[0]

    token = [(b"authorization", b"Bearer 0123456789abcdef")]
    assert asyncio.run(opened([])) == "websocket.close"
    assert asyncio.run(opened(token)) == "websocket.accept"


def test_what_is_no_router_is_logged_and_the_rest_is_served(installed, pipelines, caplog):  # noqa: F811
    installed.add("mine", SOURCE)
    with caplog.at_level(logging.ERROR, logger="ragcore.serve"):
        app = make_app(pipelines)
    assert "/plugins/none is not served: router 'none': found function at mine_plugin:plain" in (
        caplog.text
    )
    assert "/plugins/lost is not served" in caplog.text
    client = TestClient(app, base_url="http://localhost")
    assert client.get("/plugins/none").status_code == 404
    assert client.get("/plugins/mine/plain").text == "plain"
