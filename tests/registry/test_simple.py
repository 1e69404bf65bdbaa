"""`SimpleRetriever`: one method, `scores`, makes a class that keeps the whole contract."""

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


class ByMetadata(SimpleRetriever):
    """Scores each passage by its metadata, regardless of the question."""

    class Config(ComponentConfig):
        factor: float = 1.0

    def scores(self, question):
        return [self.config.factor * passage.metadata["score"] for passage in self.passages]


def holding(scores: list[float], rows: list[int] | None = None) -> ByMetadata:
    retriever = ByMetadata(ByMetadata.Config())
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
def test_hits_are_sorted_by_falling_score_then_row(scores, k, data):
    rows = data.draw(st.permutations(range(len(scores))))
    allowed = data.draw(st.none() | st.lists(st.integers(0, 8)))
    allowed_rows = None if allowed is None else np.array(allowed, np.int64)
    hits = holding(scores, rows).search(["a", "b"], k, allowed=allowed_rows)
    pairs = [
        (-score, row)
        for score, row in zip(scores, rows, strict=True)
        if score > -math.inf and (allowed is None or row in allowed)
    ]
    best = sorted(pairs)[:k]
    padding = k - len(best)
    for hit_rows, hit_scores in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True):
        assert hit_rows == [row for _, row in best] + [MISSING_ROW] * padding
        assert hit_scores == [-score for score, _ in best] + [-math.inf] * padding


def test_saved_and_loaded_it_finds_the_same(tmp_path: Path):
    saved = holding([1.0, 3.0, 2.0], rows=[5, 1, 9])
    saved.save(tmp_path)
    loaded = ByMetadata.load(tmp_path, ByMetadata.Config(factor=2.0))
    assert loaded.passages == saved.passages
    assert loaded.search(["x"], 3).rows.tolist() == saved.search(["x"], 3).rows.tolist()
    assert loaded.search(["x"], 1).scores.tolist() == [[6.0]]


def test_removed_passages_are_no_longer_found():
    retriever = holding([1.0, 3.0, 2.0])
    retriever.remove(np.array([1]))
    assert retriever.search(["x"], 3).rows.tolist() == [[2, 0, MISSING_ROW]]
    with pytest.raises(ComponentError, match="row 1 is not there"):
        retriever.remove(np.array([1]))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0], r"shape \(1,\): expected one score for each of its 2 passages"),
        (["high", "low"], r"a list that is no array of numbers \(.*'high'"),
        ({"0": 1.0}, "a dict that is no array of numbers"),
        ([math.nan, 1.0], "nan for passage '0'"),
        ([1.0, math.inf], "inf for passage '1'"),
    ],
)
def test_invalid_scores_are_refused(scores, message, monkeypatch):
    monkeypatch.setattr(ByMetadata, "scores", lambda self, question: scores)
    with pytest.raises(ComponentError, match=message):
        holding([0.0, 0.0]).search(["x"], 1)


@pytest.mark.parametrize(
    ("rows", "message"), [([0], "row 0 is already there"), ([-1], "negative"), ([], "0 rows")]
)
def test_invalid_rows_are_refused(rows, message):
    retriever = holding([1.0])
    with pytest.raises(ComponentError, match=message):
        retriever.add(np.array(rows, np.int64), [Passage("9", "", "text")])
    assert len(retriever) == 1


def test_k_below_one_is_refused():
    with pytest.raises(ComponentError, match="asked for 0 hits"):
        holding([1.0]).search(["x"], 0)


@pytest.mark.parametrize("content", [None, "[1]\n", '[1, {"id": "a"}]\n', "no json\n"])
def test_a_broken_file_is_named(tmp_path: Path, content):
    if content is not None:
        (tmp_path / "passages.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(StoreCorruptError, match=r"passages\.jsonl cannot be read"):
        ByMetadata.load(tmp_path, ByMetadata.Config())


class Forgetful(ByMetadata):
    def __init__(self, config):
        self.words = {}


class Hasty(ByMetadata):
    def __init__(self, config):
        self.words = list(self.passages)
        super().__init__(config)


@pytest.mark.parametrize(
    "use",
    [
        lambda retriever, folder: len(retriever),
        lambda retriever, folder: retriever.add(np.array([0]), [Passage("1", "t", "text")]),
        lambda retriever, folder: retriever.search(["x"], 1),
        lambda retriever, folder: retriever.remove(np.array([0])),
        lambda retriever, folder: retriever.save(folder),
        lambda retriever, folder: retriever.config,
        lambda retriever, folder: retriever.prepared,
    ],
)
def test_a_constructor_that_calls_no_other_is_told_to_call_it(use, tmp_path: Path):
    retriever = ComponentSpec("retriever", "f", Forgetful, Forgetful.Config()).build()
    with pytest.raises(
        ComponentError, match=r"'Forgetful' has no .*: call super\(\).__init__\(con"
    ):
        use(retriever, tmp_path)


def test_a_saved_memory_is_not_loaded_without_the_constructor(tmp_path: Path):
    holding([1.0]).save(tmp_path)
    with pytest.raises(ComponentError, match=r"'Forgetful' has no 'rows' yet: call super\(\)"):
        Forgetful.load(tmp_path, Forgetful.Config())


def test_what_the_constructor_sets_is_not_there_before_it():
    with pytest.raises(ComponentError, match="'Hasty' has no 'passages' yet: call super"):
        Hasty(Hasty.Config())


def test_a_subclass_without_scores_is_told_to_write_it():
    class Bare(SimpleRetriever):
        pass

    retriever = Bare(Bare.Config())
    retriever.add(np.array([0]), [Passage("1", "t", "text")])
    with pytest.raises(NotImplementedError, match="Bare must have a method scores"):
        retriever.search(["x"], 1)


def test_a_memory_can_be_built_with_it(tmp_path: Path):
    spec = ComponentSpec("retriever", "by-metadata", ByMetadata, ByMetadata.Config())
    corpus = [Passage(str(i), "t", "text", {"score": float(i)}) for i in range(3)]
    store = Store(tmp_path)
    store.build("one", corpus, spec)
    memory = store.open("one", retriever=spec, verify=True)
    assert memory.hits(["which"], 5).rows.tolist() == [[2, 1, 0]]
    memory.close()
