from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.exhaustive import enough, wide
from ragcore_faiss.factory import core, make, tune
from ragcore_faiss.index import Faiss

from ragcore.contracts import Index
from ragcore.errors import (
    ComponentError,
    ConfigError,
    MemoryMismatchError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.segments import Segments
from ragcore.types import Hits

DIM = 32
RANDOM = np.random.default_rng(0)
# Around forty centres, as texts are: vectors without any structure suit no approximate index.
CENTRES = RANDOM.standard_normal((40, DIM))
VECTORS = CENTRES[RANDOM.integers(40, size=2000)] + 0.5 * RANDOM.standard_normal((2000, DIM))
VECTORS = (VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)).astype(np.float32)
QUERIES = VECTORS[::100] + 0.05 * RANDOM.standard_normal((20, DIM)).astype(np.float32)
ROWS = RANDOM.permutation(2000).astype(np.int64) * 5 + 3

# Recall at 10 that each promises on these vectors.
FACTORIES = {
    "Flat": (1.0, {}),
    "HNSW32": (0.95, {"efSearch": 64}),
    "IVF16,Flat": (0.9, {"nprobe": 6}),
    "PQ8x4": (0.25, {}),
    "SQ8": (0.95, {}),
    "PCA24,IVF16,SQ8": (0.6, {"nprobe": 16}),
    "PCA24,Flat": (0.6, {}),
}


def made(factory: str = "Flat", **settings: object) -> Faiss:
    index = Faiss(FaissConfig(factory=factory, **{"train_size": 600, **settings}), dim=DIM)
    for begin in range(0, 2000, 300):
        index.add(ROWS[begin : begin + 300], VECTORS[begin : begin + 300])
    return index


@functools.cache
def searched(factory: str) -> Faiss:
    """Build an index with the settings that promise its recall; only to be searched."""
    return made(factory, search=FACTORIES[factory][1])


def brute_force(k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = QUERIES @ VECTORS.T
    order = np.lexsort((np.broadcast_to(ROWS, scores.shape), -scores), axis=1)[:, :k]
    return ROWS[order], np.take_along_axis(scores, order, axis=1)


def by_row(hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(hits.rows, axis=1, kind="stable")
    return tuple(np.take_along_axis(each, order, axis=1) for each in (hits.rows, hits.scores))


def test_it_meets_the_contract() -> None:
    assert isinstance(made(), Index)


@pytest.mark.parametrize("factory", ["PQ8x4", "IVF4,PQ8x4", "SQ8,Refine(PQ8x4)"])
def test_codes_are_ordered_for_the_parameter_that_uses_their_order_alone(factory: str) -> None:
    """The order takes most of the training time, and changes no score."""
    ordered = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    unordered = make(factory, DIM)
    tune(unordered, factory, {})
    for index in (ordered, unordered):
        index.train(VECTORS[:600])
    ordered.add(VECTORS)
    unordered.add_with_ids(VECTORS, np.arange(2000))
    expected, scores = (index.search(QUERIES, 10)[0] for index in (ordered, unordered))
    assert np.array_equal(scores, expected)
    above = core(unordered)
    quantizer = faiss.downcast_index(getattr(above, "refine_index", above))
    assert not quantizer.do_polysemous_training


def test_codes_are_ordered_where_the_parameter_is_set() -> None:
    index = make("IVF4,PQ8x4", DIM)
    tune(index, "IVF4,PQ8x4", {"ht": 20})
    assert core(index).do_polysemous_training


@pytest.mark.parametrize("k", [1, 10, 250])
def test_flat_is_brute_force(k: int) -> None:
    rows, scores = brute_force(k)
    hits = made().search(QUERIES, k)
    assert np.array_equal(hits.rows, rows)
    np.testing.assert_allclose(hits.scores, scores, atol=1e-5)


@pytest.mark.parametrize("factory", FACTORIES)
def test_recall_is_what_is_declared(factory: str) -> None:
    recall, _ = FACTORIES[factory]
    expected, _ = brute_force(10)
    hits = searched(factory).search(QUERIES, 10)
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits.rows, expected, strict=True)])
    assert found >= recall


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("factory", FACTORIES)
def test_loading_gives_what_was_saved(factory: str, mmap: bool, tmp_path: Path) -> None:
    index = searched(factory)
    index.save(tmp_path)
    config = FaissConfig(factory=factory, search=FACTORIES[factory][1])
    loaded = Faiss.load(tmp_path, config, mmap=mmap)
    before, after = index.search(QUERIES, 7), loaded.search(QUERIES, 7)
    assert len(loaded) == len(index) == 2000
    assert loaded.capabilities == index.capabilities
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.scores, after.scores)


