"""Files whose bytes FAISS never wrote are refused, and those it wrote are read."""

from __future__ import annotations

import gc
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import faiss
import numpy as np
import pytest
from ragcore_faiss import structure
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.exhaustive import wide
from ragcore_faiss.index import Faiss

from ragcore.errors import ConfigError, StoreCorruptError

DIM = 16
VECTORS = np.random.default_rng(0).standard_normal((400, DIM)).astype(np.float32)
ROWS = np.arange(400) * 2
NAN = np.float32(np.nan).tobytes()

KINDS = [
    *("Flat", "SQ8", "SQfp16", "SQbf16", "PQ4x4", "PQ4x4fs", "RaBitQ", "RaBitQfs"),
    *("HNSW8", "HNSW8_SQ8", "HNSW8,RFlat", "SQ8,Refine(SQfp16)", "PQ4x4fs,RFlat"),
    *("IVF4,Flat", "IVF4,SQ8", "IVF4,PQ4x4", "IVF4,PQ4x4fs", "IVF4_HNSW8,Flat", "IVF4,RaBitQ"),
    *("PCA12,SQ8", "OPQ4_12,PQ4x4", "PCA12,IVF4,SQ8", "RR12,SQ4", "L2norm,Flat", "ITQ12,Flat"),
    *("RQ4x4", "IVF4,PQ4x4fs,RFlat", "Pad20,Flat"),
]


def saved(factory: str, folder: Path) -> Faiss:
    index = Faiss(FaissConfig(factory=factory), dim=DIM)
    index.add(ROWS, VECTORS)
    index.save(folder)
    return index


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("factory", KINDS)
def test_every_kind_is_read_as_it_was_written(factory: str, mmap: bool, tmp_path: Path) -> None:
    index = saved(factory, tmp_path)
    loaded = Faiss.load(tmp_path, FaissConfig(factory=factory), mmap=mmap)
    expected = index.search(VECTORS[:5], 7)
    assert np.array_equal(loaded.search(VECTORS[:5], 7).rows, expected.rows)
    # All of them: what a rounded search drops is decoded.
    scores = loaded.search(VECTORS[:2], 400).scores
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, index.search(VECTORS[:2], 400).scores, atol=1e-5)
    again = loaded.spawn_empty()
    again.add(ROWS[:3], VECTORS[:3])
    del index, loaded
    gc.collect()
    assert (again.search(VECTORS[:2], 3).rows >= 0).all()


def layer_of(index: Faiss) -> object:
    layer = faiss.downcast_index(index._index)
    while isinstance(layer, faiss.IndexIDMap | faiss.IndexPreTransform):
        layer = faiss.downcast_index(layer.index)
    return layer


def numbers_of(factory: str, index: Faiss) -> bytes:
    """Return some of the numbers that the file has in it."""
    layer = layer_of(index)
    if factory.startswith("OPQ"):
        chain = faiss.downcast_index(index._index.index).chain
        return faiss.vector_to_array(faiss.downcast_VectorTransform(chain.at(0)).A).tobytes()
    if "RFlat" in factory:
        return VECTORS[7].tobytes()
    if "PQ" in factory:
        return faiss.vector_to_array(layer.pq.centroids).tobytes()
    if "SQ8" in factory:
        return faiss.vector_to_array(layer.sq.trained).tobytes()
    if factory == "IVF4_HNSW8,Flat":
        quantizer = faiss.downcast_index(layer.quantizer)
        return quantizer.storage.reconstruct(0).tobytes()
    return VECTORS[7].tobytes()


@pytest.mark.parametrize(
    "factory",
    [
        *("Flat", "IVF4,Flat", "IVF4_HNSW8,Flat", "SQ8", "IVF4,SQ8", "PQ4x4", "IVF4,PQ4x4fs"),
        *("OPQ4_12,PQ4x4", "HNSW8", "HNSW8_SQ8", "SQ8,RFlat"),
    ],
)
def test_a_number_that_is_not_finite_is_refused(factory: str, tmp_path: Path) -> None:
    index = saved(factory, tmp_path)
    if "HNSW8_SQ8" in factory:
        storage = faiss.downcast_index(layer_of(index).storage)
        numbers = faiss.vector_to_array(storage.sq.trained).tobytes()
    else:
        numbers = numbers_of(factory, index)
    path = tmp_path / "index.faiss"
    content = path.read_bytes()
    offset = content.rindex(numbers)
    path.write_bytes(content[:offset] + NAN + content[offset + 4 :])
    with pytest.raises(StoreCorruptError, match="not finite"):
        Faiss.load(tmp_path, FaissConfig(factory=factory))


