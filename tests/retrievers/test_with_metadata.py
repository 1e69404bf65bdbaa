"""The retriever `with-metadata`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ragcore_bm25.retriever import Bm25

from ragcore.errors import MemoryMismatchError, UnsupportedOperation
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.hybrid import Hybrid
from ragcore.retrievers.with_metadata import WithMetadata
from ragcore.store.store import Store
from ragcore.testing import RetrieverSuite
from ragcore.types import MISSING_ROW, Passage
from tests.helpers.word_encoder import dense_part

NAMES = [["USA", "American"], ["Burmese", "Myanmar"], [], ["French"]]
PASSAGES = [
    Passage(f"{country}:{field}", f"{country}, {field}", f"{field} text {number}", {"also": names})
    for number, (country, names) in enumerate(
        zip(["US", "Burma", "Chad", "France"], NAMES, strict=True)
    )
    for field in ("Capital", "Area")
]


def bm25_part(**settings: Any) -> ComponentSpec:
    config = Bm25.Config(stemmer=None, stopwords=None, **settings)
    return ComponentSpec("retriever", "bm25", Bm25, config)


def hybrid_part() -> ComponentSpec:
    config = Hybrid.Config(retrievers=[bm25_part(), dense_part(dim=512)], depth=5_000)
    return ComponentSpec("retriever", "hybrid", Hybrid, config)


def with_metadata(inner: ComponentSpec, *fields: str) -> ComponentSpec:
    config = WithMetadata.Config(fields=list(fields or ["also"]), retriever=inner)
    return ComponentSpec("retriever", "with-metadata", WithMetadata, config)


def found(retriever: Any, question: str, k: int = 2) -> list[str]:
    rows = retriever.search([question], k).rows[0]
    return [PASSAGES[row].id for row in rows if row != MISSING_ROW]


def filled(spec: ComponentSpec, passages: list[Passage] = PASSAGES) -> Any:
    retriever = spec.build()
    retriever.add(np.arange(len(passages)), passages)
    return retriever


class TestContract(RetrieverSuite):
    @pytest.fixture
    def component(self) -> ComponentSpec:
        return with_metadata(dense_part(dim=512))


class TestContractOfAHybrid(RetrieverSuite):
    @pytest.fixture
    def component(self) -> ComponentSpec:
        return with_metadata(hybrid_part())


@pytest.mark.parametrize("inner", [bm25_part(), hybrid_part()], ids=["bm25", "hybrid"])
def test_passages_are_found_by_metadata_that_their_texts_lack(inner: ComponentSpec) -> None:
    retriever = filled(with_metadata(inner))
    assert found(retriever, "burmese capital")[0] == "Burma:Capital"
    assert set(found(retriever, "the american")) == {"US:Capital", "US:Area"}


def test_hits_and_scores_are_those_of_longer_titles() -> None:
    longer = [
        Passage(
            passage.id,
            f"{passage.title} ({'; '.join(passage.metadata['also'])})"
            if passage.metadata["also"]
            else passage.title,
            passage.text,
        )
        for passage in PASSAGES
    ]
    for inner in (bm25_part(title_weight=3), dense_part(dim=512), hybrid_part()):
        questions = ["american capital", "(Burmese; area", "text 2"]
        hits = filled(with_metadata(inner)).search(questions, 5)
        expected = filled(inner, longer).search(questions, 5)
        np.testing.assert_array_equal(hits.rows, expected.rows)
        np.testing.assert_array_equal(hits.scores, expected.scores)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("green", "green"),
        (["green", "blue"], "blue"),
        (2016, "2016"),
        (["green", 7.5], "7.5"),
        ([["green"], {"a": 1}, None, "blue"], "blue"),
    ],
)
def test_strings_numbers_and_lists_of_them_are_searched(value: object, words: str) -> None:
    passages = [Passage("a", "", "x", {"also": value}), Passage("b", "", "x", {"other": value})]
    retriever = filled(with_metadata(bm25_part()), passages)
    assert retriever.search([words], 2).rows[0].tolist() == [0, MISSING_ROW]


@pytest.mark.parametrize("value", [None, True, {"a": "green"}, [], "  ", [["green"]]])
def test_other_values_are_passed_over(value: object) -> None:
    passages = [Passage("a", "title", "x", {"also": value})]
    retriever = filled(with_metadata(dense_part()), passages)
    plain = filled(dense_part(), passages)
    questions = ["green", "title x", "True ( )"]
    np.testing.assert_array_equal(
        retriever.search(questions, 1).scores, plain.search(questions, 1).scores
    )


def test_a_memory_keeps_the_passages_as_they_are_through_updates(tmp_path: Path) -> None:
    spec = with_metadata(bm25_part())
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, spec)
    memory = store.open(retriever=spec)
    (result,) = memory.search(["burmese capital"], 1)
    assert result.passages == (PASSAGES[2],)
    renamed = Passage(PASSAGES[2].id, PASSAGES[2].title, PASSAGES[2].text, {"also": ["Pagan"]})
    store.update("two", [renamed], retriever=spec)
    (after,) = store.open(retriever=spec).search(["pagan capital"], 1)
    assert after.passages == (renamed,)


def test_a_memory_of_other_fields_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, with_metadata(bm25_part()))
    with pytest.raises(MemoryMismatchError, match="with-metadata"):
        store.open(retriever=with_metadata(bm25_part(), "also", "country"))
    with pytest.raises(MemoryMismatchError, match="with-metadata"):
        store.open(retriever=bm25_part())


def test_an_index_is_trained_on_the_longer_titles(tmp_path: Path) -> None:
    faiss = pytest.importorskip("ragcore_faiss.index")
    index = ComponentSpec(
        "index", "faiss", faiss.Faiss, faiss.Faiss.Config(factory="IVF2,Flat", train_size=8)
    )
    inner = dense_part(dim=16)
    config = inner.config.model_copy(update={"index": index})
    spec = with_metadata(ComponentSpec("retriever", "dense", inner.component, config))
    retriever = spec.build()
    assert "index_training" in retriever.capabilities
    assert retriever.training_size == 8
    retriever.train_index(PASSAGES, tmp_path)
    ready = spec.build()
    ready.use_training(tmp_path)
    ready.add(np.arange(len(PASSAGES)), PASSAGES)
    assert len(ready) == len(PASSAGES)


def test_what_the_inner_retriever_cannot_do_is_refused_by_name() -> None:
    class Fixed(Bm25):
        capabilities = frozenset({"add"})

    spec = ComponentSpec("retriever", "fixed", Fixed, Fixed.Config())
    retriever = filled(with_metadata(spec))
    assert retriever.capabilities == {"add"}
    with pytest.raises(UnsupportedOperation, match="'fixed'"):
        retriever.search(["capital"], 1, allowed=np.arange(2))
    with pytest.raises(UnsupportedOperation, match="'fixed'"):
        retriever.remove(np.arange(1))
