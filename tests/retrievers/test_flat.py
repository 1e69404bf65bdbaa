"""The index `exact`: it equals brute force by definition, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import ComponentError, StoreCorruptError
from ragcore.retrievers import flat
from ragcore.retrievers.flat import Exact
from ragcore.types import MISSING_ROW, Hits


def vectors(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def index_of(added: np.ndarray, rows: np.ndarray | None = None, batches: int = 1) -> Exact:
    index = Exact(Exact.Config(), dim=added.shape[1])
    rows = np.arange(len(added)) if rows is None else rows
    for batch, batch_vectors in zip(
        np.array_split(rows, batches), np.array_split(added, batches), strict=True
    ):
        index.add(batch, batch_vectors)
    return index


def by_definition(rows: np.ndarray, added: np.ndarray, queries: np.ndarray, k: int) -> Hits:
    scores = (queries.astype(np.float64) @ added.astype(np.float64).T).astype(np.float32)
    order = np.stack([np.lexsort((rows, -score))[:k] for score in scores])
    return Hits(rows[order], np.take_along_axis(scores, order, axis=1))


def assert_equal(hits: Hits, expected: Hits) -> None:
    np.testing.assert_array_equal(hits.rows, expected.rows)
    np.testing.assert_array_equal(hits.scores, expected.scores)


@given(
    count=st.integers(1, 60),
    k=st.integers(1, 10),
    batches=st.integers(1, 5),
    levels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_hits_equal_the_definition_with_ties_by_row(
    count: int, k: int, batches: int, levels: int, seed: int
) -> None:
    # Few different numbers make many ties.
    random = np.random.default_rng(seed)
    added = random.integers(-levels, levels, (count, 3), endpoint=True).astype(np.float32)
    queries = random.integers(-levels, levels, (4, 3), endpoint=True).astype(np.float32)
    rows = random.permutation(1000)[:count]
    k = min(k, count)
    hits = index_of(added, rows, batches).search(queries, k)
    assert_equal(hits, by_definition(rows, added, queries, k))


def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    added, queries = vectors(500), vectors(5, seed=1)
    whole = index_of(added).search(queries, 20)
    monkeypatch.setattr(flat, "BLOCK", 64)
    assert_equal(index_of(added, batches=9).search(queries, 20), whole)


def test_a_score_does_not_depend_on_the_neighbours() -> None:
    added, queries = vectors(700, 100), vectors(9, 100, seed=1)
    together = index_of(added).search(queries, 700)
    for i in range(9):
        alone = index_of(added).search(queries[i : i + 1], 700)
        assert_equal(alone, Hits(together.rows[i : i + 1], together.scores[i : i + 1]))
    some = np.arange(3, 700, 7)
    fewer = index_of(added[some], some).search(queries, 100)
    for rows, scores, all_rows, all_scores in zip(
        fewer.rows, fewer.scores, together.rows, together.scores, strict=True
    ):
        known = dict(zip(all_rows.tolist(), all_scores.tolist(), strict=True))
        assert [known[row] for row in rows.tolist()] == scores.tolist()


def test_equal_vectors_tie_at_any_position() -> None:
    vector = vectors(1, 77)
    hits = index_of(np.repeat(vector, 333, axis=0)).search(vectors(3, 77, seed=1), 5)
    assert hits.rows.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_missing_hits_fill_up_to_k() -> None:
    hits = index_of(vectors(2)).search(vectors(1, seed=1), 4)
    assert sorted(hits.rows[0, :2].tolist()) == [0, 1]
    assert hits.rows[0, 2:].tolist() == [MISSING_ROW] * 2
    assert np.isneginf(hits.scores[0, 2:]).all()


def test_only_allowed_rows_are_found() -> None:
    added, queries = vectors(50), vectors(3, seed=1)
    allowed = np.array([4, 8, 15, 16, 23, 42, 1000])
    hits = index_of(added).search(queries, 9, allowed=allowed)
    expected = by_definition(allowed[:6], added[allowed[:6]], queries, 6)
    np.testing.assert_array_equal(hits.rows[:, :6], expected.rows)
    assert (hits.rows[:, 6:] == MISSING_ROW).all()


def test_a_removed_row_is_as_if_never_added() -> None:
    added, queries = vectors(40), vectors(3, seed=1)
    index = index_of(added, batches=4)
    index.remove(np.arange(0, 40, 3))
    remaining = np.setdiff1d(np.arange(40), np.arange(0, 40, 3))
    assert len(index) == len(remaining)
    assert_equal(
        index.search(queries, 10), index_of(added[remaining], remaining).search(queries, 10)
    )
    index.add(np.array([0]), added[:1])
    assert len(index) == len(remaining) + 1


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_loaded_index_finds_the_same(tmp_path: Path, mmap: bool, count: int) -> None:
    added, queries = vectors(count), vectors(3, seed=1)
    index = index_of(added, batches=2)
    index.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy"}
    loaded = Exact.load(tmp_path, Exact.Config(), mmap=mmap)
    assert len(loaded) == count
    assert_equal(loaded.search(queries, 5), index.search(queries, 5))
    loaded.add(np.array([99]), vectors(1, seed=2))
    assert len(loaded) == count + 1


def test_a_loaded_index_leaves_the_vectors_on_disk(tmp_path: Path) -> None:
    index_of(vectors(30)).save(tmp_path)
    loaded = Exact.load(tmp_path, Exact.Config())
    (block,) = loaded._blocks
    assert isinstance(block.vectors, np.memmap)


def test_added_arrays_are_copied() -> None:
    added = vectors(3)
    index = index_of(added)
    before = index.search(added, 1)
    added[:] = 0
    assert_equal(index.search(vectors(3), 1), before)


@pytest.mark.parametrize(
    ("rows", "added", "message"),
    [
        ([0, 1], vectors(3), r"\(2,\).*\(3, 8\)"),
        ([0], vectors(1, 9), r"\[n, 8\]"),
        ([5], vectors(1), "already has row 5"),
        ([7, 7], vectors(2), "one row twice"),
        ([-1], vectors(1), "negative row"),
        ([9], np.full((1, 8), np.nan, np.float32), "NaN"),
    ],
)
def test_invalid_rows_and_vectors_are_refused(
    rows: list[int], added: np.ndarray, message: str
) -> None:
    index = index_of(vectors(6))
    with pytest.raises(ComponentError, match=message):
        index.add(np.array(rows), added)
    assert len(index) == 6


@pytest.mark.parametrize(
    ("queries", "k"), [(vectors(1), 0), (vectors(1, 9), 1), (np.full((1, 8), np.inf), 1)]
)
def test_invalid_searches_are_refused(queries: np.ndarray, k: int) -> None:
    with pytest.raises(ComponentError, match="asked for"):
        index_of(vectors(6)).search(queries, k)


def test_an_unknown_row_cannot_be_removed() -> None:
    with pytest.raises(ComponentError, match="no row 6"):
        index_of(vectors(6)).remove(np.array([2, 6]))


def test_broken_files_are_named(tmp_path: Path) -> None:
    index_of(vectors(6)).save(tmp_path)
    (tmp_path / "vectors.npy").write_bytes(b"no array")
    with pytest.raises(StoreCorruptError, match=str(tmp_path)):
        Exact.load(tmp_path, Exact.Config())
    np.save(tmp_path / "vectors.npy", vectors(5))
    with pytest.raises(StoreCorruptError, match=r"int64\[6\].*float32\[5, 8\]"):
        Exact.load(tmp_path, Exact.Config())


def test_vectors_are_returned_as_added() -> None:
    added = vectors(40)
    rows = np.random.default_rng(1).permutation(100)[:40]
    index = index_of(added, rows, batches=3)
    positions = np.array([7, 0, 39, 7])
    np.testing.assert_array_equal(index.vectors(rows[positions]), added[positions])
    absent = np.setdiff1d(np.arange(100), rows)[0]
    with pytest.raises(ComponentError, match=f"has no row {absent}, so no vector"):
        index.vectors(np.array([rows[0], absent]))


def test_with_a_scratch_folder_it_finds_and_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat, "BLOCK", 16)
    added = vectors(100)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "vectors-7.npy").write_bytes(b"left by a killed build")
    working = Exact(Exact.Config(), dim=8)
    assert working.use_scratch(tmp_path / "scratch") == 0
    for start in range(0, 100, 5):
        rows = np.arange(start, start + 5)
        working.add(rows, added[rows])
    files = sorted(path.stat().st_size for path in (tmp_path / "scratch").iterdir())
    assert len(files) >= 6
    assert max(files) < 16 * 8 * 4 * 2
    assert_equal(working.search(added[:3], 9), index_of(added).search(added[:3], 9))
    working.remove(np.array([50]))
    remaining = np.delete(np.arange(100), 50)
    for name, index in (("worked", working), ("plain", index_of(added[remaining], remaining))):
        (tmp_path / name).mkdir()
        index.save(tmp_path / name)
    for file in ("rows.npy", "vectors.npy"):
        assert (tmp_path / "worked" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()
