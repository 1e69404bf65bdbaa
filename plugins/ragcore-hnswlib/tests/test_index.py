from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)

module = pytest.importorskip("ragcore_hnswlib.index", reason="hnswlib needs a compiler to install")
Hnswlib = module.Hnswlib

DIM = 8
VECTORS = np.random.default_rng(0).standard_normal((3000, DIM)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((6, DIM)).astype(np.float32)


def made(count: int = 0, **given: Any) -> Any:
    index = Hnswlib(Hnswlib.Config(threads=1, **given), dim=DIM)
    index.add(np.arange(count), VECTORS[:count])
    return index


def true(rows: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-(QUERIES @ VECTORS[rows].T), axis=1, kind="stable")[:, :k]
    return rows[order]


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    pairs = zip(found.tolist(), expected.tolist(), strict=True)
    return sum(len(set(one) & set(other)) for one, other in pairs) / expected.size


def test_scores_are_inner_products() -> None:
    hits = made(500).search(QUERIES, 10)
    products = np.einsum("bkd,bd->bk", VECTORS[hits.rows], QUERIES)
    np.testing.assert_allclose(hits.scores, products, atol=1e-5)
    assert recall(hits.rows, true(np.arange(500), 10)) > 0.9


def test_scores_are_cosines_where_they_are_asked_for() -> None:
    index = made(500, space="cosine")
    hits = index.search(7 * QUERIES, 10)
    lengths = np.linalg.norm(VECTORS, axis=1), np.linalg.norm(QUERIES, axis=1)
    cosines = np.einsum("bkd,bd->bk", VECTORS[hits.rows], QUERIES)
    cosines /= lengths[0][hits.rows] * lengths[1][:, None]
    np.testing.assert_allclose(hits.scores, cosines, atol=1e-5)
    assert "vectors" not in index.capabilities
    with pytest.raises(UnsupportedOperation, match=r"'hnswlib' \(cosine\) .*'vectors'"):
        index.vectors(np.array([1]))


@pytest.mark.parametrize("size", [3, 400, 2500])
def test_cosines_are_the_same_under_a_filter(size: int) -> None:
    index = made(3000, space="cosine")
    allowed = np.arange(0, size)
    hits = index.search(7 * QUERIES, 5, allowed=allowed)
    lengths = np.linalg.norm(VECTORS, axis=1), np.linalg.norm(QUERIES, axis=1)
    exists = hits.rows >= 0
    assert (exists.sum(axis=1) == min(5, size)).all()
    cosines = (QUERIES @ VECTORS.T) / (lengths[1][:, None] * lengths[0])  # [B, n]
    expected = np.take_along_axis(cosines, np.where(exists, hits.rows, 0), axis=1)
    np.testing.assert_allclose(hits.scores[exists], expected[exists], atol=1e-5)
    largest = np.full((1, DIM), 1e30, np.float32)
    assert abs(index.search(largest, 1, allowed=allowed[:3]).scores).max() <= 1.001


def test_a_filter_finds_what_is_left_whether_few_or_many_are_allowed() -> None:
    index = made(3000)
    for allowed in (np.arange(0, 3000, 2), np.arange(0, 3000, 60), np.array([5, 9, 99_999])):
        hits = index.search(QUERIES, 10, allowed=allowed)
        there = allowed[allowed < 3000]
        assert set(hits.rows[hits.rows >= 0].tolist()) <= set(there.tolist())
        wanted = min(10, len(there))
        assert recall(hits.rows[:, :wanted], true(there, wanted)) > 0.9
        products = np.einsum("bkd,bd->bk", VECTORS[hits.rows[:, :wanted]], QUERIES)
        np.testing.assert_allclose(hits.scores[:, :wanted], products, atol=1e-5)


def test_a_row_scores_the_same_however_it_is_found() -> None:
    index = made(3000)
    rows, scores = (getattr(index.search(QUERIES, 5), name) for name in ("rows", "scores"))
    for few in (True, False):
        allowed = np.unique(rows) if few else np.arange(3000)
        again = index.search(QUERIES, 5, allowed=allowed)
        assert np.array_equal(again.rows, rows)
        assert np.array_equal(again.scores, scores)


def test_what_the_graph_does_not_reach_is_found_all_the_same() -> None:
    # Two far groups with few neighbours, of which one is removed but for its end.
    index = made(m=2, ef_construction=2, ef_search=1)
    index.add(np.arange(2000), VECTORS[:2000])
    index.remove(np.arange(1995))
    hits = index.search(QUERIES, 9)
    assert np.sort(hits.rows, axis=1).tolist() == [[-1] * 4 + [*range(1995, 2000)]] * 6
    assert np.array_equal(hits.rows[:, :5], true(np.arange(1995, 2000), 5))


def test_no_queries_have_no_hits() -> None:
    assert made(5).search(QUERIES[:0], 3).rows.shape == (0, 3)


def test_room_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 4)
    index = made(3)
    for row in range(3, 40):
        index.add(np.array([row]), VECTORS[[row]])
    assert recall(index.search(QUERIES, 5).rows, true(np.arange(40), 5)) == 1