def test_search_settings_may_change_after_building(tmp_path: Path) -> None:
    made("IVF16,Flat").save(tmp_path)
    config = FaissConfig(factory="IVF16,Flat", search={"nprobe": 16})
    rows, _ = brute_force(10)
    assert np.array_equal(Faiss.load(tmp_path, config).search(QUERIES, 10).rows, rows)


@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat", "HNSW32"])
def test_a_loaded_index_takes_more(factory: str, tmp_path: Path) -> None:
    made(factory).save(tmp_path)
    loaded = Faiss.load(tmp_path, FaissConfig(factory=factory), mmap=True)
    # Longer than all others, so that it is nearest by inner product.
    loaded.add(np.array([7]), 9 * QUERIES[:1])
    assert len(loaded) == 2001
    assert loaded.search(QUERIES[:1], 1).rows.tolist() == [[7]]
    again = Faiss.load(tmp_path, FaissConfig(factory=factory))
    assert len(again) == 2000


def test_search_parameters_outlive_a_change_to_a_mapped_index(tmp_path: Path) -> None:
    made("IVF16,Flat").save(tmp_path)
    config = FaissConfig(factory="IVF16,Flat", search={"nprobe": 16})
    loaded = Faiss.load(tmp_path, config, mmap=True)
    loaded.remove(ROWS[:1])
    loaded.add(ROWS[:1], VECTORS[:1])
    rows, _ = brute_force(10)
    assert np.array_equal(loaded.search(QUERIES, 10).rows, rows)


def test_k_beyond_the_rows_gives_missing_hits() -> None:
    index = Faiss(FaissConfig(), dim=DIM)
    index.add(np.array([4, 2, 9]), VECTORS[:3])
    hits = index.search(VECTORS[:2], 5)
    assert sorted(hits.rows[0, :3].tolist()) == [2, 4, 9]
    assert (hits.rows[:, 3:] == -1).all()
    assert np.isneginf(hits.scores[:, 3:]).all()


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IVF16,Flat"])
def test_an_empty_index_finds_nothing_and_can_be_saved(factory: str, tmp_path: Path) -> None:
    index = Faiss(FaissConfig(factory=factory), dim=DIM)
    assert (index.search(QUERIES, 2).rows == -1).all()
    index.save(tmp_path)
    loaded = Faiss.load(tmp_path, FaissConfig(factory=factory))
    assert len(loaded) == 0
    assert (loaded.search(QUERIES, 2).rows == -1).all()


