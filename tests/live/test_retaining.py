"""A generator that keeps what it computed of passages learns when a memory no longer has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ragcore.config import RagConfig
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

CHAD = Passage("1", "Chad", "chad is ruled")
MALI = Passage("2", "Mali", "mali is ruled")
QUESTION = "who rules chad"


class Keeping(TableGenerator):
    """Keeps every passage that it read."""

    capabilities = frozenset({"reuse", "words"})

    def __init__(self, config: TableGenerator.Config) -> None:
        super().__init__(config)
        self.passages: dict[str, Passage] = {}
        self.calls = 0

    def read(self, questions, passages):
        self.passages |= {passage.id: passage for passage in passages if passage is not None}
        return super().read(questions, passages)

    def retain_passages(self, passages: Callable[[Sequence[str]], Mapping[str, Passage]]) -> None:
        self.calls += 1
        present = passages(list(self.passages))
        self.passages = {
            name: passage
            for name, passage in self.passages.items()
            if name in present and present[name].text == passage.text
        }


@pytest.fixture
def rag(tmp_path: Path) -> Rag:
    """Three versions: one with both passages; two without Chad; three with another text of Mali."""
    store = Store(tmp_path / "store")
    for version, passages in {
        "three": [Passage("2", "Mali", "mali is ruled again")],
        "two": [MALI],
        "one": [CHAD, MALI],
    }.items():
        store.build(version, passages, dense_part())
    return Rag(
        store.open("one", retriever=dense_part()),
        Keeping(Keeping.Config()),
        RagConfig(k=2, max_new_tokens=3),
        store=store,
        retriever=dense_part(),
    )


def read_by(rag: Rag) -> list[str]:
    generator = rag.generator
    assert isinstance(generator, Keeping)
    return sorted(generator.passages)


def test_a_swap_drops_what_the_new_version_does_not_have(rag: Rag) -> None:
    rag.answer(QUESTION)
    assert read_by(rag) == ["1", "2"]
    rag.swap("two")
    assert read_by(rag) == ["2"]
    rag.swap("three")
    assert read_by(rag) == []


def test_forgotten_passages_are_dropped_by_the_swap_that_follows(rag: Rag, tmp_path: Path) -> None:
    rag.answer(QUESTION)
    Store(tmp_path / "store").forget(["2"], version="four", retriever=dense_part())
    rag.swap("four")
    assert read_by(rag) == ["1"]


def test_what_a_running_request_reads_of_the_old_version_is_dropped_when_it_ends(
    rag: Rag,
) -> None:
    with rag.memory.reading() as memory:
        rag.swap("two")
        rag.generator.read([QUESTION] * 2, memory.passages.take([0, 1]))
        assert read_by(rag) == ["1", "2"]
    assert read_by(rag) == ["2"]


def test_a_pinned_version_leaves_nothing_that_is_not_served(rag: Rag) -> None:
    rag.swap("two")
    with rag.pinned("one"):
        rag.answer(QUESTION)
        assert read_by(rag) == ["1", "2"]
    assert read_by(rag) == ["2"]


def test_closing_calls_no_generator(rag: Rag) -> None:
    with rag.memory.reading():
        rag.close()
    generator = rag.generator
    assert isinstance(generator, Keeping)
    assert generator.calls == 0
