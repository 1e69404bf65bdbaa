"""Segments' lists of rows, and the files of `exact`, whose bytes no `save` wrote are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ragcore.disk.arrays import save_array
from ragcore.errors import StoreCorruptError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.flat import Exact
from ragcore.retrievers.segments import Segments

SPEC = ComponentSpec("index", "exact", Exact, Exact.Config())
VECTORS = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One segment of the rows 1, 3, 5, …, of which 3 is hidden."""
    index = Segments(SPEC)
    index.add(np.arange(1, 17, 2), VECTORS)
    (tmp_path / "first").mkdir()
    index.save(tmp_path / "first")
    loaded = Segments.load(tmp_path / "first", SPEC, [0], mmap=False)
    loaded.remove(np.array([3]))
    (tmp_path / "second").mkdir()
    assert loaded.save(tmp_path / "second") == 1
    return tmp_path / "second"


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("index.rows.npy", [1, 3, 5, 7, 9, 11, 13], "lists 7 rows, but the index"),
        ("index.rows.npy", [3, 1, 5, 7, 9, 11, 13, 15], "do not ascend"),
        ("index.rows.npy", [1, 1, 5, 7, 9, 11, 13, 15], "twice"),
        ("index.rows.npy", [-1, 3, 5, 7, 9, 11, 13, 15], "do not ascend"),
        ("index.rows.npy", [[1, 3], [5, 7]], "no list of rows"),
        ("index.hidden.npy", [4], "hides a row that is not in the index"),
        ("index.hidden.npy", [3.0], "no list of rows"),
        ("index.hidden.npy", [5, 3], "do not ascend"),
    ],
)
def test_a_list_of_rows_that_cannot_be_is_refused(
    folder: Path, name: str, rows: list[object], message: str, mmap: bool
) -> None:
    save_array(folder / name, np.array(rows))
    with pytest.raises(StoreCorruptError, match=message):
        Segments.load(folder, SPEC, [0], mmap=mmap)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(folder: Path, value: float, mmap: bool) -> None:
    path = folder / "index" / "vectors.npy"
    vectors = np.load(path)
    vectors[5, 2] = value
    save_array(path, vectors)
    with pytest.raises(StoreCorruptError, match="a vector in it is not finite"):
        Segments.load(folder, SPEC, [0], mmap=mmap)


ATTACK = """
import sys
from pathlib import Path
import numpy as np
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.flat import Exact
from ragcore.retrievers.segments import Segments
from ragcore.testing.hostile import attack
spec = ComponentSpec("index", "exact", Exact, Exact.Config())
vectors = np.random.default_rng(0).standard_normal((90, 4)).astype(np.float32)
first, second = Path(sys.argv[1]) / "first", Path(sys.argv[1]) / "second"
first.mkdir(), second.mkdir()
index = Segments(spec)
index.add(np.arange(1, 121, 2), vectors[:60])
loaded = Segments.load(first, spec, [0] * index.save(first), mmap=False)
loaded.remove(np.arange(1, 21, 2))
loaded.add(np.arange(200, 220), vectors[60:80])
count = loaded.save(second)
assert count == 2
def use(folder):
    for mmap in (True, False):
        loaded = Segments.load(folder, spec, [0] * count, mmap=mmap)
        loaded.search(vectors[:2], 5)
        loaded.search(vectors[:2], 70)
        loaded.search(vectors[:2], 5, allowed=np.arange(0, 60))
        loaded.vectors(np.array([41, 201]))
        loaded.remove(np.array([41, 201]))
        loaded.add(np.array([1000]), vectors[:1])
        loaded.search(vectors[:2], 5)
outcomes = attack(second, use, count=80)
assert not outcomes.failures, outcomes.failures
assert outcomes.refused > 20, outcomes
"""


def test_no_bytes_end_in_another_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ATTACK, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