@pytest.mark.parametrize("k", [1, 3, 5, 40])
def test_ties_are_ordered_by_row_even_at_the_edge(k: int) -> None:
    index = Faiss(FaissConfig(), dim=DIM)
    rows = RANDOM.permutation(100)
    index.add(rows, np.repeat(VECTORS[:2], 50, axis=0))
    near, far = np.sort(rows[:50]), np.sort(rows[50:])
    expected = np.concatenate([near, far])[:k]
    assert index.search(VECTORS[:1], k).rows[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "factory", ["Flat", "SQ8", "PQ8x4", "RaBitQ", "IVF16,Flat", "IVF16,RaBitQ", "PCA24,Flat"]
)
def test_removed_rows_are_found_no_more(factory: str, tmp_path: Path) -> None:
    index = made(factory)
    everything = index.search(QUERIES, 2000)
    best = np.unique(everything.rows[:, 0])
    index.remove(best)
    assert len(index) == 2000 - len(set(best))
    assert not np.isin(index.search(QUERIES, 20).rows, best).any()
    index.add(best, VECTORS[[int(np.flatnonzero(row == ROWS)[0]) for row in best]])
    for before, after in zip(by_row(everything), by_row(index.search(QUERIES, 2000)), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)
    index.remove(best)
    index.save(tmp_path)
    loaded = Faiss.load(tmp_path, FaissConfig(factory=factory))
    assert np.array_equal(loaded.search(QUERIES, 5).rows, index.search(QUERIES, 5).rows)


def test_removing_from_a_graph_is_refused_before_anything_is_touched() -> None:
    index = made("HNSW32")
    before = index.search(QUERIES, 5)
    with pytest.raises(UnsupportedOperation, match=r"'faiss' \(HNSW32\) does not support 'remove'"):
        index.remove(ROWS[:3])
    assert np.array_equal(index.search(QUERIES, 5).rows, before.rows)
    assert len(index) == 2000


@pytest.mark.parametrize("factory", ["PQ8x4fs", "IVF16,PQ8x4fs", "SQ8,RFlat"])
def test_removing_is_refused_where_faiss_would_go_wrong(factory: str) -> None:
    index = Faiss(FaissConfig(factory=factory), dim=DIM)
    with pytest.raises(UnsupportedOperation, match="remove"):
        index.remove(ROWS[:3])


def test_a_row_that_is_not_there_cannot_be_removed() -> None:
    index = made()
    with pytest.raises(ComponentError, match="row 4 is not there"):
        index.remove(np.array([ROWS[0], 4]))
    assert len(index) == 2000


@pytest.mark.parametrize(
    "factory",
    [
        "Flat",
        "SQ8",
        "RaBitQ",
        "IVF16,Flat",
        "IVF16,PQ8x4",
        "IVF16,SQ8",
        "IVF16,RaBitQ",
        "IVF16,PQ8x4fs",
        "IVF16,RaBitQfs",
        "IVF16_HNSW8,Flat",
        "PCA24,Flat",
        "PCA24,IVF16,SQ8",
    ],
)
def test_allowed_restricts_the_search(factory: str) -> None:
    index = made(factory, search={"nprobe": 3} if "IVF" in factory else {})
    everything = index.search(QUERIES, 2000)
    allowed = np.sort(ROWS)[::7]
    some = index.search(QUERIES, 20, allowed=allowed)
    for row in range(len(QUERIES)):
        kept = np.isin(everything.rows[row], allowed)
        assert np.isin(some.rows[row], [*allowed, -1]).all()
        # Short codes tie, and at the edge FAISS keeps any of those that do.
        found = everything.scores[row][kept][:20]
        assert np.array_equal(some.scores[row, : len(found)], found)


@pytest.mark.parametrize(
    ("factory", "search"),
    [
        ("HNSW16", {"efSearch": 1}),
        ("PCA24,HNSW16", {"efSearch": 1}),
        ("PQ8x4,RFlat", {"k_factor_rf": 20}),
        ("PQ8x4,Refine(SQ8)", {"k_factor_rf": 20}),
        ("IVF16,Flat,RFlat", {"nprobe": 5}),
        ("IVF16_HNSW8,Flat", {"nprobe": 5}),
    ],
)
def test_search_parameters_reach_what_is_inside(
    factory: str, search: dict[str, int], tmp_path: Path
) -> None:
    plain, tuned = made(factory), made(factory, search=search)
    assert any(
        not np.array_equal(plain.search(QUERIES, k).scores, tuned.search(QUERIES, k).scores)
        for k in (1, 50)
    )
    plain.save(tmp_path)
    loaded = Faiss.load(tmp_path, FaissConfig(factory=factory, search=search))
    for k in (1, 50):
        assert np.array_equal(loaded.search(QUERIES, k).scores, tuned.search(QUERIES, k).scores)