def test_a_removed_row_may_come_back_as_another_vector(tmp_path: Path) -> None:
    index = made(50)
    index.remove(np.array([7]))
    index.add(np.array([7]), 10 * QUERIES[:1])
    for one in (index, saved(index, tmp_path / "a")):
        assert one.search(QUERIES[:1], 1).rows.tolist() == [[7]]
        np.testing.assert_array_equal(one.vectors(np.array([7])), 10 * QUERIES[:1])


def test_vectors_are_given_back_as_they_were_added() -> None:
    index = made(50)
    rows = np.array([9, 3, 9, 49])
    np.testing.assert_array_equal(index.vectors(rows), VECTORS[rows])
    with pytest.raises(ComponentError, match="has no row 50: it has no vector"):
        index.vectors(np.array([3, 50]))


def saved(index: Any, folder: Path, **given: Any) -> Any:
    folder.mkdir()
    index.save(folder)
    return Hnswlib.load(folder, Hnswlib.Config(threads=1, **given))


def test_any_sequence_of_changes_is_searched_as_it_is(tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())

    class Changes(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.index = made()
            self.rows: set[int] = set()

        @rule(new=st.sets(st.integers(0, 99), min_size=1, max_size=30))
        def add(self, new: set[int]) -> None:
            rows = np.array(sorted(new - self.rows), np.int64)
            self.index.add(rows, VECTORS[rows])
            self.rows |= new

        @precondition(lambda self: self.rows)
        @rule(drawn=st.data())
        def remove(self, drawn: st.DataObject) -> None:
            gone = drawn.draw(st.sets(st.sampled_from(sorted(self.rows))))
            self.index.remove(np.array(sorted(gone), np.int64))
            self.rows -= gone

        @rule()
        def save_and_load(self) -> None:
            self.index = saved(self.index, next(folders))

        @rule(k=st.integers(1, 120))
        def search(self, k: int) -> None:
            assert len(self.index) == len(self.rows)
            rows = np.array(sorted(self.rows), np.int64)
            hits = self.index.search(QUERIES, k)
            wanted = min(k, len(rows))
            assert (hits.rows[:, wanted:] == -1).all()
            assert wanted == 0 or recall(hits.rows[:, :wanted], true(rows, wanted)) > 0.9

    run_state_machine_as_test(
        Changes, settings=settings(max_examples=25, stateful_step_count=12, deadline=None)
    )


def test_searches_in_threads_find_what_one_finds() -> None:
    index = made(2000)
    expected = index.search(QUERIES, 10)
    wrong: list[object] = []

    def ask() -> None:
        for turn in range(20):
            allowed = {"allowed": np.arange(2000)} if turn % 2 else {}
            hits = index.search(QUERIES, 10, **allowed)
            if not np.array_equal(hits.rows, expected.rows):
                wrong.append(hits)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_with_one_thread_the_graph_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        saved(made(500), tmp_path / name)
    assert (tmp_path / "a/graph.hnsw").read_bytes() == (tmp_path / "b/graph.hnsw").read_bytes()


def test_how_widely_it_looks_may_change_when_it_is_opened(tmp_path: Path) -> None:
    index = made(3000, m=4, ef_search=1)
    narrow = recall(index.search(QUERIES, 1).rows, true(np.arange(3000), 1))
    wide = saved(index, tmp_path / "a", m=4, ef_search=400)
    assert recall(wide.search(QUERIES, 1).rows, true(np.arange(3000), 1)) == 1 > narrow


def test_an_empty_one_is_saved_and_grows(tmp_path: Path) -> None:
    index = saved(made(), tmp_path / "a")
    assert (index.search(QUERIES, 2).rows == -1).all()
    index.add(np.arange(5), VECTORS[:5])
    assert recall(index.search(QUERIES, 5).rows, true(np.arange(5), 5)) == 1


@pytest.mark.parametrize("other", [{"m": 8}, {"space": "cosine"}])
def test_another_graph_than_configured_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(MemoryMismatchError, match=r"was built with .* 'm': 16.*says"):
        saved(made(10), tmp_path / "a", **other)


def test_damage_is_seen_before_hnswlib_reads_it(tmp_path: Path) -> None:
    saved(made(40), tmp_path / "a")
    path = tmp_path / "a" / "graph.hnsw"
    whole = path.read_bytes()
    # Every number of the head but the highest level, the law of levels and ef_construction.
    for place in (0, 16, 24, 32, 40, 52, 56, 64, 72):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(StoreCorruptError, match=r"no graph of 40 vectors of 8 numbers"):
            Hnswlib.load(tmp_path / "a", Hnswlib.Config())
    for size in (0, 50, 200, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreCorruptError, match=r"graph\.hnsw"):
            Hnswlib.load(tmp_path / "a", Hnswlib.Config())
    path.unlink()
    with pytest.raises(StoreCorruptError, match=r"graph\.hnsw cannot be read"):
        Hnswlib.load(tmp_path / "a", Hnswlib.Config())


@pytest.mark.parametrize("name", ["hnswlib.json", "rows.npy"])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, name: str) -> None:
    saved(made(5), tmp_path / "a")
    (tmp_path / "a" / name).write_text("{")
    with pytest.raises(StoreCorruptError, match=rf"{name} cannot be read"):
        Hnswlib.load(tmp_path / "a", Hnswlib.Config())
    (tmp_path / "a" / name).unlink()
    with pytest.raises(StoreCorruptError, match=rf"{name} cannot be read"):
        Hnswlib.load(tmp_path / "a", Hnswlib.Config())


