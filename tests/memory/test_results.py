"""A search result is the hits of a memory with their passages, scores and prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragcore.errors import QuestionError, StoreError
from ragcore.filters.expressions import read_where
from ragcore.marginalization import log_prior
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.types import MISSING_ROW, Hits, Passage, SearchResult
from tests.conftest import Installed
from tests.helpers.word_encoder import dense_part

PASSAGES = [
    Passage(f"p{n}", f"Title {n}", f"word{n} word", {"n": n, "url": f"https://x.org/{n}"})
    for n in range(6)
]
QUESTIONS = ["word1 word", "word4", "title 2"]


class Scored:
    """Finds every passage, with scores of its own; the last of `missing` questions has no hit."""

    capabilities = frozenset({"exact"})

    def __init__(self, scores: list[float], missing: int = 0) -> None:
        self.scores = np.array(scores, np.float32)
        self.missing = missing

    def __len__(self) -> int:
        return len(self.scores)

    def search(self, questions: Any, k: int, *, allowed: object = None) -> Hits:
        hits = Hits.empty(len(questions), k)
        for row in range(len(questions) - self.missing):
            hits.rows[row] = np.arange(k)
            hits.scores[row] = self.scores[:k]
        return hits


def memory_of(folder: Path, retriever: Any = None, **options: Any) -> Memory:
    with PassageWriter(folder / "p.arrow") as writer:
        writer.write(PASSAGES)
    if retriever is None:
        retriever = dense_part().build()
        retriever.add(np.arange(len(PASSAGES)), PASSAGES)
    return Memory("v", Passages(folder / "p.arrow"), retriever, **options)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return memory_of(tmp_path)


def test_results_are_the_hits_with_their_passages(memory: Memory) -> None:
    results, hits = memory.search(QUESTIONS, 4), memory.hits(QUESTIONS, 4)
    assert [result.question for result in results] == QUESTIONS
    for result, rows, scores in zip(results, hits.rows, hits.scores, strict=True):
        assert list(result.passages) == [PASSAGES[row] for row in rows]
        assert list(result.scores) == scores.tolist()
        assert (result.memory, result.missing, result.filter_notes) == ("v", 0, ())


def test_one_question_is_a_batch_of_one(memory: Memory) -> None:
    assert memory.search("word4", 3) == memory.search(("word4",), 3)
    assert memory.search([], 3) == []
    assert memory.search("word4", 3)[0].passages[0].id == "p4"


@pytest.mark.parametrize("temperature", [0.01, 1.0, 7.5])
def test_the_prior_is_the_softmax_of_the_scores(tmp_path: Path, temperature: float) -> None:
    scores = [3.5, 3.25, 1.0, 1.0, -2.0, -40.0]
    memory = memory_of(tmp_path, Scored(scores), temperature=temperature)
    (result,) = memory.search("x", 6)
    # exp(3.5 / 0.01) is beyond float32, and within float64.
    weights = np.exp(np.array(scores) / temperature)
    assert result.prior == pytest.approx((weights / weights.sum()).tolist(), rel=1e-12)
    in_answers = log_prior(torch.tensor(scores), temperature).exp().tolist()
    assert result.prior == pytest.approx(in_answers, rel=1e-5, abs=1e-30)
    assert sum(result.prior) == pytest.approx(1, abs=1e-15)


def test_huge_scores_have_a_prior(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, Scored([3e38, 3e38, -3e38, -3e38, -3e38, -3e38]))
    assert memory.search("x", 6)[0].prior == (0.5, 0.5, 0, 0, 0, 0)


def test_a_question_without_hits_has_an_empty_result(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, Scored([1.0] * 6, missing=1))
    full, empty = memory.search(["a", "b"], 4)
    assert len(full.passages) == 4
    assert full.missing == 0
    assert (empty.passages, empty.scores, empty.prior, empty.missing) == ((), (), (), 4)
    assert empty.sources == ()
    assert empty.to_dict()["passages"] == []


def test_k_above_the_passages_finds_all_of_them(memory: Memory) -> None:
    (result,) = memory.search("word", 100)
    assert sorted(passage.id for passage in result.passages) == [f"p{n}" for n in range(6)]
    assert result.missing == 0


def test_a_filter_is_a_mapping_or_a_filter(memory: Memory) -> None:
    condition = {"n": {"gte": 3}}
    (result,) = memory.search("word", 6, where=condition)
    assert sorted(passage.metadata["n"] for passage in result.passages) == [3, 4, 5]
    assert memory.search("word", 6, where=read_where(condition)) == [result]
    (noted,) = memory.search("word", 6, where={"m": 3})
    assert noted.filter_notes
    assert noted.filter_notes == memory.filter_notes(read_where({"m": 3}))


def test_a_result_as_plain_values(memory: Memory) -> None:
    (result,) = memory.search("word4", 2)
    row = json.loads(json.dumps(result.to_dict()))
    passages = row.pop("passages")
    assert row == {"question": "word4", "memory": "v", "missing": 0, "filter_notes": []}
    assert [passage["rank"] for passage in passages] == [1, 2]
    assert passages[0] == {
        "rank": 1,
        "score": result.scores[0],
        "prior": result.prior[0],
        "id": "p4",
        "title": "Title 4",
        "text": "word4 word",
        "metadata": {"n": 4, "url": "https://x.org/4"},
        "source": {"title": "Title 4", "uri": "https://x.org/4"},
    }
    assert result.sources[0].link == "https://x.org/4"


@pytest.mark.parametrize("k", [0, -1, 2.5, "5", True, None])
def test_k_is_a_whole_number_from_one_on(memory: Memory, k: Any) -> None:
    with pytest.raises(QuestionError, match=r"^k is .*: expected how many passages to find"):
        memory.search("x", k)


def test_k_may_be_a_number_of_numpy(memory: Memory) -> None:
    k: Any = np.int64(2)
    assert memory.search("word4", k) == memory.search("word4", 2)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (b"word", "the question is bytes"),
        (None, "the question is None"),
        (["word", ""], "question 2 of 2 is empty"),
        (["word", 3], "question 2 of 2 is int"),
    ],
)
def test_questions_are_texts(memory: Memory, questions: Any, message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        memory.search(questions, 2)


@pytest.mark.parametrize("where", [{"n": {"above": 3}}, "n > 3", [("n", 3)]])
def test_what_is_no_filter_is_refused(memory: Memory, where: Any) -> None:
    with pytest.raises(QuestionError, match="where"):
        memory.search("word", 2, where=where)


def test_a_closed_memory_is_not_searched(memory: Memory) -> None:
    memory.close()
    with pytest.raises(StoreError, match="'v' is closed"):
        memory.search("word", 1)


EVENTS = """
from ragcore import hookimpl

seen = []

@hookimpl
def ragcore_retrieved(questions, hits, memory):
    seen.append((list(questions), hits.rows.tolist(), memory))
"""


def test_a_search_is_observed_and_rows_are_not(memory: Memory, installed: Installed) -> None:
    installed.add("events", EVENTS)
    hits = memory.hits(QUESTIONS, 2)
    memory.search(QUESTIONS, 2)
    import events_plugin  # type: ignore[import-not-found]

    assert events_plugin.seen == [(QUESTIONS, hits.rows.tolist(), "v")]
    assert MISSING_ROW not in hits.rows


def test_results_are_public() -> None:
    import ragcore

    assert ragcore.SearchResult is SearchResult
