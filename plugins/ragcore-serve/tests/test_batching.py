"""Requests of many callers are answered together, each as if it were alone."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic

import pytest
from batchers import ask, batching, collect, hold, queued, reached
from gated_rag import SECONDS, make_rag
from hypothesis import given
from hypothesis import strategies as st
from ragcore_serve.batching import Batcher, Draining, QueueFull

from ragcore import Cancellation, Request
from ragcore.errors import (
    ComponentError,
    ConfigError,
    DeadlineError,
    QuestionError,
    RagcoreError,
)
from ragcore.types import Answer


@pytest.fixture
def rag(tmp_path):
    with make_rag(tmp_path) as rag:
        yield rag
        rag.generator.gate.open()


def test_callers_that_wait_are_answered_together_as_each_alone(rag):
    questions = [f"who rules {n}" for n in range(6)]
    alone = {question: rag.answer(question)[0] for question in questions}
    rag.generator.batches.clear()

    async def main():
        sizes = []
        async with batching(rag, observe_batch=sizes.append) as batcher:
            first = await hold(batcher, rag, questions[0])
            others = [ask(batcher, question) for question in questions[1:]]
            await queued(batcher, first, 5)
            rag.generator.gate.open()
            results = await asyncio.gather(first, *others)
        assert [answer for (answer,) in results] == list(alone.values())
        assert sizes == [1, 4, 1]

    asyncio.run(main())


def test_the_oldest_question_is_answered_first_with_those_of_its_settings(rag):
    sizes = []

    async def main():
        async with batching(rag, observe_batch=sizes.append) as batcher:
            first = await hold(batcher, rag)
            tasks = [
                ask(batcher, name, k=k) for name, k in [("a", 2), ("b", 1), ("c", 2), ("d", 1)]
            ]
            await queued(batcher, first, 4)
            rag.generator.gate.open()
            await asyncio.gather(first, *tasks)

    rag.generator.batches.clear()
    asyncio.run(main())
    batches = [list(dict.fromkeys(batch)) for batch in rag.generator.batches]
    assert batches == [["hold"], ["a", "c"], ["b", "d"]]
    assert sizes == [1, 2, 2]


def test_a_question_that_fails_fails_alone(rag):
    async def main():
        async with batching(rag) as batcher:
            first = await hold(batcher, rag)
            tasks = [ask(batcher, name) for name in ("a", "broken", "", "c")]
            tasks.append(ask(batcher, "d", k=-1))
            tasks.append(ask(batcher, "e", timeout=-1.0))
            await queued(batcher, first, 6)
            rag.generator.gate.open()
            return [result for (result,) in await asyncio.gather(first, *tasks)]

    kinds = [Answer, Answer, ComponentError, QuestionError, Answer, ConfigError, ConfigError]
    assert [type(result) for result in asyncio.run(main())] == kinds


def test_a_full_queue_refuses_all_questions_of_a_call_and_says_when_to_ask_again(rag):
    outcomes = []

    async def main():
        async with batching(rag, queue=3, observe=outcomes.append) as batcher:
            first = await hold(batcher, rag)
            second = ask(batcher, "a")
            await queued(batcher, first, 1)
            with pytest.raises(QueueFull, match="takes at most 3") as refused:
                await batcher.answer([Request("b"), Request("c")])
            assert 1 <= refused.value.retry_after <= 60
            with pytest.raises(QuestionError, match="4 questions in one call"):
                await batcher.answer([Request(name) for name in "abcd"])
            with pytest.raises(QueueFull):
                await batcher.call(rag.search, ["a", "b"], questions=2)
            third = ask(batcher, "d")
            rag.generator.gate.open()
            await asyncio.gather(first, second, third)

    asyncio.run(main())
    assert sorted(outcome.kind for outcome in outcomes) == ["answered"] * 3 + ["refused"] * 2
    assert "b" not in rag.generator.questions


def test_a_question_whose_deadline_passes_in_the_queue_is_not_computed(rag):
    async def main():
        async with batching(rag) as batcher:
            first = await hold(batcher, rag)
            (late,) = await batcher.answer([Request("late")], deadline=monotonic() + 0.01)
            (own,) = await batcher.answer([Request("own", {"timeout": 0.01})])
            assert batcher.waiting == 0
            rag.generator.gate.open()
            await first
            return late, own

    assert [type(result) for result in asyncio.run(main())] == [DeadlineError] * 2
    assert rag.generator.questions == ["hold"] * 3


def test_a_late_question_has_its_error_before_it_is_cancelled(rag, monkeypatch):
    late_ended, cancel = threading.Event(), Cancellation.cancel

    def observe(outcome):
        if outcome.kind != "answered":
            late_ended.set()

    def cancel_slowly(self):
        cancel(self)
        # The batch thread takes the question, which is cancelled, before its caller goes on.
        rag.generator.gate.open()
        assert late_ended.wait(SECONDS)

    async def main():
        async with batching(rag, observe=observe) as batcher:
            first = await hold(batcher, rag)
            monkeypatch.setattr(Cancellation, "cancel", cancel_slowly)
            (late,) = await batcher.answer([Request("late")], deadline=monotonic() + 0.01)
            await first
            return late

    assert isinstance(asyncio.run(main()), DeadlineError)


def test_the_batch_thread_itself_computes_nothing_whose_deadline_has_passed(rag):
    outcomes, settled = [], threading.Event()

    def observe(outcome):
        outcomes.append(outcome)
        settled.set()

    async def main():
        async with batching(rag, observe=observe) as batcher:
            task = ask(batcher, "late", deadline=monotonic())
            await asyncio.sleep(0)
            # The event loop is busy, as with other callers.
            assert settled.wait(SECONDS)
            assert [type(result) for result in await task] == [DeadlineError]

    asyncio.run(main())
    assert [outcome.batch for outcome in outcomes] == [0]
    assert not rag.generator.questions


def test_a_deadline_ends_one_question_of_a_running_batch_and_no_other(rag):
    async def main():
        async with batching(rag) as batcher:
            first = await hold(batcher, rag)
            hasty, patient = ask(batcher, "hasty", timeout=0.3), ask(batcher, "patient")
            await queued(batcher, first, 2)
            rag.generator.gate.let_one_pass()
            await first
            await reached(rag)
            (late,) = await hasty
            assert batcher.running == 2
            assert not patient.done()
            rag.generator.gate.open()
            (answer,) = await patient
            return late, answer

    late, answer = asyncio.run(main())
    assert isinstance(late, DeadlineError)
    assert answer == rag.answer("patient")[0]


def test_a_caller_that_leaves_the_queue_is_not_computed_and_its_neighbours_are(rag):
    outcomes = []

    async def main():
        async with batching(rag, observe=outcomes.append) as batcher:
            first = await hold(batcher, rag)
            leaving, staying = ask(batcher, "leaving"), ask(batcher, "staying")
            await queued(batcher, first, 2)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert batcher.waiting == 1
            rag.generator.gate.open()
            await asyncio.gather(first, staying)

    asyncio.run(main())
    assert "leaving" not in rag.generator.questions
    assert [outcome.kind for outcome in outcomes] == ["cancelled", "answered", "answered"]
    assert [outcome.batch for outcome in outcomes] == [0, 1, 1]


def test_a_batch_that_all_callers_have_left_ends_before_its_first_token(rag):
    async def main():
        async with batching(rag) as batcher:
            first = await hold(batcher, rag)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (batcher.admitted, batcher.running) == (0, 1)

    asyncio.run(main())
    assert (rag.generator.passes, rag.generator.steps) == (1, 0)


def test_questions_that_wait_for_a_swap_are_each_answered_by_one_version(rag):
    async def main():
        async with batching(rag) as batcher:
            first = await hold(batcher, rag)
            tasks = [ask(batcher, f"q{n}") for n in range(6)]
            tasks += [ask(batcher, f"q{n}", version="v1") for n in range(2)]
            await queued(batcher, first, 8)
            await asyncio.to_thread(rag.swap, "v2")
            rag.generator.gate.open()
            return [answer for (answer,) in await asyncio.gather(first, *tasks)]

    answers = asyncio.run(main())
    assert [answer.memory for answer in answers] == ["v1"] + ["v2"] * 6 + ["v1"] * 2
    for answer in answers:
        assert {each.passage.id.split(":")[0] for each in answer.evidence} == {answer.memory}


def test_a_call_returns_what_its_function_does_and_has_a_deadline(rag):
    async def main():
        async with batching(rag, queue=2) as batcher:
            assert await batcher.call(rag.search, "who rules chad", k=2) == rag.search(
                "who rules chad", k=2
            )
            with pytest.raises(QuestionError):
                await batcher.call(rag.search, "")
            release = threading.Event()
            with pytest.raises(DeadlineError):
                await batcher.call(release.wait, SECONDS, deadline=monotonic() + 0.01)
            assert batcher.admitted == 1
            release.set()

    asyncio.run(main())


def test_draining_refuses_what_comes_and_finishes_what_was_admitted(rag):
    async def main():
        batcher = Batcher(rag, queue=8, streams=2)
        first = await hold(batcher, rag)
        waiting = ask(batcher, "a")
        await queued(batcher, first, 1)
        draining = asyncio.create_task(batcher.drain(SECONDS))
        while not batcher.draining:
            await asyncio.sleep(0)
        with pytest.raises(Draining):
            await batcher.answer([Request("b")])
        with pytest.raises(Draining):
            batcher.stream(Request("b"))
        with pytest.raises(Draining):
            await batcher.call(rag.search, "b")
        assert not draining.done()
        rag.generator.gate.open()
        assert await draining
        for (answer,) in await asyncio.gather(first, waiting):
            assert isinstance(answer, Answer)
        assert await batcher.drain(SECONDS)

    threads = set(threading.enumerate())
    asyncio.run(main())
    left = [each for each in set(threading.enumerate()) - threads if "ragcore-" in each.name]
    for thread in left:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in left)


def test_what_is_unfinished_when_the_time_to_drain_is_over_ends_with_an_error(rag):
    outcomes = []

    async def main():
        batcher = Batcher(rag, queue=8, streams=2, observe=outcomes.append)
        first = await hold(batcher, rag)
        waiting = ask(batcher, "a")
        stream = batcher.stream(Request("b"))
        await queued(batcher, first, 1)
        assert not await batcher.drain(0.01)
        for (result,) in await asyncio.gather(first, waiting):
            assert isinstance(result, Draining)
        with pytest.raises(Draining):
            await collect(stream)
        rag.generator.gate.open()
        assert await batcher.drain(SECONDS)

    asyncio.run(main())
    assert [outcome.kind for outcome in outcomes] == ["cancelled"] * 3
    assert "a" not in rag.generator.questions


def test_an_observer_that_fails_costs_nobody_an_answer(rag, caplog):
    def fail(outcome):
        raise RuntimeError("no disk")

    async def main():
        async with batching(rag, observe=fail) as batcher:
            return await batcher.answer([Request("who rules chad")])

    assert asyncio.run(main()) == rag.answer("who rules chad")
    assert "an observer of outcomes failed" in caplog.text


def test_a_batch_that_cannot_be_observed_is_no_batch_without_an_end(rag, caplog):
    def fail(size):
        raise RuntimeError("no disk")

    async def main():
        async with batching(rag, observe_batch=fail) as batcher:
            return await batcher.answer([Request("a"), Request("b")])

    assert [type(result) for result in asyncio.run(main())] == [ComponentError] * 2


CALLERS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "broken", ""]), min_size=1, max_size=3),
        st.sampled_from([None, 1, 2]),
        st.sampled_from(["stay", "leave", "late", "stream", "close"]),
        st.integers(0, 3),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def shared_rag(tmp_path_factory):
    with make_rag(tmp_path_factory.mktemp("shared")) as rag:
        yield rag


@given(callers=CALLERS)
def test_every_question_has_exactly_one_outcome_whatever_callers_do(shared_rag, callers):
    rag, outcomes, ends = shared_rag, [], []

    async def read(batcher, question, k, deed):
        try:
            stream = batcher.stream(Request(question, {"k": k}))
            if deed == "close":
                await stream.aclose()
                ends.append("cancelled")
            else:
                ends.append((await collect(stream))[-1])
        except RagcoreError as error:
            ends.append(error)

    async def call(batcher, questions, k, deed):
        requests = [Request(question, {"k": k}) for question in questions]
        try:
            deadline = monotonic() if deed == "late" else None
            ends.extend(await batcher.answer(requests, deadline=deadline))
        except QueueFull as error:
            ends.extend([error] * len(questions))
        except asyncio.CancelledError:
            ends.extend(["cancelled"] * len(questions))

    async def begin(batcher, questions, k, deed, steps):
        for _ in range(steps):
            await asyncio.sleep(0)
        if deed in ("stream", "close"):
            await read(batcher, questions[0], k, deed)
        else:
            await call(batcher, questions, k, deed)

    async def main():
        async with batching(rag, queue=6, streams=2, observe=outcomes.append) as batcher:
            tasks = [asyncio.create_task(begin(batcher, *caller)) for caller in callers]
            for _ in range(2):
                await asyncio.sleep(0)
            for task, (_, _, deed, _) in zip(tasks, callers, strict=True):
                if deed == "leave":
                    task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                # One that was cancelled before it asked has asked nothing.
                assert result is None or isinstance(result, asyncio.CancelledError)

    asyncio.run(main())
    assert len(outcomes) == len(ends)
    refused = [outcome for outcome in outcomes if outcome.kind == "refused"]
    assert len(refused) == sum(isinstance(end, QueueFull) for end in ends)
    # What a caller has is what was observed; of one that left, whatever it was.
    seen = {id(outcome.result) for outcome in outcomes}
    assert all(end == "cancelled" or id(end) in seen for end in ends)