def test_what_is_stored_needs_no_pickle(tmp_path: Path) -> None:
    saved(made(5), tmp_path / "a")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["graph.hnsw", "hnswlib.json", "rows.npy"]
    assert json.loads((tmp_path / "a" / "hnswlib.json").read_text())["dim"] == DIM
    np.load(tmp_path / "a" / "rows.npy", allow_pickle=False)


@pytest.mark.parametrize("length", [1.0, 1e-3, 1e-7, 1e-12])
def test_short_vectors_are_found_and_returned_unchanged(tmp_path: Path, length: float) -> None:
    vectors, queries = VECTORS[:500] * np.float32(length), QUERIES * np.float32(length)
    index = Hnswlib(Hnswlib.Config(threads=1), dim=DIM)
    index.add(np.arange(500), vectors)
    index.save(tmp_path)
    for opened in (index, Hnswlib.load(tmp_path, Hnswlib.Config(threads=1))):
        hits = opened.search(queries, 10)
        products = np.einsum("bkd,bd->bk", vectors[hits.rows].astype(np.float64), queries)
        np.testing.assert_allclose(hits.scores, products, atol=1e-5 * length**2)
        assert recall(hits.rows, true(np.arange(500), 10)) > 0.9
        assert opened.vectors(np.arange(500)).tobytes() == vectors.tobytes()
    record = json.loads((tmp_path / "hnswlib.json").read_text(encoding="utf-8"))
    # Files of ordinary vectors stay as they were, so that an older ragcore reads them.
    assert record["format"] == (1 if length == 1 else 2)


