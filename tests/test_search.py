"""`Rag.search` finds what an answer is read from, in one version, by the pipeline's settings."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragcore.config import RagConfig
from ragcore.errors import ConfigError, MetricError, QuestionError, StoreError
from ragcore.evaluation.calibration import calibrate
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.running import evaluate
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion
from ragcore.rag import Rag
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTIONS = ["who rules chad", "who rules mali", "where is the river"]
TEXTS = ["chad is ruled", "mali is ruled", "the river is long", "who knows", "where it is"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for version in ("old", "new"):
        passages = [
            Passage(f"{version}:{n}", f"t{n}", f"{text} {version}", {"n": n})
            for n, text in enumerate(TEXTS)
        ]
        store.build(version, passages, dense_part(), corpus_config=None)
    return store


def make(store: Store, *, temperature: float = 0.25, **rag: Any) -> Rag:
    return Rag(
        store.open("old", retriever=dense_part(), temperature=temperature),
        TableGenerator(TableGenerator.Config(sharpness=1.5)),
        RagConfig(**{"k": 3, "max_new_tokens": 4, **rag}),
        store=store,
        retriever=dense_part(),
    )


@pytest.mark.parametrize("where", [None, {"n": {"ne": 0}}])
def test_a_search_finds_what_answers_are_read_from(store: Store, where: Any) -> None:
    with make(store, where={"n": {"lt": 4}}) as rag:
        results = rag.search(QUESTIONS, where=where)
        answers = rag.answer(QUESTIONS, where=where)
    for result, answer in zip(results, answers, strict=True):
        assert result.question == answer.question
        assert result.memory == answer.memory == "old"
        assert list(result.passages) == [each.passage for each in answer.evidence]
        assert list(result.scores) == [each.score for each in answer.evidence]
        assert result.prior == pytest.approx([each.prior for each in answer.evidence], rel=1e-5)
        assert result.missing == answer.missing_passages
        assert result.sources == tuple(each.source for each in answer.evidence)
    assert any(result.prior[0] > 0.4 for result in results), "the temperature counts"


def test_the_number_of_passages_is_the_callers_or_the_pipelines(store: Store) -> None:
    with make(store) as rag:
        assert [len(result.passages) for result in rag.search(QUESTIONS)] == [3, 3, 3]
        (deep,) = rag.search(QUESTIONS[0], 5)
        (shallow,) = rag.search(QUESTIONS[0], k=2)
    assert len(deep.passages) == 5
    assert shallow.passages == deep.passages[:2]
    # Over fewer passages the prior is another one.
    assert sum(shallow.prior) == pytest.approx(1)


def test_both_filters_hold(store: Store) -> None:
    with make(store, where={"n": {"gte": 1}}) as rag:
        (result,) = rag.search("river", 5, where={"n": {"lt": 3}})
    assert sorted(passage.metadata["n"] for passage in result.passages) == [1, 2]


def test_a_closed_book_is_searched_where_the_caller_says_how_deep(store: Store) -> None:
    with make(store, k=0) as rag:
        with pytest.raises(QuestionError, match=r"^rag\.k is 0, .*: say how many"):
            rag.search("river")
        assert len(rag.search("river", 2)[0].passages) == 2
        with pytest.raises(QuestionError, match="k is 0: expected"):
            rag.search("river", 0)


def test_a_search_in_an_event_loop(store: Store) -> None:
    async def run(rag: Rag) -> Any:
        return await asyncio.gather(*(rag.asearch(q, 2, where={"n": 1}) for q in QUESTIONS))

    with make(store) as rag:
        expected = [rag.search(q, 2, where={"n": 1}) for q in QUESTIONS]
        assert asyncio.run(run(rag)) == expected
    with pytest.raises(StoreError, match="closed"):
        asyncio.run(run(rag))


def test_a_closed_pipeline_is_not_searched(store: Store) -> None:
    rag = make(store)
    rag.close()
    with pytest.raises(StoreError, match="closed"):
        rag.search("river")


def test_a_search_reads_one_version(store: Store) -> None:
    """While versions are swapped, each result is whole: of the version that it names."""
    expected = {}
    with make(store) as rag:
        for version in ("old", "new"):
            with rag.pinned(version):
                expected[version] = rag.search(QUESTIONS, 4)
        faults: list[Any] = []
        seen: set[str] = set()
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                try:
                    results = rag.search(QUESTIONS, 4)
                except Exception as error:
                    faults.append(error)
                    return
                versions = {result.memory for result in results}
                if results not in expected.values():
                    faults.append((versions, results))
                    return
                seen.update(versions)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                rag.swap(("new", "old")[number % 2])
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert not faults
    assert seen
    assert expected["old"] != expected["new"]


@pytest.fixture
def searching(store: Store) -> Iterator[Rag]:
    """A pipeline without a generator."""
    memory = store.open("old", retriever=dense_part())
    with Rag(memory, None, RagConfig(k=3), store=store, retriever=dense_part()) as rag:
        yield rag


def test_a_pipeline_without_a_generator_searches_and_swaps(store: Store, searching: Rag) -> None:
    with make(store, temperature=1.0) as answering:
        assert answering.can_answer
        expected = answering.search(QUESTIONS)
    assert not searching.can_answer
    assert searching.search(QUESTIONS) == expected
    searching.swap("new")
    assert {result.memory for result in searching.search(QUESTIONS)} == {"new"}


def test_a_pipeline_without_a_generator_says_so_before_it_searches(
    searching: Rag, monkeypatch: pytest.MonkeyPatch
) -> None:
    def searched(*_: Any, **__: Any) -> None:
        raise AssertionError("the memory was searched")

    monkeypatch.setattr(Memory, "search", searched)
    for ask in (
        lambda: searching.answer(QUESTIONS),
        lambda: list(searching.stream(QUESTIONS[0])),
        lambda: searching.log_prob(QUESTIONS[:1], ["chad"]),
        lambda: asyncio.run(searching.aanswer(QUESTIONS)),
        lambda: calibrate(searching, QUESTIONS[:1], ["chad"]),
    ):
        with pytest.raises(ConfigError, match="this pipeline has no generator"):
            ask()
    errors = searching.answer_each(QUESTIONS)
    assert [type(error) for error in errors] == [ConfigError] * 3


def test_of_a_pipeline_without_a_generator_retrieval_is_measured(searching: Rag) -> None:
    asked = [LabelledQuestion("who rules chad", passage_ids=("old:0",))]
    report = evaluate(searching, asked, make_metrics(["mrr@2"]))
    assert report.figures[0].value == 1.0
    assert evaluate(searching, asked).figures, "the metrics of passages are the default"
    with pytest.raises(MetricError, match="answers"):
        evaluate(searching, asked, make_metrics(["exact_match"]))
    with searching.memory.reading() as memory:
        alone = evaluate(memory, asked, make_metrics(["mrr@2"]))
    assert report == alone