@pytest.mark.parametrize("mmap", [True, False])
def test_rows_that_are_not_as_many_as_vectors_are_refused(mmap: bool, tmp_path: Path) -> None:
    made().save(tmp_path)
    np.save(tmp_path / "rows.npy", np.sort(ROWS)[:-1])
    with pytest.raises(StoreCorruptError, match=r"2000 vectors and .* 1999 rows"):
        Faiss.load(tmp_path, FaissConfig(), mmap=mmap)


@pytest.mark.parametrize("name", ["faiss.json", "rows.npy"])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, name: str) -> None:
    made().save(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(StoreCorruptError, match=rf"{name} cannot be read"):
        Faiss.load(tmp_path, FaissConfig())
    (tmp_path / name).unlink()
    with pytest.raises(StoreCorruptError, match=rf"{name} cannot be read"):
        Faiss.load(tmp_path, FaissConfig())


def test_a_change_that_failed_halfway_is_noticed(tmp_path: Path) -> None:
    index = made()
    index._index.add_with_ids(VECTORS[:1], np.array([1]))
    for use in (
        lambda: index.search(QUERIES, 1),
        lambda: index.remove(ROWS[:1]),
        lambda: index.save(tmp_path),
    ):
        with pytest.raises(ComponentError, match="2001 vectors for 2000 rows"):
            use()
    assert not list(tmp_path.iterdir())


def test_filtering_short_codes_is_refused() -> None:
    with pytest.raises(UnsupportedOperation, match="filter"):
        made("PQ4x4").search(QUERIES, 2, allowed=ROWS[:5])


@pytest.mark.parametrize(
    "factory",
    [
        "HNSW16",
        "HNSW16_SQ8",
        "PCA12,HNSW16",
        "HNSW16,Refine(SQ8)",
        "HNSW16,Refine(PQ4x4)",
        "IVF32,Flat",
        "PCA12,IVF32,Flat",
        "IVF16_HNSW4,SQ8",
        "IVF32,PQ4x4fs",
        "IVF32,PQ4x4fs,Refine(SQ8)",
        "PQ4x4fs,RFlat",
        "PQ4x4fs",
    ],
)
def test_every_search_finds_k_hits_if_there_are_so_many(factory: str) -> None:
    index = made(factory)
    sizes = [None, 1, 3, 40, 1500, 2000] if "filter" in index.capabilities else [None]
    for size in sizes:
        allowed = None if size is None else np.random.default_rng(4).permutation(ROWS)[:size]
        for k in (1, 7, 600, 2000):
            rows = index.search(QUERIES, k, allowed=allowed).rows
            expected = min(k, 2000 if size is None else size)
            assert ((rows >= 0).sum(axis=1) == expected).all(), (size, k)
            if allowed is not None:
                assert np.isin(rows[rows >= 0], allowed).all()


@pytest.mark.parametrize("factory", ["HNSW16", "IVF32,Flat", "HNSW16,RFlat"])
def test_few_allowed_rows_are_compared_exactly(factory: str) -> None:
    flat, index = made(), made(factory)
    index.remove(ROWS[:5]) if "remove" in index.capabilities else None
    allowed = ROWS[5:800:9]
    expected = flat.search(QUERIES, 10, allowed=allowed)
    hits = index.search(QUERIES, 10, allowed=allowed)
    assert np.array_equal(hits.rows, expected.rows)
    np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-5)


def test_training_begins_when_there_is_enough() -> None:
    small = made("IVF16,Flat", train_size=2000, search={"nprobe": 16})
    assert small._index.is_trained
    assert len(small) == 2000
    rows, _ = brute_force(10)
    assert np.array_equal(small.search(QUERIES, 10).rows, rows)


