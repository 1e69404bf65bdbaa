"""Streams of a batcher: their events, their lane, their deadlines and their readers."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
from batchers import ask, batching, collect
from gated_rag import make_rag
from ragcore_serve.batching import QueueFull

from ragcore import Request
from ragcore.errors import (
    ComponentError,
    ConfigError,
    DeadlineError,
)
from ragcore.types import SearchResult, Token


@pytest.fixture
def rag(tmp_path):
    with make_rag(tmp_path) as rag:
        yield rag
        rag.generator.gate.open()


def test_a_stream_has_the_events_of_the_pipeline_and_a_lane_of_its_own(rag):
    outcomes = []

    async def main():
        async with batching(rag, queue=1, streams=1, observe=outcomes.append) as batcher:
            stream = batcher.stream(Request("who rules chad", {"k": 2}))
            with pytest.raises(QueueFull, match="1 streams"):
                batcher.stream(Request("who rules mali"))
            ((answer,), events) = await asyncio.gather(
                ask(batcher, "who rules chad", k=2), collect(stream)
            )
            assert answer == events[-1]
            assert events == list(rag.events("who rules chad", k=2))

    asyncio.run(main())
    assert sorted((outcome.kind, outcome.streamed) for outcome in outcomes) == [
        ("answered", False),
        ("answered", True),
        ("refused", True),
    ]
    streamed = next(each for each in outcomes if each.streamed and each.kind == "answered")
    assert 0 <= streamed.waited <= streamed.first_token <= streamed.seconds


def test_a_reader_that_takes_no_events_keeps_no_version_open_and_no_room_in_the_lane(rag):
    async def main():
        async with batching(rag, streams=1) as batcher:
            stream = batcher.stream(Request("who rules chad"))
            while batcher.streaming:
                await asyncio.sleep(0)
            await asyncio.to_thread(rag.swap, "v2")
            assert [readers.readers for readers in [rag.memory._live._current]] == [0]
            events = await collect(batcher.stream(Request("who rules mali")))
            assert events[-1].memory == "v2"
            assert (await collect(stream))[-1].memory == "v1"

    asyncio.run(main())


def test_an_event_that_is_awaited_in_vain_is_not_lost(rag):
    async def main():
        async with batching(rag) as batcher:
            rag.generator.gate.close()
            stream = batcher.stream(Request("who rules chad"))
            first = await anext(stream)
            assert isinstance(first, SearchResult)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.01)
            rag.generator.gate.open()
            events = await collect(stream)
            assert isinstance(events[0], Token)
            assert [first, *events] == list(rag.events("who rules chad"))

    asyncio.run(main())


def test_streams_end_with_their_deadline_their_error_or_their_reader(rag):
    outcomes = []

    async def main():
        async with batching(rag, streams=3, observe=outcomes.append) as batcher:
            rag.generator.gate.close()
            late = batcher.stream(Request("late"), deadline=monotonic() + 0.01)
            with pytest.raises(DeadlineError):
                await collect(late)
            left = batcher.stream(Request("left"))
            await anext(left)
            await left.aclose()
            await left.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(left)
            rag.generator.gate.open()
            with pytest.raises(ComponentError, match="the generator is broken"):
                await collect(batcher.stream(Request("broken")))
            with pytest.raises(ConfigError, match="k: must be"):
                await collect(batcher.stream(Request("bad", {"k": -1})))

    asyncio.run(main())
    assert [outcome.kind for outcome in outcomes] == ["error", "cancelled", "error", "error"]