def test_numbers_of_half_the_size_are_finite_too(tmp_path: Path) -> None:
    saved("SQfp16", tmp_path)
    path = tmp_path / "index.faiss"
    content = path.read_bytes()
    offset = content.index(VECTORS[7].astype(np.float16).tobytes())
    path.write_bytes(content[:offset] + np.float16(np.inf).tobytes() + content[offset + 2 :])
    with pytest.raises(StoreCorruptError, match="a number of a vector is not finite"):
        Faiss.load(tmp_path, FaissConfig(factory="SQfp16"))


@pytest.mark.parametrize("factory", ["PQ4x4fs", "IVF4,PQ4x4fs", "IVF4,PQ4x4"])
def test_a_number_whose_products_overflow_is_refused(factory: str, tmp_path: Path) -> None:
    index = saved(factory, tmp_path)
    path = tmp_path / "index.faiss"
    content = path.read_bytes()
    offset = content.rindex(faiss.vector_to_array(layer_of(index).pq.centroids).tobytes())
    path.write_bytes(content[:offset] + np.float32(-3e38).tobytes() + content[offset + 4 :])
    with pytest.raises(StoreCorruptError, match="too large to multiply"):
        Faiss.load(tmp_path, FaissConfig(factory=factory))


@pytest.mark.parametrize("lists", [b"ilar", b"ilbl"])
def test_a_number_of_lists_does_not_fill_the_memory(lists: bytes, tmp_path: Path) -> None:
    factory = "IVF4,Flat" if lists == b"ilar" else "IVF4,PQ4x4fs"
    saved(factory, tmp_path)
    path = tmp_path / "index.faiss"
    content = path.read_bytes()
    offset = content.index(lists) + 4
    # 67 million lists would take three gigabytes.
    path.write_bytes(content[:offset] + (2**26).to_bytes(8, "little") + content[offset + 8 :])
    with pytest.raises(StoreCorruptError, match="limit"):
        Faiss.load(tmp_path, FaissConfig(factory=factory))


def test_a_refinement_asks_for_no_more_than_there_is(tmp_path: Path) -> None:
    index = saved("SQ8,RFlat", tmp_path)
    layer_of(index).k_factor = 1000
    index.save(tmp_path)
    loaded = Faiss.load(tmp_path, FaissConfig(factory="SQ8,RFlat"))
    assert loaded.search(VECTORS[:1], 100).rows[0, 0] == 0
    assert wide(layer_of(loaded), 100).k_factor == 4


@pytest.mark.parametrize("search_type", [1, 2, 3, 4, 5])
def test_a_search_that_fills_no_results_is_refused(search_type: int, tmp_path: Path) -> None:
    index = saved("PQ4x4", tmp_path)
    layer_of(index).search_type = search_type
    index.save(tmp_path)
    with pytest.raises(StoreCorruptError, match="by inner products"):
        Faiss.load(tmp_path, FaissConfig(factory="PQ4x4"))


def test_a_search_parameter_for_distances_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ht' makes FAISS compare distances"):
        Faiss(FaissConfig(factory="PQ4x4", search={"ht": 2}), dim=DIM)


def test_a_graph_asks_for_no_more_than_there_is(tmp_path: Path) -> None:
    index = saved("HNSW8", tmp_path)
    layer_of(index).hnsw.efSearch = 2**31 - 1
    index.save(tmp_path)
    loaded = Faiss.load(tmp_path, FaissConfig(factory="HNSW8"))
    assert layer_of(loaded).hnsw.efSearch <= 1 << 16
    assert loaded.search(VECTORS[:1], 3).rows[0, 0] == 0