@pytest.mark.parametrize(
    ("factory", "most"),
    [
        ("Flat", 2000),
        ("IVF32,Flat", 2000),
        ("HNSW16", 16),
        ("PCA24,HNSW16", 16),
        ("HNSW16,Refine(SQ8)", 0),
    ],
)
def test_a_search_is_widened_only_beyond_its_graphs_width(factory: str, most: int) -> None:
    index = made(factory)
    assert min(enough(index._index), 2000) == most
    assert all(wide(index._index, k) is None for k in range(1, most + 1))
    if factory.endswith("HNSW16"):
        assert wide(index._index, most + 1) is not None


def test_a_search_after_a_change_finds_what_is_there_now() -> None:
    index = Faiss(FaissConfig(factory="HNSW16"), dim=DIM)
    for end in (50, 700, 2000):
        index.add(np.arange(len(index), end), VECTORS[len(index) : end])
        k = end - 1
        hits = index.search(VECTORS[end - 1 : end], k)
        assert hits.rows[0, 0] == end - 1
        assert (hits.rows >= 0).all()


def test_too_few_vectors_to_train_on_say_how_many_are_needed() -> None:
    index = Faiss(FaissConfig(factory="IVF16,Flat"), dim=DIM)
    index.add(ROWS[:9], VECTORS[:9])
    with pytest.raises(ConfigError, match="trained on 9 vectors: it needs at least 16"):
        index.search(QUERIES, 1)
    index.add(ROWS[9:99], VECTORS[9:99])
    assert (index.search(QUERIES, 1).rows >= 0).all()


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Flatt", "'Flatt'.*could not parse index string"),
        ("PQ7", "'PQ7'.*multiple of the number of subquantizers"),
        ("IDMap,Flat", "leave it out"),
        ("", "could not parse"),
        ("LSH", "for inner products"),
        ("HNSW16_PQ8", "by distance"),
        ("HNSW16_PQ8,RFlat", "by distance"),
        ("NSG16", "all its vectors in one call"),
        ("PCA16,NSG16", "all its vectors in one call"),
    ],
)
def test_a_factory_that_cannot_be_is_refused(factory: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Faiss(FaissConfig(factory=factory), dim=DIM)


def test_an_unknown_search_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"HNSW32\) has no search parameter 'efSerch'"):
        made("HNSW32", search={"efSerch": 9})


def test_another_factory_than_it_was_built_with_is_refused(tmp_path: Path) -> None:
    made().save(tmp_path)
    with pytest.raises(MemoryMismatchError, match=r"'Flat'.*'HNSW32'"):
        Faiss.load(tmp_path, FaissConfig(factory="HNSW32"))


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    made().save(tmp_path)
    path = tmp_path / "index.faiss"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreCorruptError, match="cannot be read"):
        Faiss.load(tmp_path, FaissConfig(), mmap=False)


