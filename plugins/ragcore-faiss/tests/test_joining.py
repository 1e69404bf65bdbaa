"""Test that saved indexes are joined into the file that FAISS writes of one index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_faiss import joining
from ragcore_faiss.index import Faiss

from ragcore.contracts import SavedIndex
from ragcore.errors import ComponentError, MemoryMismatchError, UnsupportedOperation

DIM, COUNT = 16, 300
VECTORS = np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
NONE = np.zeros(0, np.int64)

JOINED = [
    *("Flat", "SQfp16", "SQ8", "PQ4x4", "OPQ4,PQ4x4", "RaBitQ"),
    *("IVF4,Flat", "IVF4,SQ8", "IVF4,PQ4x4", "IVF4,RaBitQ", "OPQ4,IVF4,PQ4x4"),
    *("IVF4_HNSW8,Flat", "IVF64,Flat"),
]
BY_BATCH = ["PCA8,Flat", "LSQ2x4", "IVF4,LSQ2x4"]
"""Factories whose codes depend on which vectors are added together, by rounding or by chance."""


def trained(factory: str) -> Faiss:
    """Return an empty index that was trained on all vectors."""
    index = Faiss(Faiss.Config(factory=factory, train_size=COUNT), dim=DIM)
    index.add(np.arange(COUNT), VECTORS)
    return index.spawn_empty()


def saved(index: Faiss, folder: Path, rows: np.ndarray, first: int = 0) -> Path:
    """Save an index of some rows, which count from `first` on in its files."""
    folder.mkdir(parents=True)
    part = index.spawn_empty()
    part.add(rows - first, VECTORS[rows])
    part.save(folder)
    return folder


@pytest.mark.parametrize("factory", JOINED)
def test_joined_files_are_those_of_one_index(factory: str, tmp_path: Path) -> None:
    index = trained(factory)
    parts = [
        SavedIndex(saved(index, tmp_path / str(rows[0]), rows, rows[0]), int(rows[0]), NONE)
        for rows in np.split(np.arange(COUNT), [10, 11, 150])
    ]
    whole, joined = saved(index, tmp_path / "whole", np.arange(COUNT)), tmp_path / "joined"
    joined.mkdir()
    assert index.join(parts, joined)
    for name in ("index.faiss", "rows.npy", "faiss.json"):
        assert (joined / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("factory", JOINED + BY_BATCH)
def test_a_vector_has_the_score_that_it_has_in_its_part(factory: str, tmp_path: Path) -> None:
    index = trained(factory)
    rows = np.split(np.arange(COUNT), [100])
    folders = [saved(index, tmp_path / str(n), part) for n, part in enumerate(rows)]
    (tmp_path / "joined").mkdir()
    assert index.join([SavedIndex(folder, 0, NONE) for folder in folders], tmp_path / "joined")
    hits = Faiss.load(tmp_path / "joined", index._config).search(QUERIES, COUNT)
    scores = np.take_along_axis(hits.scores, np.argsort(hits.rows, axis=1), axis=1)
    for part, folder in zip(rows, folders, strict=True):
        alone = Faiss.load(folder, index._config).search(QUERIES, len(part))
        expected = np.take_along_axis(alone.scores, np.argsort(alone.rows, axis=1), axis=1)
        assert np.allclose(scores[:, part], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF4,Flat", "OPQ4,IVF4,PQ4x4"])
def test_hidden_rows_are_left_out(factory: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    index = trained(factory)

    @settings(max_examples=25, deadline=None)
    @given(
        bounds=st.sets(st.integers(1, COUNT - 1), max_size=5),
        hidden=st.sets(st.integers(0, COUNT - 1), max_size=COUNT),
        seed=st.integers(0, 99),
    )
    def law(bounds: set[int], hidden: set[int], seed: int) -> None:
        folder = tmp_path_factory.mktemp("law")
        rows = np.random.default_rng(seed).permutation(COUNT)
        parts, left = [], []
        for number, part in enumerate(np.split(rows, sorted(bounds))):
            shows = [row for row in part.tolist() if row not in hidden]
            if shows:
                left += shows
                out = np.array(sorted(hidden & set(part.tolist())), np.int64)
                parts.append(SavedIndex(saved(index, folder / str(number), part), 0, out))
        if not parts:
            return
        (folder / "joined").mkdir()
        assert index.join(parts, folder / "joined")
        joined = Faiss.load(folder / "joined", index._config)
        whole = saved(index, folder / "whole", np.array(left))
        expected = Faiss.load(whole, index._config)
        for k in (1, 7, COUNT):
            hits, wanted = joined.search(QUERIES, k), expected.search(QUERIES, k)
            assert np.array_equal(hits.rows, wanted.rows)
            assert np.array_equal(hits.scores, wanted.scores)

    law()


def test_lists_that_are_mostly_empty_are_written_as_faiss_does(tmp_path: Path) -> None:
    index = trained("IVF64,Flat")
    parts = [SavedIndex(saved(index, tmp_path / str(n), np.array([n])), 0, NONE) for n in range(3)]
    whole, joined = saved(index, tmp_path / "whole", np.arange(3)), tmp_path / "joined"
    joined.mkdir()
    assert index.join(parts, joined)
    written = (joined / "index.faiss").read_bytes()
    assert b"sprs" in written
    assert written == (whole / "index.faiss").read_bytes()


@pytest.mark.parametrize("factory", ["SQ8", "PQ4x4", "IVF4,Flat", "RR8,IVF4,SQ8"])
def test_what_was_trained_apart_is_not_joined(factory: str, tmp_path: Path) -> None:
    parts = []
    for number, rows in enumerate(np.split(np.arange(COUNT), 2)):
        index = Faiss(Faiss.Config(factory=factory, train_size=COUNT), dim=DIM)
        index.add(rows, VECTORS[rows])
        (tmp_path / str(number)).mkdir()
        index.save(tmp_path / str(number))
        parts.append(SavedIndex(tmp_path / str(number), 0, NONE))
    joined = tmp_path / "joined"
    joined.mkdir()
    assert not index.join(parts, joined)
    assert not list(joined.iterdir())


def test_other_scales_are_not_joined(tmp_path: Path) -> None:
    parts = []
    for number, length in enumerate((1.0, 1e-30)):
        index = Faiss(Faiss.Config(factory="SQfp16"), dim=DIM)
        index.add(np.array([number]), VECTORS[:1] * np.float32(length))
        (tmp_path / str(number)).mkdir()
        index.save(tmp_path / str(number))
        parts.append(SavedIndex(tmp_path / str(number), 0, NONE))
    (tmp_path / "joined").mkdir()
    assert not index.join(parts, tmp_path / "joined")


@pytest.mark.parametrize("factory", ["HNSW8", "PQ4x4fs", "IVF4,PQ4x4fs", "Flat,RFlat"])
def test_graphs_and_packed_codes_cannot_be_joined(factory: str, tmp_path: Path) -> None:
    index = trained(factory)
    with pytest.raises(UnsupportedOperation, match="join"):
        index.join([], tmp_path)


def test_an_index_of_another_factory_is_refused(tmp_path: Path) -> None:
    part = SavedIndex(saved(trained("SQ8"), tmp_path / "part", np.arange(9)), 0, NONE)
    with pytest.raises(MemoryMismatchError, match="SQ8"):
        trained("Flat").join([part], tmp_path)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat"])
def test_a_layout_that_is_not_known_is_an_error(
    factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = trained(factory)
    part = SavedIndex(saved(index, tmp_path / "part", np.arange(9)), 0, NONE)
    serialize = joining.faiss.serialize_index
    later = lambda each: np.append(serialize(each), np.uint8(0))[1:][::-1]  # noqa: E731
    monkeypatch.setattr(joining.faiss, "serialize_index", later)
    (tmp_path / "joined").mkdir()
    with pytest.raises(ComponentError, match="not known"):
        index.join([part], tmp_path / "joined")
    assert not list((tmp_path / "joined").iterdir())
