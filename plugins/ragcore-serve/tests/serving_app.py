"""A real app over a real pipeline, and a client that asks it without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from gated_rag import make_rag
from ragcore_serve.app import make_app
from ragcore_serve.batching import Batcher
from ragcore_serve.config import ServeConfig
from ragcore_serve.served import Pipelines, ServedPipeline
from ragcore_serve.tracing import Tracing

from ragcore import Rag
from ragcore.store.store import Store

TOKEN = "reader-0123456789abcdef"
SALES = "sales-0123456789abcdef"
ADMIN = "admin-0123456789abcdef"
QUESTION = "who rules chad"


class Client:
    """Sends requests to an app, each in an event loop of its own."""

    def __init__(self, app: FastAPI, pipelines: Pipelines) -> None:
        self.app = app
        self.pipelines = pipelines

    @property
    def rag(self) -> Rag:
        return self.pipelines.default.rag

    def request(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {})}
        headers |= more.pop("headers", {})
        return asyncio.run(self._request(method, path, headers=headers, **more))

    async def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **more)


@contextmanager
def serving(
    folder: Path, rag: Rag | None = None, tracing: Tracing | None = None, **settings: Any
) -> Iterator[Client]:
    """Serve one pipeline, `world`, of which no file is read."""
    config = ServeConfig(**settings)
    rag = rag or make_rag(folder)
    tracing = tracing or Tracing()
    batcher = Batcher(rag, queue=config.queue, streams=config.streams, batch_span=tracing.batch)
    pipeline = ServedPipeline("world", rag, batcher, store=Store(folder / "store"))
    with Pipelines([pipeline]) as pipelines:
        try:
            yield Client(make_app(pipelines, config, tracing=tracing), pipelines)
        finally:
            rag.generator.gate.open()
            asyncio.run(pipelines.drain(30))


def error_of(reply: httpx.Response) -> str:
    """Return the class of a reply's error; its message must say something."""
    error = reply.json()["error"]
    assert set(error) == {"type", "message"}
    assert error["message"]
    return error["type"]