@pytest.mark.parametrize(
    ("rows", "vectors", "message"),
    [
        ([int(ROWS[0])], VECTORS[:1], "already there"),
        ([7, 7], VECTORS[:2], "twice"),
        ([-1], VECTORS[:1], "negative"),
        ([1, 2], VECTORS[:1], "one row for each"),
        ([1], VECTORS[:1, :5], "32 dimensions"),
        ([1], VECTORS[:1] * np.nan, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(rows: list[int], vectors: np.ndarray, message: str) -> None:
    index = made()
    with pytest.raises(ComponentError, match=message):
        index.add(np.array(rows), vectors)
    assert len(index) == 2000


def test_no_hits_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(ComponentError, match="ask for 1 or more"):
        made().search(QUERIES, 0)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "IVF16,Flat"])
def test_threads_that_search_at_once_find_the_same(factory: str) -> None:
    index = searched(factory)
    expected = index.search(QUERIES, 10).rows
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(
            target=lambda: found.extend(index.search(QUERIES, 10).rows for _ in range(10))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(np.array_equal(rows, expected) for rows in found)


SUCCEEDED = ("Flat", "HNSW32", "IVF16,Flat", "PQ8x4", "PQ8x4fs", "PCA24,IVF16,SQ8", "SQ8,RFlat")


@pytest.mark.parametrize("mmap", [True, False, None])
@pytest.mark.parametrize("factory", SUCCEEDED)
def test_a_successor_is_empty_and_scores_as_the_one_before(
    factory: str, mmap: bool | None, tmp_path: Path
) -> None:
    # Searched through and through, so that every vector is met.
    search = {"nprobe": 16} if "IVF" in factory else {"efSearch": 2000} if "HNSW" in factory else {}
    index = made(factory, search=search)
    before = index.search(QUERIES, 50)
    if mmap is not None:
        index.save(tmp_path)
        index = Faiss.load(tmp_path, FaissConfig(factory=factory, search=search), mmap=mmap)
    spawn_empty = index.spawn_empty()
    assert len(spawn_empty) == 0
    assert (spawn_empty.search(QUERIES, 3).rows == -1).all()
    # A handful, on which nothing could be trained.
    few = before.rows[:, 0]
    numbers = np.flatnonzero(np.isin(ROWS, few))
    spawn_empty.add(ROWS[numbers], VECTORS[numbers])
    hits = spawn_empty.search(QUERIES, len(numbers))
    for at in range(len(QUERIES)):
        scores = dict(zip(hits.rows[at].tolist(), hits.scores[at].tolist(), strict=True))
        assert scores[int(few[at])] == pytest.approx(float(before.scores[at, 0]), abs=1e-5)
    assert len(index) == 2000
    assert np.array_equal(index.search(QUERIES, 50).rows, before.rows)


@pytest.mark.parametrize("factory", ["HNSW16", "IVF32,Flat", "PQ4x4", "HNSW16,Refine(SQ8)"])
def test_segments_with_hidden_rows_find_k_hits_if_there_are_so_many(
    factory: str, tmp_path: Path
) -> None:
    spec = ComponentSpec("index", "faiss", Faiss, FaissConfig(factory=factory))
    first = Segments(spec)
    first.add(ROWS[:1500], VECTORS[:1500])
    (tmp_path / "first").mkdir()
    count = first.save(tmp_path / "first")
    index = Segments.load(tmp_path / "first", spec, [0] * count, mmap=True)
    index.remove(ROWS[:700])
    index.add(ROWS[1500:], VECTORS[1500:])
    left = ROWS[700:]
    sizes = [None, 1, 30, 1000, 1300] if "filter" in index.capabilities else [None]
    for size in sizes:
        allowed = None if size is None else np.random.default_rng(4).permutation(left)[:size]
        for k in (1, 40, 1000, 1300):
            rows = index.search(QUERIES, k, allowed=allowed).rows
            expected = min(k, 1300 if size is None else size)
            assert ((rows >= 0).sum(axis=1) == expected).all(), (size, k)
            assert np.isin(rows[rows >= 0], left if allowed is None else allowed).all()


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("factory", ["Flat", "HNSW8"])
def test_hostile_bytes_are_refused_before_faiss_follows_them(
    factory: str, mmap: bool, tmp_path: Path
) -> None:
    """In a process of its own, since an unchecked number would end it."""
    script = """
import sys
from pathlib import Path
import numpy as np
from ragcore.errors import RagcoreError
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.index import Faiss
factory, mmap, folder = sys.argv[1], sys.argv[2] == "True", Path(sys.argv[3])
config = FaissConfig(factory=factory)
vectors = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
index = Faiss(config, dim=8)
index.add(np.arange(200) * 2, vectors)
index.save(folder)
path, rng = folder / "index.faiss", np.random.default_rng(1)
whole, refused = path.read_bytes(), 0
for attempt in range(120):
    data = bytearray(whole)
    offset = int(rng.integers(len(data) if attempt % 2 else 300)) // 4 * 4
    if attempt % 3:
        values = [0, 2**31 - 1, 2**32 - 1, 200, 10**6]
        data[offset : offset + 4] = values[attempt % 5].to_bytes(4, "little")
    else:
        data = data[:offset]
    path.write_bytes(bytes(data))
    try:
        loaded = Faiss.load(folder, config, mmap=mmap)
        loaded.search(vectors[:3], 5)
        loaded.search(vectors[:3], 200, allowed=np.arange(0, 300, 2))
    except RagcoreError:
        refused += 1
assert refused > 60, refused
print("survived")
"""
    command = [sys.executable, "-c", script, factory, str(mmap), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (run.returncode, run.stdout) == (0, "survived\n"), run.stderr[-2000:]


@pytest.mark.parametrize("length", [1.0, 1e-3, 1e-7, 1e-12])
@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "SQfp16", "IVF4,SQ8"])
def test_short_vectors_are_found(tmp_path: Path, factory: str, length: float) -> None:
    rng = np.random.default_rng(0)
    unit = rng.standard_normal((400, 16)).astype(np.float32)
    asked = rng.standard_normal((6, 16)).astype(np.float32)
    vectors, queries = unit * np.float32(length), asked * np.float32(length)
    config = Faiss.Config(factory=factory, search={"nprobe": 4} if "IVF" in factory else {})
    index = Faiss(config, dim=16)
    index.add(np.arange(300), vectors[:300])
    index.save(tmp_path)
    for opened in (index, Faiss.load(tmp_path, config), index.spawn_empty()):
        opened.add(np.arange(len(opened), 400), vectors[len(opened) :])
        hits = opened.search(queries, 10)
        products = np.einsum("bkd,bd->bk", vectors[hits.rows].astype(np.float64), queries)
        np.testing.assert_allclose(hits.scores, products, atol=0.5 * length**2)
        best = np.argsort(-(asked @ unit.T), axis=1)[:, :10]
        shares = [len(np.intersect1d(*pair)) for pair in zip(hits.rows, best, strict=True)]
        assert np.mean(shares) >= 9
        if factory == "Flat":
            assert opened.vectors(np.arange(400)).tobytes() == vectors.tobytes()
    record = json.loads((tmp_path / "faiss.json").read_text(encoding="utf-8"))
    # Files of ordinary vectors stay as they were, so that an older ragcore reads them.
    assert record["format"] == (1 if length == 1 else 2)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "SQfp16", "IVF4,SQfp16"])
