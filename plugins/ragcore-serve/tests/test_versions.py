"""A version that a request names is opened for it alone: no other question waits for that."""

from __future__ import annotations

import asyncio

import pytest
from batchers import ask, batching, collect, queued
from gated_rag import SECONDS, Gate, make_rag
from ragcore_serve import versions
from ragcore_serve.batching import Batcher, Draining

from ragcore import Cancellation, Request
from ragcore.errors import DeadlineError, RequestCancelledError, UnknownVersionError

NAMES = ("v1", "v2", "v3", "v4", "v5")


@pytest.fixture
def rag(tmp_path):
    with make_rag(tmp_path, NAMES) as rag:
        yield rag
        rag.generator.gate.open()


@pytest.fixture
def opening(rag):
    """The gate at which a version waits that is about to be opened, and those that came to it."""
    gate = Gate()
    gate.versions = []
    others = rag.memory._others
    open_version = others._open_version

    def waiting(version):
        gate.versions.append(version)
        gate.wait()
        return open_version(version)

    others._open_version = waiting
    yield gate
    gate.open()


async def is_opening(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.reached.acquire, timeout=SECONDS)


async def answer(batcher: Batcher, version: str) -> str:
    (result,) = await ask(batcher, f"of {version}", version=version)
    return result.memory


async def stream(batcher: Batcher, version: str) -> str:
    events = await collect(batcher.stream(Request("streamed", {"version": version})))
    return events[-1].memory


async def search(batcher: Batcher, version: str) -> str:
    (result,) = await batcher.call(batcher._rag.search, ["searched"], version=version)
    return result.memory


ASKING = pytest.mark.parametrize("asking", [answer, stream, search])


@ASKING
def test_nobody_else_waits_while_a_version_is_opened(rag, opening, asking):
    async def main() -> None:
        async with batching(rag) as batcher:
            opening.close()
            # More than there are threads for streams or calls.
            waiting = [
                asyncio.create_task(asking(batcher, version))
                for version in ("v2", "v2", "v3", "v4", "v5", "v2")[: 2 if asking is stream else 6]
            ]
            await is_opening(opening)
            for other in (answer, search):
                assert await asyncio.wait_for(other(batcher, "v1"), SECONDS) == "v1"
            (plain,) = await ask(batcher, "plain")
            assert plain.memory == "v1"
            assert not any(task.done() for task in waiting)
            opening.open()
            expected = ["v2", "v2", "v3", "v4", "v5", "v2"][: len(waiting)]
            assert await asyncio.gather(*waiting) == expected

    asyncio.run(main())
    # Each once: who reads a version keeps it open.
    assert len(opening.versions) == len(set(opening.versions))


def test_a_version_that_there_is_none_of_fails_alone(rag):
    async def main() -> list[object]:
        async with batching(rag) as batcher:
            requests = [Request("a", {"version": name}) for name in ("v2", "v9", "v1")]
            return await batcher.answer([*requests, Request("b", {})])

    second, unknown, first, served = asyncio.run(main())
    assert isinstance(unknown, UnknownVersionError)
    assert [each.memory for each in (second, first, served)] == ["v2", "v1", "v1"]


@ASKING
def test_who_leaves_while_a_version_is_opened_keeps_nothing_open(rag, opening, asking):
    async def main() -> None:
        # A stream that was left counts until its thread has seen it.
        async with batching(rag, streams=4) as batcher:
            opening.close()
            left, stays = (asyncio.create_task(asking(batcher, "v2")) for _ in range(2))
            await is_opening(opening)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            opening.open()
            assert await stays == "v2"
            opening.close()
            alone = asyncio.create_task(asking(batcher, "v3"))
            await is_opening(opening)
            alone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await alone
            opening.open()
            # It was never read, so that the next one opens nothing either.
            assert await asking(batcher, "v3") == "v3"
        batcher._versions._threads.shutdown(wait=True)
        assert batcher._versions._open == 0
        assert batcher._versions._wanted == {}
        assert all(live.unread for live in rag.memory._others._open.values())

    asyncio.run(main())


def test_no_more_versions_are_open_at_a_time_than_may_be(rag, opening, monkeypatch):
    monkeypatch.setattr(versions, "_MOST", 2)
    most = []

    async def main() -> list[str]:
        async with batching(rag) as batcher:
            others = rag.memory._others
            enter = others._entered

            def entered(version, stack):
                memory = enter(version, stack)
                most.append(sum(not live.unread for live in others._open.values()))
                return memory

            others._entered = entered
            return await asyncio.gather(*(answer(batcher, name) for name in NAMES * 3))

    assert asyncio.run(main()) == list(NAMES * 3)
    assert 1 <= max(most) <= 2


def test_a_deadline_passes_while_a_version_is_opened(rag, opening):
    async def main() -> None:
        async with batching(rag) as batcher:
            opening.close()
            (result,) = await ask(batcher, "q", version="v2", timeout=0.01)
            assert isinstance(result, DeadlineError)
            with pytest.raises(DeadlineError):
                await collect(batcher.stream(Request("q", {"version": "v3", "timeout": 0.01})))
            with pytest.raises(DeadlineError):
                await batcher.call(rag.search, ["q"], version="v4", deadline=0.0)
            opening.open()

    asyncio.run(main())
    assert rag.generator.batches == []


def test_what_waits_for_a_version_ends_when_the_server_stops(rag, opening):
    async def main() -> None:
        batcher = Batcher(rag, queue=8, streams=1)
        opening.close()
        waiting = ask(batcher, "q", version="v2")
        await is_opening(opening)
        assert not await batcher.drain(0.0)
        (result,) = await waiting
        assert isinstance(result, Draining)

    asyncio.run(main())


def test_a_call_that_nobody_waits_for_is_cancelled(rag):
    async def main() -> None:
        async with batching(rag) as batcher:
            rag.generator.gate.close()
            cancellation = Cancellation()
            calling = asyncio.create_task(
                batcher.call(rag.log_prob, ["q"], ["a"], cancellation=cancellation)
            )
            assert await asyncio.to_thread(rag.generator.gate.reached.acquire, timeout=SECONDS)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            assert cancellation.cancelled
            assert batcher.admitted == 1
            rag.generator.gate.open()

    asyncio.run(main())


def test_a_question_that_its_caller_cancels_is_not_enqueued_later(rag, opening):
    async def main() -> None:
        async with batching(rag) as batcher:
            opening.close()
            cancellation = Cancellation()
            other = Request("other", {"version": "v2"})
            asked = Request("q", {"version": "v2", "cancellation": cancellation, "timeout": 0.01})
            waiting = asyncio.create_task(batcher.answer([asked, other]))
            await is_opening(opening)
            cancellation.cancel()
            await queued(batcher, waiting, 0)
            opening.open()
            cancelled, answered = await waiting
            assert isinstance(cancelled, DeadlineError | RequestCancelledError)
            assert answered.memory == "v2"

    asyncio.run(main())
    assert set(rag.generator.questions) == {"other"}
