"""Pipelines of the tests: real memories, and a real generator that waits where a test says so."""

from __future__ import annotations

import threading
from pathlib import Path

from ragcore import Rag
from ragcore.config import RagConfig
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

TEXTS = ["chad is ruled", "mali is ruled", "the river is long", "who knows", "where it is"]
SECONDS = 30.0
"""No test waits so long, unless it fails."""


class Gate:
    """Lets a thread wait, and a test know that it does."""

    def __init__(self) -> None:
        self.reached = threading.Semaphore(0)
        self._condition = threading.Condition()
        self._open = True
        self._passes = 0

    def close(self) -> None:
        # Who passed it before has not reached it now.
        self.reached = threading.Semaphore(0)
        self._open = False

    def open(self) -> None:
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def let_one_pass(self) -> None:
        with self._condition:
            self._passes += 1
            self._condition.notify_all()

    def wait(self) -> None:
        self.reached.release()
        with self._condition:
            assert self._condition.wait_for(lambda: self._open or self._passes, SECONDS)
            if not self._open:
                self._passes -= 1


class GatedGenerator(TableGenerator):
    """Notes what it reads together, waits at a gate before it reads, and fails at "broken"."""

    def __init__(self, config: TableGenerator.Config) -> None:
        super().__init__(config)
        self.gate = Gate()
        self.batches: list[list[str]] = []
        self.steps = 0

    def step(self, state, tokens):
        self.steps += 1
        return super().step(state, tokens)

    def read(self, questions, passages):
        self.batches.append(list(questions))
        self.gate.wait()
        if any("broken" in question for question in questions):
            raise RuntimeError("the generator is broken")
        return super().read(questions, passages)

    @property
    def questions(self) -> list[str]:
        return [question for batch in self.batches for question in batch]


def make_rag(folder: Path, versions=("v1", "v2"), part=None, passages=None, **rag) -> Rag:
    part = part or dense_part()
    store = Store(folder / "store", passages=passages)
    for version in versions:
        corpus = [Passage(f"{version}:{n}", "t", text, {"n": n}) for n, text in enumerate(TEXTS)]
        store.build(version, corpus, part)
    return Rag(
        store.open(versions[0], retriever=part),
        GatedGenerator(TableGenerator.Config(sharpness=1.5)),
        RagConfig(**{"k": 3, "max_new_tokens": 3, "batch_size": 4, "beams": 1, **rag}),
        store=store,
        retriever=part,
    )