@pytest.mark.parametrize("length", [1.0, 1e-7])
def test_cosines_do_not_depend_on_lengths(length: float) -> None:
    index = Hnswlib(Hnswlib.Config(threads=1, space="cosine"), dim=DIM)
    index.add(np.arange(500), VECTORS[:500] * np.float32(length))
    hits = index.search(QUERIES * np.float32(length), 10)
    expected = made(500, space="cosine").search(QUERIES, 10)
    assert np.array_equal(hits.rows, expected.rows)
    np.testing.assert_allclose(hits.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("scale", ["a", None, 0, 3.0, float("inf"), float("nan"), -2.0])
def test_a_scale_that_is_no_power_of_two_is_refused(tmp_path: Path, scale: Any) -> None:
    made(20).save(tmp_path)
    path = tmp_path / "hnswlib.json"
    record = {**json.loads(path.read_text(encoding="utf-8")), "format": 2, "scale": scale}
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(StoreCorruptError, match=r"hnswlib\.json"):
        Hnswlib.load(tmp_path, Hnswlib.Config(threads=1))


@pytest.mark.parametrize("zeros", ["first", "among", "alone"])
def test_vectors_of_zeros_do_not_decide_the_scale(tmp_path: Path, zeros: str) -> None:
    vectors, queries = VECTORS[:500] * np.float32(1e-7), QUERIES * np.float32(1e-7)
    vectors[5 if zeros == "among" else 0] = 0
    index = Hnswlib(Hnswlib.Config(threads=1), dim=DIM)
    if zeros != "among":
        index.add(np.arange(1), vectors[:1])
    if zeros == "alone":
        index.save(tmp_path)
        # An older ragcore reads it, too.
        assert json.loads((tmp_path / "hnswlib.json").read_text(encoding="utf-8"))["format"] == 1
        index = Hnswlib.load(tmp_path, Hnswlib.Config(threads=1))
    index.add(np.arange(len(index), 500), vectors[len(index) :])
    hits = index.search(queries, 10)
    products = np.einsum("bkd,bd->bk", vectors[hits.rows].astype(np.float64), queries)
    np.testing.assert_allclose(hits.scores, products, atol=1e-5 * 1e-14)
    best = np.argsort(-(queries.astype(np.float64) @ vectors.T), axis=1)[:, :10]
    assert recall(hits.rows, best) > 0.9


@pytest.mark.parametrize(("first", "later"), [(1.0, 1e-12), (1e-12, 1.0)])
def test_a_graph_whose_rows_are_all_removed_chooses_its_scale_again(
    tmp_path: Path, first: float, later: float
) -> None:
    index = Hnswlib(Hnswlib.Config(threads=1), dim=DIM)
    index.add(np.arange(500), VECTORS[:500] * np.float32(first))
    index.remove(np.arange(500))
    index.add(np.arange(500, 1000), VECTORS[:500] * np.float32(later))
    index.save(tmp_path)
    for opened in (index, Hnswlib.load(tmp_path, Hnswlib.Config(threads=1))):
        hits = opened.search(QUERIES * np.float32(later), 10)
        assert recall(hits.rows - 500, true(np.arange(500), 10)) > 0.9


def test_vectors_whose_products_are_infinite_are_refused_and_change_nothing() -> None:
    index = Hnswlib(Hnswlib.Config(threads=1), dim=DIM)
    index.add(np.arange(500), VECTORS[:500] * np.float32(1e-17))
    before = index.search(QUERIES, 3)
    with pytest.raises(ComponentError, match=r"multiplies all by .*build the memory again"):
        index.add(np.arange(500, 510), VECTORS[:10] * np.float32(1e4))
    with pytest.raises(ComponentError, match="products may be infinite"):
        Hnswlib(Hnswlib.Config(), dim=DIM).add(np.arange(10), VECTORS[:10] * np.float32(1e30))
    assert len(index) == 500
    assert np.array_equal(index.search(QUERIES, 3).scores, before.scores)
