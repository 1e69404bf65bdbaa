"""What Milvus does not promise: ties by row, more hits than it returns, long lists of rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from memories import collections, vectors
from ragcore_milvus import collection as collection_module
from ragcore_milvus import selection as selection_module
from ragcore_milvus.collection import LIMIT
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.index import Milvus

from ragcore.errors import MemoryMismatchError, UnsupportedOperation

pytestmark = pytest.mark.engines


def filled(uri: str, values: npt.NDArray[np.float32], **settings: object) -> Milvus:
    index = Milvus(MilvusConfig(uri=uri, **settings), dim=values.shape[1])
    index.add(np.arange(len(values)), values)
    return index


def test_scores_and_rows_are_those_of_faiss(uri: str, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss", reason="FAISS is not installed")
    values, queries = vectors(20_000, 64), vectors(50, 64, seed=1)
    flat = faiss.IndexFlatIP(64)
    flat.add(values)
    scores, rows = flat.search(queries, 10)
    index = filled(uri, values, shards=2)
    index.save(tmp_path)
    hits = index.search(queries, 10)
    assert np.array_equal(hits.rows, rows)
    np.testing.assert_allclose(hits.scores, scores, rtol=1e-5)
    index.drop(tmp_path, index._config)


def test_of_more_ties_than_one_search_returns_the_lowest_rows_are_found(uri: str) -> None:
    # The last are the best; all others tie.
    values = np.ones((LIMIT + 4_000, 4), np.float32)
    values[-3:] *= 2
    index = filled(uri, values)
    best = [len(values) - 3, len(values) - 2, len(values) - 1]
    for k in (1, 3, 5, 300):
        hits = index.search(np.ones((2, 4), np.float32), k)
        assert hits.rows.tolist() == [(best + list(range(k)))[:k]] * 2
    allowed = np.setdiff1d(np.arange(len(values)), [0, 2, best[0]])
    hits = index.search(np.ones((1, 4), np.float32), 4, allowed=allowed)
    assert hits.rows.tolist() == [[*best[1:], 1, 3]]


def test_a_large_batch_is_sent_in_parts(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that none takes longer than a request may."""
    values = vectors(300)
    index = filled(uri, values)
    expected = index.search(values[:40], 3)
    monkeypatch.setattr(collection_module, "_COMPARED_AT_ONCE", 2_000)
    sent: list[int] = []
    request = index._collection.sender.send_loaded

    def counted(what: str, send: Any) -> Any:
        sent.append(1)
        return request(what, send)

    monkeypatch.setattr(index._collection.sender, "send_loaded", counted)
    hits = index.search(values[:40], 3)
    assert len(sent) == 7
    assert np.array_equal(hits.rows, expected.rows)


@pytest.mark.parametrize("method", ["exact", "hnsw"])
def test_more_hits_are_found_than_one_search_returns(uri: str, method: str) -> None:
    values = vectors(LIMIT + 3_000, 4)
    index = filled(uri, values, method=method)
    hits = index.search(values[:1], len(values))
    assert np.array_equal(np.sort(hits.rows[0]), np.arange(len(values)))
    assert (np.diff(hits.scores[0]) <= 0).all()


def test_long_lists_of_rows_are_sent_in_parts(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values, queries = vectors(3_000), vectors(4, seed=1)
    index = filled(uri, values)
    allowed = np.random.default_rng(2).permutation(3_000)[:1_400]
    expected = index.search(queries, 50, allowed=allowed)
    monkeypatch.setattr(selection_module, "_MOST_LISTED", 300)
    hits = index.search(queries, 50, allowed=allowed)
    assert np.array_equal(hits.rows, expected.rows)
    assert np.isin(hits.rows, allowed).all()


def test_what_a_graph_does_not_find_is_compared(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph of which the search sees hardly anything, as where it has come apart."""
    values, queries = vectors(3_000), vectors(4, seed=1)
    index = filled(uri, values, method="hnsw")
    index.save(tmp_path)
    search = index._collection.search

    def shortened(*arguments: Any, **options: Any) -> object:
        scores, rows = search(*arguments, **options)
        scores[:, 2:], rows[:, 2:] = -np.inf, -1
        return scores, rows

    monkeypatch.setattr(index._collection, "search", shortened)
    allowed = np.arange(0, 3_000, 7)
    hits = index.search(queries, 20, allowed=allowed)
    products = queries @ values[allowed].T
    assert np.array_equal(hits.rows, allowed[np.argsort(-products, axis=1)[:, :20]])
    # As many as there are, where more are asked for.
    few = index.search(queries, 20, allowed=np.array([5, 4, 3, 99_999]))
    assert np.array_equal(np.sort(few.rows[:, :3]), [[3, 4, 5]] * 4)
    assert (few.rows[:, 3:] == -1).all()
    index.drop(tmp_path, index._config)


def test_a_saved_collection_never_changes(uri: str, tmp_path: Path) -> None:
    index = filled(uri, vectors(20))
    index.save(tmp_path)
    for each in (index, Milvus.load(tmp_path, index._config)):
        with pytest.raises(UnsupportedOperation, match="'add'"):
            each.add(np.array([50]), vectors(1))
        with pytest.raises(UnsupportedOperation, match="'remove'"):
            each.remove(np.array([5]))
    with pytest.raises(MemoryMismatchError, match=r"'exact'.*'hnsw'"):
        Milvus.load(tmp_path, MilvusConfig(uri=uri, method="hnsw"))
    index.drop(tmp_path, index._config)


def test_an_index_that_nobody_saves_leaves_no_collection(uri: str, database: str) -> None:
    index = filled(uri, vectors(20), database=database)
    assert len(collections(uri, database)) == 1
    del index
    assert not collections(uri, database)


def test_a_forked_process_searches_too(uri: str) -> None:
    values = vectors(50)
    index = filled(uri, values)
    expected = index.search(values[:2], 3).rows
    child = os.fork()
    if not child:
        os._exit(0 if np.array_equal(index.search(values[:2], 3).rows, expected) else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(index.search(values[:2], 3).rows, expected)
