"""The events of a streamed answer: passages, tokens, corrections, and the whole answer."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from pathlib import Path
from typing import ClassVar

import pytest

from ragcore.config import RagConfig
from ragcore.errors import RequestCancelledError
from ragcore.process.cancellation import Cancellation
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Answer, Correction, Passage, SearchResult, Token
from tests.helpers.table_generator import TableGenerator, TableRead
from tests.helpers.word_encoder import dense_part

QUESTION = "who rules chad"
JOINT = [{"marginalize": "token"}, {"marginalize": "sequence", "decode": "joint"}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    texts = ["abc", "cab", "bca", "ba"]
    numbered = [Passage(str(n), f"t{n}", text, {"n": n}) for n, text in enumerate(texts)]
    store.build("old", numbered, dense_part())
    return store


class Uncased(TableGenerator):
    """Writes small letters where the passages have capitals."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"uncased", "words"})


def make(store: Store, kind=TableGenerator, seed: int = 0, **rag) -> Rag:
    return Rag(
        store.open("old", retriever=dense_part()),
        kind(TableGenerator.Config(seed=seed, sharpness=1.5)),
        RagConfig(**{"k": 3, "max_new_tokens": 4, **rag}),
        store=store,
        retriever=dense_part(),
    )


def text_of(events) -> str:
    """Read a stream as a client does."""
    text = ""
    for event in events:
        match event:
            case Token():
                text += event.text
            case Correction():
                text = event.text
    return text


@pytest.mark.parametrize("mode", JOINT, ids=["token", "joint"])
@pytest.mark.parametrize(
    "more",
    [{}, {"beams": 1}, {"grounded": True}, {"k": 0}, {"abstain": {"answer": "a", "above": 0.01}}],
    ids=["plain", "greedy", "grounded", "closed-book", "abstains"],
)
def test_events_are_passages_then_tokens_then_the_answer_that_answer_gives(store, mode, more):
    rag = make(store, **mode, **more)
    found, *tokens, answer = rag.events(QUESTION)
    assert isinstance(found, SearchResult)
    assert all(isinstance(token, Token) for token in tokens)
    (expected,) = rag.answer(QUESTION)
    assert answer == expected
    assert answer.candidates == expected.candidates
    assert answer.abstention == expected.abstention
    assert found.memory == answer.memory
    assert list(found.passages) == [each.passage for each in answer.evidence]
    assert "".join(token.text for token in tokens) == answer.text
    assert tuple(token.log_prob for token in tokens) == answer.candidates[0].token_log_probs


def test_the_passages_come_before_anything_is_read(store):
    rag = make(store)
    events = rag.events(QUESTION)
    assert next(events).prior == pytest.approx(
        [each.prior for each in rag.answer(QUESTION)[0].evidence]
    )
    passes = rag.generator.passes
    next(events)
    assert rag.generator.passes == passes + 1


def test_a_spelling_that_was_sent_otherwise_is_corrected(tmp_path):
    every = " ".join(a + b + c for a in "abc" for b in ["", *"abc"] for c in ["", *"abc"])
    store = Store(tmp_path / "store")
    store.build("old", [Passage("p", "t", every.upper())], dense_part())
    corrected = 0
    for seed in range(8):
        rag = make(store, Uncased, seed, k=1)
        events = list(rag.events(QUESTION))
        answer = events[-1]
        assert text_of(events) == answer.text == rag.answer(QUESTION)[0].text
        kinds = [type(event) for event in events]
        assert kinds.count(Correction) <= 1
        if Correction in kinds:
            corrected += 1
            assert kinds.index(Correction) == len(kinds) - 2
            sent = "".join(event.text for event in events if isinstance(event, Token))
            assert sent.upper() == answer.text
            assert sent == "".join(token.text for token in rag.stream(QUESTION))
    assert corrected


def test_streams_decode_jointly_whatever_the_settings_say(store):
    rag = make(store, marginalize="sequence", decode="fast")
    *_, answer = rag.events(QUESTION)
    assert answer == rag.answer(QUESTION, decode="joint")[0]


def test_async_events_are_the_same(store):
    rag = make(store)

    async def collected():
        return [event async for event in rag.aevents(QUESTION, k=2)]

    assert asyncio.run(collected()) == list(rag.events(QUESTION, k=2))


def test_the_hook_and_the_caller_see_one_answer(store, monkeypatch):
    seen = []

    class Observer:
        from ragcore.hookspecs import hookimpl

        @hookimpl
        def ragcore_answered(self, answer):
            seen.append(answer)

    from ragcore.registry.discovery import registry

    manager = registry()._manager
    observer = Observer()
    manager.register(observer)
    try:
        *_, answer = make(store).events(QUESTION)
    finally:
        manager.unregister(observer)
    assert seen == [answer]
    assert isinstance(answer, Answer)


class Gated(TableGenerator):
    """Stands still in every step, until it is opened; counts its steps."""

    def __init__(self, config: TableGenerator.Config) -> None:
        super().__init__(config)
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.steps = 0

    def step(self, state, tokens):
        self.steps += 1
        self.begun.release()
        assert self.open.wait(20)
        return super().step(state, tokens)


@pytest.mark.parametrize("call", ["aanswer", "astream", "aevents"])
def test_a_cancelled_task_ends_its_decoding_before_the_next_step(store, call):
    rag = make(store, Gated, max_new_tokens=4, min_new_tokens=3)

    async def consume() -> None:
        if call == "aanswer":
            await rag.aanswer(QUESTION)
        async for _ in getattr(rag, call)(QUESTION):
            pass

    async def main() -> None:
        task = asyncio.create_task(consume())
        assert await asyncio.to_thread(rag.generator.begun.acquire, timeout=20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        rag.generator.open.set()
        # The pool has been left by the cancelled call before its threads end.
        executor = rag._workers._executor
        await asyncio.to_thread(executor.shutdown)

    asyncio.run(main())
    assert rag.generator.steps == 1


def test_a_cancelled_stream_frees_what_its_search_held(store):
    class Read(TableRead):
        """Like any read, and can be referred to weakly."""

    class Remembering(TableGenerator):
        def read(self, questions, passages):
            made = Read(super().read(questions, passages).keys)
            self.latest = weakref.ref(made)
            return made

    rag, cancellation = make(store, Remembering, beams=1, min_new_tokens=3), Cancellation()
    gc.disable()
    try:
        events = rag.events(QUESTION, cancellation=cancellation)
        assert isinstance(next(events), SearchResult)
        assert isinstance(next(events), Token)
        assert rag.generator.latest() is not None
        cancellation.cancel()
        with pytest.raises(RequestCancelledError) as raised:
            list(events)
        assert raised.value is not None
        assert rag.generator.latest() is None
    finally:
        gc.enable()
