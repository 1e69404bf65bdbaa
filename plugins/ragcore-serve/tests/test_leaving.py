"""What a client that left has asked is not computed."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from gated_rag import SECONDS
from ragcore_serve.leaving import while_connected
from serving_app import serving
from starlette.requests import Request

from ragcore.errors import RequestCancelledError


@pytest.fixture
def client(tmp_path):
    with serving(tmp_path) as client:
        yield client


def scope_of(path: str) -> dict[str, object]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/v1/answer",
        "raw_path": b"/v1/answer",
        "root_path": "",
        "query_string": path.encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "scheme": "http",
    }


async def asked_until_left(app, question: str, left: asyncio.Event) -> list[dict[str, object]]:
    """Ask as a client that leaves when the event is set; return what it was sent."""
    messages: list[dict[str, object]] = []
    first = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if first:
            return first.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    await app(scope_of(f"question={question}"), receive, send)
    return messages


def test_a_question_that_waits_is_not_computed_when_its_client_leaves(client):
    generator, batcher = client.rag.generator, client.pipelines.default.batcher

    async def run() -> None:
        generator.gate.close()
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as other:
            first = asyncio.create_task(other.get("/v1/answer", params={"question": "first"}))
            assert await asyncio.to_thread(generator.gate.reached.acquire, timeout=SECONDS)
            left = asyncio.Event()
            second = asyncio.create_task(asked_until_left(client.app, "second", left))
            while batcher.waiting != 1:
                await asyncio.sleep(0)
            left.set()
            await second
            generator.gate.open()
            assert (await first).status_code == 200
            assert (await other.get("/v1/answer", params={"question": "third"})).is_success

    asyncio.run(run())
    # A question is read with each of its passages.
    assert list(dict.fromkeys(generator.questions)) == ["first", "third"]


def test_work_is_cancelled_once_its_client_has_left():
    async def run() -> list[str]:
        states = []

        async def receive():
            return {"type": "http.disconnect"}

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                states.append("cancelled")
                raise

        with pytest.raises(RequestCancelledError):
            await while_connected(Request(scope_of(""), receive), work())
        return states

    assert asyncio.run(run()) == ["cancelled"]