ATTACK = """
import sys, tempfile
from pathlib import Path
import numpy as np
import faiss
from ragcore.testing.hostile import attack
from ragcore_faiss import structure
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.index import Faiss
faiss.omp_set_num_threads(1)
vectors = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
queries = vectors[:2]
for factory in sys.argv[1].split(";"):
    config = FaissConfig(factory=factory)
    index = Faiss(config, dim=16)
    index.add(np.arange(400) * 2, vectors)
    def use(folder):
        for mmap in (True, False):
            loaded = Faiss.load(folder, config, mmap=mmap)
            loaded.search(queries, 5)
            loaded.search(queries, 400)
            if "filter" in loaded.capabilities:
                loaded.search(queries, 9, allowed=np.arange(0, 300, 2))
            loaded.add(np.array([1001]), queries[:1])
            loaded.spawn_empty().add(np.array([1]), queries[:1])
            if "remove" in loaded.capabilities:
                loaded.remove(np.array([4]))
                loaded.search(queries, 5)
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        outcomes = attack(Path(folder), use, count=25, seed=5)
    assert not outcomes.failures, (factory, outcomes.failures)
    assert outcomes.refused > 8, (factory, outcomes)
"""


def test_no_bytes_crash_it() -> None:
    kinds = ["HNSW8_SQ8", "IVF4,Flat", "IVF4,PQ4x4fs", "OPQ4_12,PQ4x4", "PQ4x4fs,RFlat", "RaBitQ"]
    command = [sys.executable, "-c", ATTACK, ";".join(kinds)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.parametrize(("block", "refused"), [(0, True), (1, False), (2, True)])
def test_of_a_large_graph_samples_are_checked(
    block: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 3 * 4_096
    vectors = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
    config = FaissConfig(factory="HNSW4")
    index = Faiss(config, dim=4)
    index.add(np.arange(count), vectors)
    index.save(tmp_path)
    graph = layer_of(index).hnsw
    neighbors = faiss.vector_to_array(graph.neighbors)
    path = tmp_path / "index.faiss"
    content = path.read_bytes()
    start = content.index(neighbors.tobytes())
    # The first vector of the block that is in the second layer gets a neighbour there that is not.
    levels = faiss.vector_to_array(graph.levels)
    vector = block * 4_096 + int(np.flatnonzero(levels[block * 4_096 :] > 1)[0])
    offset = start + 4 * (graph.offsets.at(vector) + graph.cum_nneighbor_per_level.at(1))
    lowest = int(np.flatnonzero(levels == 1)[0])
    path.write_bytes(content[:offset] + lowest.to_bytes(4, "little") + content[offset + 4 :])
    with pytest.raises(StoreCorruptError, match="is not in the layer"):
        Faiss.load(tmp_path, config)
    # As if the neighbours were more than can be read at each opening.
    monkeypatch.setattr(structure, "WHOLE", neighbors.nbytes // 2 + 1)
    with pytest.raises(StoreCorruptError) if refused else nullcontext():
        Faiss.load(tmp_path, config)


@pytest.mark.parametrize(("number", "refused"), [(0, True), (1, False), (3, True)])
def test_of_many_large_lists_some_are_checked(
    number: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = saved("IVF4,Flat", tmp_path)
    lists = faiss.downcast_InvertedLists(layer_of(index).invlists)
    size = lists.list_size(number) * lists.code_size
    codes = faiss.rev_swig_ptr(lists.get_codes(number), size).tobytes()
    path = tmp_path / "index.faiss"
    content = path.read_bytes()
    offset = content.index(codes)
    path.write_bytes(content[:offset] + NAN + content[offset + 4 :])
    with pytest.raises(StoreCorruptError, match="not finite"):
        Faiss.load(tmp_path, FaissConfig(factory="IVF4,Flat"))
    monkeypatch.setattr(structure, "WHOLE", len(index) * lists.code_size // 2 + 1)
    with pytest.raises(StoreCorruptError) if refused else nullcontext():
        Faiss.load(tmp_path, FaissConfig(factory="IVF4,Flat"))
