"""`SimpleRetriever`: one method in, the whole contract out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore import ComponentConfig, ComponentSpec, SimpleRetriever
from ragcore.contracts import Retriever
from ragcore.errors import ComponentError, StoreCorruptError
from ragcore.store.store import Store
from ragcore.types import MISSING_ROW, Passage


class Given(SimpleRetriever):
    """Scores are what the passages' metadata say, whatever the question."""

    class Config(ComponentConfig):
        factor: float = 1.0

    def scores(self, question):
        return [self.config.factor * passage.metadata["score"] for passage in self.passages]


def holding(scores: list[float], rows: list[int] | None = None) -> Given:
    retriever = Given(Given.Config())
    passages = [Passage(str(i), "t", "x\u2028ü", {"score": s}) for i, s in enumerate(scores)]
    retriever.add(np.array(range(len(scores)) if rows is None else rows, np.int64), passages)
    return retriever


def test_it_keeps_the_contract():
    assert isinstance(holding([1.0]), Retriever)


@given(
    scores=st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0]), max_size=8),
    k=st.integers(1, 10),
    data=st.data(),
)
def test_hits_are_those_of_sorting_by_falling_score_then_row(scores, k, data):
    rows = data.draw(st.permutations(range(len(scores))))
    allowed = data.draw(st.none() | st.lists(st.integers(0, 8)))
    given_ = None if allowed is None else np.array(allowed, np.int64)
    hits = holding(scores, rows).search(["a", "b"], k, allowed=given_)
    pairs = [
        (-score, row)
        for score, row in zip(scores, rows, strict=True)
        if score > -math.inf and (allowed is None or row in allowed)
    ]
    best = sorted(pairs)[:k]
    padding = k - len(best)
    for found, found_scores in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True):
        assert found == [row for _, row in best] + [MISSING_ROW] * padding
        assert found_scores == [-score for score, _ in best] + [-math.inf] * padding


def test_saved_and_loaded_it_finds_the_same(tmp_path: Path):
    saved = holding([1.0, 3.0, 2.0], rows=[5, 1, 9])
    saved.save(tmp_path)
    loaded = Given.load(tmp_path, Given.Config(factor=2.0))
    assert loaded.passages == saved.passages
    assert loaded.search(["x"], 3).rows.tolist() == saved.search(["x"], 3).rows.tolist()
    assert loaded.search(["x"], 1).scores.tolist() == [[6.0]]


def test_what_is_removed_is_found_no_more():
    retriever = holding([1.0, 3.0, 2.0])
    retriever.remove(np.array([1]))
    assert retriever.search(["x"], 3).rows.tolist() == [[2, 0, MISSING_ROW]]
    with pytest.raises(ComponentError, match="row 1 is not there"):
        retriever.remove(np.array([1]))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0], r"shape \(1,\): expected one score for each of its 2 passages"),
        ([math.nan, 1.0], "nan for passage '0'"),
        ([1.0, math.inf], "inf for passage '1'"),
    ],
)
def test_scores_that_are_none_are_refused(scores, message, monkeypatch):
    monkeypatch.setattr(Given, "scores", lambda self, question: scores)
    with pytest.raises(ComponentError, match=message):
        holding([0.0, 0.0]).search(["x"], 1)


@pytest.mark.parametrize(
    ("rows", "message"), [([0], "row 0 is already there"), ([-1], "negative"), ([], "0 rows")]
)
def test_rows_that_cannot_be_are_refused(rows, message):
    retriever = holding([1.0])
    with pytest.raises(ComponentError, match=message):
        retriever.add(np.array(rows, np.int64), [Passage("9", "", "text")])
    assert len(retriever) == 1


def test_no_hits_cannot_be_asked_for():
    with pytest.raises(ComponentError, match="asked for 0 hits"):
        holding([1.0]).search(["x"], 0)


@pytest.mark.parametrize("content", [None, "[1]\n", '[1, {"id": "a"}]\n', "no json\n"])
def test_a_broken_file_is_named(tmp_path: Path, content):
    if content is not None:
        (tmp_path / "passages.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(StoreCorruptError, match=r"passages\.jsonl cannot be read"):
        Given.load(tmp_path, Given.Config())


def test_a_subclass_without_scores_says_what_it_lacks():
    class Bare(SimpleRetriever):
        pass

    with pytest.raises(NotImplementedError, match="Bare must have a method scores"):
        Bare(Bare.Config()).search(["x"], 1)


def test_a_memory_can_be_built_of_it(tmp_path: Path):
    part = ComponentSpec("retriever", "given", Given, Given.Config())
    corpus = [Passage(str(i), "t", "text", {"score": float(i)}) for i in range(3)]
    store = Store(tmp_path)
    store.build("one", corpus, part)
    memory = store.open("one", retriever=part, verify=True)
    assert memory.search(["which"], 5).rows.tolist() == [[2, 1, 0]]
    memory.close()