@pytest.mark.parametrize("zeros", ["first", "among", "alone"])
def test_vectors_of_zeros_do_not_decide_the_scale(tmp_path: Path, factory: str, zeros: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 16)).astype(np.float32) * np.float32(1e-7)
    vectors[5 if zeros == "among" else 0] = 0
    config = Faiss.Config(factory=factory, search={"nprobe": 4} if "IVF" in factory else {})
    index = Faiss(config, dim=16)
    if zeros == "alone" and "IVF" not in factory:
        index.add(np.arange(1), vectors[:1])
        index.save(tmp_path)
        # An older ragcore reads it, too.
        assert json.loads((tmp_path / "faiss.json").read_text(encoding="utf-8"))["format"] == 1
        index = Faiss.load(tmp_path, config)
    elif zeros != "among":
        index.add(np.arange(1), vectors[:1])
    index.add(np.arange(len(index), 400), vectors[len(index) :])
    hits = index.search(vectors[10:30], 10)
    products = vectors[10:30].astype(np.float64) @ vectors.T
    best = np.argsort(-products, axis=1)[:, :10]
    shares = [len(np.intersect1d(*pair)) for pair in zip(hits.rows, best, strict=True)]
    assert np.mean(shares) >= 9
    np.testing.assert_allclose(
        hits.scores, np.take_along_axis(products, hits.rows, axis=1), atol=1e-16
    )


