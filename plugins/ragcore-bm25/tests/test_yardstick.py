"""Scores are rank-bm25's for its three variants, and bm25s' for its five, on random corpora."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ragcore_bm25.retriever import Bm25

from ragcore.errors import ComponentError
from ragcore.types import Passage

# Few words, so that some are in most passages; "?" is no word, so that some passages are empty.
WORDS = [*"abcdefg", "?"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=10)
QUESTIONS = st.lists(st.sampled_from([*WORDS, "unknown"]), min_size=1, max_size=6)
CONSTANTS = st.fixed_dictionaries(
    {"k1": st.floats(0.1, 3), "b": st.floats(0, 1), "delta": st.floats(0.01, 2)}
)
# "a" is in most passages and all of them are alike: the mean weight, and so scores, are negative.
NEGATIVE = [["a", "b"], ["a", "b"], ["a", "b", "b"], ["?"]]


def made(texts: list[list[str]], **settings: Any) -> Bm25:
    retriever = Bm25(Bm25.Config(stemmer=None, stopwords=None, **settings))
    passages = [Passage(str(row), "", " ".join(text) or "?") for row, text in enumerate(texts)]
    retriever.add(np.arange(len(texts)), passages)
    return retriever


def found(retriever: Bm25, question: list[str]) -> dict[int, float]:
    hits = retriever.search([" ".join(question)], len(retriever))
    there = hits.rows[0] >= 0
    return dict(zip(hits.rows[0][there].tolist(), hits.scores[0][there].tolist(), strict=True))


def sharing(texts: list[list[str]], question: list[str], scores: Any) -> dict[int, float]:
    asked = set(question) - {"?"}
    return {row: scores[row] for row, text in enumerate(texts) if asked & set(text)}


@pytest.fixture(scope="module")
def rank_bm25() -> Any:
    return pytest.importorskip("rank_bm25", reason="the yardstick is an extra: rank-bm25")


@pytest.mark.parametrize("backend", ["sparse", "rank-bm25"])
@pytest.mark.parametrize(
    ("variant", "name"), [("okapi", "BM25Okapi"), ("l", "BM25L"), ("plus", "BM25Plus")]
)
def test_scores_are_those_of_rank_bm25(
    rank_bm25: Any, variant: str, name: str, backend: str
) -> None:
    @settings(derandomize=True)
    @given(TEXTS, QUESTIONS, CONSTANTS, st.floats(0, 1))
    @example(NEGATIVE, ["a", "a"], {"k1": 1.5, "b": 0.75, "delta": 0.5}, 0.25)
    def check(
        texts: list[list[str]], question: list[str], constants: dict[str, float], epsilon: float
    ) -> None:
        tokens = [[word for word in text if word != "?"] for text in texts]
        assume(any(tokens))
        extra = {"epsilon": epsilon} if variant == "okapi" else {"delta": constants["delta"]}
        yardstick = getattr(rank_bm25, name)(tokens, k1=constants["k1"], b=constants["b"], **extra)
        with np.errstate(invalid="ignore"):
            expected = sharing(texts, question, yardstick.get_scores(question))
        ours = made(texts, variant=variant, epsilon=epsilon, backend=backend, **constants)
        assert found(ours, question) == pytest.approx(expected, rel=1e-5, abs=1e-5)

    check()


@pytest.mark.parametrize("backend", ["sparse", "rank-bm25"])
def test_negative_scores_are_kept(rank_bm25: Any, backend: str) -> None:
    scores = found(made(NEGATIVE, variant="okapi", backend=backend), ["a"])
    assert sorted(scores) == [0, 1, 2]
    assert all(score < 0 for score in scores.values())


@pytest.mark.parametrize("variant", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
def test_scores_are_those_of_bm25s(variant: str) -> None:
    bm25s = pytest.importorskip("bm25s", reason="what it is compared with is an extra: bm25s")

    @settings(derandomize=True)
    @given(TEXTS, QUESTIONS, CONSTANTS)
    def check(texts: list[list[str]], question: list[str], constants: dict[str, float]) -> None:
        tokens = [[WORDS.index(word) for word in text if word != "?"] for text in texts]
        assume(any(tokens))
        scorer = bm25s.BM25(method=variant, dtype="float64", **constants)
        scorer.index((tokens, {word: at for at, word in enumerate(WORDS)}), show_progress=False)
        known = [WORDS.index(word) for word in question if any(word in text for text in texts)]
        known = [number for number in known if WORDS[number] != "?"]
        assume(known)
        expected = sharing(texts, question, scorer.get_scores_from_ids(known))
        ours = found(made(texts, variant=variant, **constants), question)
        assert ours == pytest.approx(expected, rel=1e-5, abs=1e-5)

    check()


def test_both_backends_read_one_memory(rank_bm25: Any, tmp_path: Any) -> None:
    texts = [["a", "b", "b"], ["a"], ["c", "a"], ["?"]]
    yardstick = made(texts, variant="l", backend="rank-bm25")
    yardstick.save(tmp_path)
    config = Bm25.Config(variant="l", stemmer=None, stopwords=None)
    assert found(Bm25.load(tmp_path, config), ["b", "c"]) == pytest.approx(
        found(yardstick, ["b", "c"]), rel=1e-5
    )
    again = Bm25.load(tmp_path, config.model_copy(update={"backend": "rank-bm25"}))
    assert found(again, ["b", "c"]) == found(yardstick, ["b", "c"])


def test_a_variant_that_rank_bm25_lacks_is_refused() -> None:
    with pytest.raises(ValidationError, match="no variant 'lucene', only okapi, l and plus"):
        Bm25.Config(backend="rank-bm25")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    settings = {"backend": "rank-bm25", "variant": "okapi"}
    hint = r"pip install '\./plugins/ragcore-bm25\[rank-bm25\]'"
    with pytest.raises(ValidationError, match=hint):
        Bm25.Config.model_validate(settings)
    with pytest.raises(ComponentError, match=hint):
        Bm25(Bm25.Config.model_validate(settings, context={"recorded": True}))
