"""A server that is asked to stop: no longer ready, what it admitted is answered, then it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from gated_rag import SECONDS
from ragcore_serve.config import ServeConfig
from ragcore_serve.server import DrainingServer, address_of, listen
from serving_app import QUESTION, Client, error_of, serving

from ragcore.errors import ConfigError

BODY = {"question": QUESTION}


@asynccontextmanager
async def running(
    client: Client, config: ServeConfig
) -> AsyncIterator[tuple[asyncio.Task[None], httpx.AsyncClient]]:
    """Listen on a free port until the block ends, by which the server must have been stopped."""
    started = asyncio.Event()
    with listen(config.host, 0) as listening:
        server = DrainingServer(client.app, client.pipelines, config, started=started.set)
        task = asyncio.create_task(server.serve([listening]))
        await started.wait()
        async with httpx.AsyncClient(
            base_url=address_of(listening), timeout=SECONDS, trust_env=False
        ) as other:
            yield task, other
        await asyncio.wait_for(task, SECONDS)


async def asked(client: Client, other: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    """Ask a question, and return when the generator has it."""
    client.rag.generator.gate.close()
    asking = asyncio.create_task(other.post("/v1/answer", json=BODY))
    assert await asyncio.to_thread(client.rag.generator.gate.reached.acquire, timeout=SECONDS)
    return asking


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_admitted_is_answered_and_nothing_more(tmp_path, number):
    before = signal.getsignal(number)

    async def run(client: Client) -> None:
        async with running(client, ServeConfig()) as (task, other):
            asking = await asked(client, other)
            os.kill(os.getpid(), number)
            while (ready := await other.get("/readyz")).status_code == 200:
                pass
            assert (ready.status_code, error_of(ready)) == (503, "NotReadyError")
            assert (await other.get("/livez")).status_code == 200
            refused = await other.post("/v1/answer", json=BODY)
            assert (refused.status_code, error_of(refused)) == (503, "Draining")
            assert not task.done()
            client.rag.generator.gate.open()
            assert (await asking).json()["answers"][0]["question"] == QUESTION

    with serving(tmp_path) as client:
        asyncio.run(run(client))
    assert signal.getsignal(number) == before


def test_what_takes_longer_than_the_drain_ends_with_an_error(tmp_path, caplog):
    async def run(client: Client) -> None:
        async with running(client, ServeConfig(drain=0.0)) as (_, other):
            asking = await asked(client, other)
            os.kill(os.getpid(), signal.SIGTERM)
            reply = await asking
            assert (reply.status_code, error_of(reply)) == (503, "Draining")
            client.rag.generator.gate.open()

    with serving(tmp_path) as client:
        asyncio.run(run(client))
    assert "they took longer than 0 s" in caplog.text


def test_a_second_signal_does_not_wait(tmp_path):
    async def run(client: Client) -> None:
        async with running(client, ServeConfig()) as (_, other):
            asking = await asked(client, other)
            os.kill(os.getpid(), signal.SIGTERM)
            while (await other.get("/readyz")).status_code == 200:
                pass
            os.kill(os.getpid(), signal.SIGTERM)
            reply = await asking
            assert (reply.status_code, error_of(reply)) == (503, "Draining")
            client.rag.generator.gate.open()

    with serving(tmp_path) as client:
        asyncio.run(run(client))


def test_a_port_that_is_taken_is_refused():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: Address already in use"):
            listen("127.0.0.1", port)
