"""What tests of the batcher share: a batcher that ends, and questions that wait in it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from gated_rag import SECONDS
from ragcore_serve.batching import Batcher

from ragcore import Request


@asynccontextmanager
async def batching(rag, queue=64, streams=2, **observers):
    """A batcher that has drained at the end, with the count of its queue back at 0."""
    batcher = Batcher(rag, queue=queue, streams=streams, **observers)
    try:
        yield batcher
    finally:
        rag.generator.gate.open()
        assert await batcher.drain(SECONDS)
        assert batcher.admitted == batcher.streaming == batcher.waiting == 0


async def reached(rag) -> None:
    """Return when a batch is about to be read."""
    assert await asyncio.to_thread(rag.generator.gate.reached.acquire, timeout=SECONDS)


async def queued(batcher, task, count) -> None:
    """Return when so many questions wait."""
    while batcher.waiting != count:
        assert not task.done()
        await asyncio.sleep(0)


def ask(batcher, *questions, deadline=None, **settings):
    requests = [Request(question, settings) for question in questions]
    return asyncio.create_task(batcher.answer(requests, deadline=deadline))


async def hold(batcher, rag, question="hold"):
    """Let the batch thread wait amid a question, so that what comes next waits in the queue."""
    rag.generator.gate.close()
    task = ask(batcher, question)
    await reached(rag)
    return task


async def collect(stream):
    """Return all events of a stream."""
    return [event async for event in stream]
