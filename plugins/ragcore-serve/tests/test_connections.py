"""Connections of clients that neither send nor read are ended; who waits for a reply is not."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from gated_rag import SECONDS
from ragcore_serve.config import ServeConfig
from ragcore_serve.connections import BoundedConnection
from serving_app import QUESTION, serving
from test_server import asked, running

LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(BoundedConnection, "head_seconds", 0.2)


async def until_closed(base_url, *parts: bytes, drip: bytes = b"") -> bytes:
    """Send parts, each after the reply to the one before; return what came until the end.

    Args:
        base_url: of the server.
        parts: what is sent.
        drip: sent again and again while nothing comes.
    """
    reader, writer = await asyncio.open_connection(base_url.host, base_url.port)
    replies = b""
    try:
        async with asyncio.timeout(SECONDS):
            for number, part in enumerate(parts):
                if number:
                    replies += await reader.readuntil(b"}")
                writer.write(part)
            while True:
                try:
                    async with asyncio.timeout(0.05):
                        chunk = await reader.read(1000)
                except TimeoutError:
                    writer.write(drip)
                    continue
                except ConnectionError:
                    return replies
                if not chunk:
                    return replies
                replies += chunk
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("parts", "drip", "replies"),
    [
        ((), b"", 0),
        ((b"GET /livez HTTP/1.1\r\nHost: local",), b"", 0),
        ((b"GET /livez HTTP/1.1\r\nHost: local",), b"x", 0),
        ((LIVE, b"GET /livez HTTP/1.1\r\n"), b"", 1),
    ],
    ids=["silent", "part of a head", "a head by drops", "part of a second head"],
)
def test_a_head_that_does_not_come_ends_its_connection(tmp_path, parts, drip, replies):
    async def run(client) -> None:
        async with running(client, ServeConfig()) as (_, other):
            reply = await until_closed(other.base_url, *parts, drip=drip)
            assert reply.count(b"HTTP/1.1 200") == replies
            assert (await other.get("/livez")).status_code == 200
            os.kill(os.getpid(), signal.SIGTERM)

    with serving(tmp_path) as client:
        asyncio.run(run(client))


TOO_LARGE = b"POST /v1/answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"


@pytest.mark.parametrize("drip", [b"", b"x"], ids=["nothing more", "by drops"])
def test_a_body_that_was_replied_to_before_it_came_ends_its_connection(tmp_path, drip):
    async def run(client) -> None:
        async with running(client, ServeConfig()) as (_, other):
            reply = await until_closed(other.base_url, TOO_LARGE, b"x", drip=drip)
            assert reply.startswith(b"HTTP/1.1 413")
            os.kill(os.getpid(), signal.SIGTERM)

    with serving(tmp_path) as client:
        asyncio.run(run(client))


def test_after_such_a_body_a_connection_serves_on(tmp_path):
    body = b"x" * 2000
    head = b"POST /v1/answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n"

    async def run(client) -> None:
        async with running(client, ServeConfig(max_body_bytes=1000)) as (_, other):
            reply = await until_closed(other.base_url, head, body, LIVE[:5])
            assert reply.startswith(b"HTTP/1.1 413")
            reader, writer = await asyncio.open_connection(other.base_url.host, other.base_url.port)
            writer.write(head)
            assert b"413" in await reader.readuntil(b"}}")
            writer.write(body + LIVE)
            assert b"200" in await reader.readuntil(b"}")
            writer.close()
            os.kill(os.getpid(), signal.SIGTERM)

    with serving(tmp_path, max_body_bytes=1000) as client:
        asyncio.run(run(client))


def test_a_reply_may_take_longer_than_a_head(tmp_path):
    async def run(client) -> None:
        async with running(client, ServeConfig()) as (_, other):
            asking = await asked(client, other)
            # One that began later has been ended.
            assert await until_closed(other.base_url) == b""
            assert not asking.done()
            client.rag.generator.gate.open()
            assert (await asking).json()["answers"][0]["question"] == QUESTION
            os.kill(os.getpid(), signal.SIGTERM)

    with serving(tmp_path) as client:
        asyncio.run(run(client))


async def sent_without_end(writer: asyncio.StreamWriter, requests: bytes) -> None:
    """Send requests until the server has ended the connection, and read nothing."""
    while True:
        writer.write(requests)
        await writer.drain()
        # `drain` does not wait where nothing is buffered.
        await asyncio.sleep(0)


def test_a_reply_that_nobody_reads_ends_its_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(BoundedConnection, "unread_seconds", 0.2)

    async def run(client) -> None:
        async with running(client, ServeConfig()) as (_, other):
            address = other.base_url.host, other.base_url.port
            _, writer = await asyncio.open_connection(*address)
            writer.transport.pause_reading()
            # More replies than the buffers of both sides take.
            page = b"GET /page/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
            try:
                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(sent_without_end(writer, page * 100), SECONDS)
            finally:
                writer.transport.abort()
            assert (await other.get("/livez")).status_code == 200
            os.kill(os.getpid(), signal.SIGTERM)

    with serving(tmp_path) as client:
        asyncio.run(run(client))