@pytest.mark.parametrize("factory", ["Flat", "HNSW32", "SQfp16", "HNSW32_SQfp16"])
@pytest.mark.parametrize("length", [1e-4, 1e-7, 1e-17])
def test_ordinary_vectors_after_short_ones_are_found_in_a_further_index(
    factory: str, length: float
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    short = Faiss(Faiss.Config(factory=factory), dim=16)
    short.add(np.arange(400), vectors * np.float32(length))
    further = short.spawn_empty()
    further.add(np.arange(400), vectors)
    hits = further.search(vectors[:20], 1)
    assert np.array_equal(hits.rows[:, 0], np.argmax(vectors[:20] @ vectors.T, axis=1))
    np.testing.assert_allclose(hits.scores[:, 0], (vectors[:20] @ vectors.T).max(axis=1), rtol=1e-2)


@pytest.mark.parametrize("factory", ["SQfp16", "IVF4,SQfp16", "PCA8,SQfp16", "SQfp16,RFlat"])
def test_a_vector_that_overflows_float16_is_refused_and_changes_nothing(factory: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    index = Faiss(Faiss.Config(factory=factory), dim=16)
    index.add(np.arange(400), vectors * np.float32(1e-7))
    before = index.search(vectors[:5], 3)
    with pytest.raises(ComponentError, match=r"multiplies all by 2\.09715e\+06.*build the memory"):
        index.add(np.arange(400, 800), vectors)
    after = index.search(vectors[:5], 3)
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.scores, after.scores)
    # Without a scale float16 has the same limit.
    plain = Faiss(Faiss.Config(factory=factory), dim=16)
    with pytest.raises(ComponentError, match="does not fit its float16"):
        plain.add(np.arange(400), vectors * np.float32(1e6))


def test_a_transform_that_makes_numbers_too_large_for_float16_is_refused() -> None:
    rng = np.random.default_rng(0)
    # Each number fits; along the direction that all share, their length does not.
    shared = rng.standard_normal((400, 1)).astype(np.float32) * np.ones((1, 16), np.float32)
    index = Faiss(Faiss.Config(factory="PCA8,SQfp16"), dim=16)
    index.add(np.arange(400), shared * np.float32(60_000 / np.abs(shared).max()))
    with pytest.raises(ComponentError, match="does not fit its float16"):
        index.search(shared[:1], 1)


@pytest.mark.parametrize("factory", ["Flat", "SQfp16"])
def test_an_index_whose_rows_are_all_removed_chooses_its_scale_again(factory: str) -> None:
    vectors = np.random.default_rng(0).standard_normal((100, 16)).astype(np.float32)
    for first, later in ((1.0, 1e-12), (1e-12, 1.0)):
        index = Faiss(Faiss.Config(factory=factory), dim=16)
        index.add(np.arange(100), vectors * np.float32(first))
        index.remove(np.arange(100))
        index.add(np.arange(100), vectors * np.float32(later))
        hits = index.search(vectors[:20], 1)
        assert np.array_equal(hits.rows[:, 0], np.argmax(vectors[:20] @ vectors.T, axis=1))


@pytest.mark.parametrize("mmap", [False, True])
def test_lists_of_product_codes_load_where_a_table_of_all_would_exceed_the_file(mmap, tmp_path):
    # FAISS would compute 128 lists x 4 codes x 256 products, which inner products never read.
    index = made("IVF128,PQ4np", train_size=2000)
    index.save(tmp_path)
    assert (tmp_path / "index.faiss").stat().st_size < 128 * 4 * 256 * 4 / 2
    loaded = Faiss.load(tmp_path, FaissConfig(factory="IVF128,PQ4np"), mmap=mmap)
    hits, expected = loaded.search(QUERIES, 5), index.search(QUERIES, 5)
    assert (hits.rows == expected.rows).all()
    assert (hits.scores == expected.scores).all()
