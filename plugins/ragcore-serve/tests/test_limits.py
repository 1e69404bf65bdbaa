"""A body is bounded while it is read, for any header, and however slowly it comes."""

from __future__ import annotations

import asyncio
import json

import pytest
from ragcore_serve.limits import BodyLimit
from serving_app import QUESTION, error_of, serving

LIMIT = 1000


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path, max_body_bytes=LIMIT) as client:
        yield client


def body_of(size: int) -> bytes:
    content = json.dumps({"question": QUESTION, "padding": ""}).encode()
    return content.replace(b'""', b'"' + b"x" * (size - len(content)) + b'"')


def test_a_body_of_the_largest_size_is_read(client):
    headers = {"Content-Type": "application/json"}
    reply = client.request("POST", "/v1/answer", content=body_of(LIMIT), headers=headers)
    assert (reply.status_code, error_of(reply)) == (422, "InvalidRequestError")
    assert "padding" in reply.json()["error"]["message"]


def test_a_larger_body_is_refused(client):
    headers = {"Content-Type": "application/json"}
    reply = client.request("POST", "/v1/answer", content=body_of(LIMIT + 1), headers=headers)
    assert (reply.status_code, error_of(reply)) == (413, "BodyTooLargeError")


def test_a_body_that_does_not_tell_its_size_is_counted(client):
    sent = []

    async def chunks():
        for start in range(0, 10 * LIMIT, 100):
            sent.append(start)
            yield b"x" * 100

    headers = {"Content-Type": "application/json"}
    reply = client.request("POST", "/v1/answer", content=chunks(), headers=headers)
    assert (reply.status_code, error_of(reply)) == (413, "BodyTooLargeError")
    assert len(sent) <= LIMIT // 100 + 2


def test_a_body_that_does_not_come_is_given_up(client):
    async def ask():
        messages = []

        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            messages.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/answer",
            "raw_path": b"/v1/answer",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 1),
            "scheme": "http",
        }
        await BodyLimit(client.app.router_app, LIMIT, seconds=0.0)(scope, receive, send)
        return messages

    client.app.router_app = without_outer_limit(client.app)
    start, body = asyncio.run(ask())
    assert start["status"] == 408
    assert json.loads(body["body"])["error"]["type"] == "BodyTimeoutError"


def without_outer_limit(app):
    """Return the app within its own limit, which waits half a minute."""
    app.user_middleware = [each for each in app.user_middleware if each.cls is not BodyLimit]
    app.middleware_stack = None
    return app
