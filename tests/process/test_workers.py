"""Test work of an event loop in threads: cancelled, dropped, closed, in the caller's context."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextvars import ContextVar

import pytest

from ragcore.errors import StoreError
from ragcore.process.workers import Workers

PATIENCE = 20
"""Seconds after which a test that waits for a thread has failed."""


class Gate:
    """Work that stands still between `begun` and `open`."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(PATIENCE)
        return "done"


async def until(event: threading.Event) -> None:
    """Wait for a thread's event in the loop's own executor."""
    assert await asyncio.to_thread(event.wait, PATIENCE)


async def occupied(workers: Workers) -> tuple[list[Gate], list[asyncio.Task[str]]]:
    """Work in every thread, begun and standing still."""
    gates = [Gate() for _ in range(workers.threads)]
    tasks = [asyncio.create_task(workers.run(gate)) for gate in gates]
    for gate in gates:
        await until(gate.begun)
    return gates, tasks


def test_work_that_is_cancelled_before_it_begins_is_never_done():
    done: list[str] = []

    async def main() -> None:
        workers = Workers("test")
        gates, tasks = await occupied(workers)
        dropped = asyncio.create_task(workers.run(done.append, "dropped"))
        await asyncio.sleep(0)
        dropped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropped
        for gate in gates:
            gate.open.set()
        await asyncio.gather(*tasks)
        await workers.run(done.append, "later")
        workers.close()

    asyncio.run(main())
    assert done == ["later"]


def test_the_loops_own_executor_is_left_free():
    async def main() -> set[str]:
        workers = Workers("own")
        names = {await workers.run(lambda: threading.current_thread().name) for _ in range(3)}
        workers.close()
        return names

    assert all(name.startswith("own") for name in asyncio.run(main()))


def test_a_stream_cancelled_amid_a_step_is_closed_when_the_step_ends():
    gate, closed = Gate(), threading.Event()

    def steps() -> Generator[str, None, None]:
        try:
            yield "first"
            yield gate()
        finally:
            closed.set()

    async def main() -> list[str]:
        workers = Workers("test")
        items: list[str] = []

        async def consume() -> None:
            async for item in workers.iterate(steps()):
                items.append(item)

        consumer = asyncio.create_task(consume())
        await until(gate.begun)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert not closed.is_set()
        gate.open.set()
        await until(closed)
        workers.close()
        return items

    assert asyncio.run(main()) == ["first"]


def test_a_stream_left_between_two_steps_is_closed_at_once():
    closed = threading.Event()

    def steps() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    async def main() -> None:
        workers = Workers("test")
        stream = workers.iterate(steps())
        assert await anext(stream) == 1
        await stream.aclose()
        assert closed.is_set()
        workers.close()

    asyncio.run(main())


def test_a_stream_yields_none_and_whatever_else_its_generator_does():
    async def main() -> list[object]:
        workers = Workers("test")
        items = [item async for item in workers.iterate(item for item in (None, 0, "end"))]
        workers.close()
        return items

    assert asyncio.run(main()) == [None, 0, "end"]


def test_closing_drops_what_has_not_begun_with_an_error_that_says_so():
    async def main() -> None:
        workers = Workers("test")
        gates, tasks = await occupied(workers)
        waiting = asyncio.create_task(workers.run(str))
        await asyncio.sleep(0)
        workers.close()
        with pytest.raises(StoreError, match="closed before this question was begun: load it"):
            await waiting
        for gate in gates:
            gate.open.set()
        assert await asyncio.gather(*tasks) == ["done"] * len(tasks)
        with pytest.raises(StoreError, match="the pipeline is closed: load it again"):
            await workers.run(str)

    asyncio.run(main())


def test_work_sees_the_context_of_its_caller():
    version = ContextVar("version", default="served")

    async def main() -> tuple[str, str]:
        workers = Workers("test")
        outside = asyncio.create_task(workers.run(version.get))
        version.set("pinned")
        inside = await workers.run(version.get)
        found = await outside, inside
        workers.close()
        return found

    assert asyncio.run(main()) == ("served", "pinned")
