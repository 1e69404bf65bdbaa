"""Files whose bytes no `save` wrote are refused; none ends in another error than ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ragcore_bm25.config import Bm25Config
from ragcore_bm25.retriever import Bm25

from ragcore import postings
from ragcore.disk.arrays import save_array
from ragcore.errors import StoreCorruptError
from ragcore.types import Passage

TEXTS = ["the river of Chad", "Chad and Mali", "a lake", "rivers, lakes and a lake"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    retriever = Bm25(Bm25Config())
    retriever.add(np.arange(4), [Passage(str(n), "Chad", text) for n, text in enumerate(TEXTS)])
    retriever.save(tmp_path)
    return tmp_path


def change(path: Path, position: int, value: float) -> None:
    array = np.load(path)
    array[position] = value
    save_array(path, array)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    ("name", "position", "value"),
    [
        ("positions", 0, 4),
        ("positions", -1, -1),
        ("frequencies", -1, 0),
        ("lengths", 0, -1),
        ("title_lengths", 0, -1),
        ("lengths", 0, 2**31 - 1),
        ("bounds", 1, 100),
        ("bounds", 0, 1),
        ("bounds", -1, 3),
        ("weights", 2, np.nan),
        ("floors", 0, np.inf),
        ("rows", 1, 0),
        ("rows", 1, -1),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    folder: Path, name: str, position: int, value: float, mmap: bool
) -> None:
    change(folder / f"{name}.npy", position, value)
    with pytest.raises(StoreCorruptError, match=r"\.npy cannot be read"):
        Bm25.load(folder, Bm25Config(), mmap=mmap)


@pytest.mark.parametrize(
    "name",
    [
        "positions",
        "frequencies",
        "titles",
        "lengths",
        "title_lengths",
        "bounds",
        "weights",
        "floors",
        "rows",
    ],
)
@pytest.mark.parametrize("kind", ["shorter", "float64", "square"])
def test_an_array_of_another_shape_is_refused(folder: Path, name: str, kind: str) -> None:
    path = folder / f"{name}.npy"
    array = np.load(path)
    changed = {
        "shorter": array[:-1],
        "float64": array.astype(np.float64),
        "square": array[None].repeat(2, axis=0),
    }
    save_array(path, changed[kind])
    with pytest.raises(StoreCorruptError):
        Bm25.load(folder, Bm25Config())


def test_terms_of_another_number_are_refused(folder: Path) -> None:
    (folder / "terms.json").write_text('["chad"]')
    with pytest.raises(StoreCorruptError, match="there are 1 terms"):
        Bm25.load(folder, Bm25Config())


def test_what_samples_did_not_show_is_refused_by_the_search(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder / "positions.npy", 0, 99)
    monkeypatch.setattr(postings, "samples", lambda array: iter(()))
    loaded = Bm25.load(folder, Bm25Config())
    with pytest.raises(StoreCorruptError, match="passage that does not exist"):
        loaded.search(["river chad mali lake"], 2)


ATTACK = """
import sys
from pathlib import Path
import numpy as np
from ragcore.testing.hostile import attack
from ragcore.types import Passage
from ragcore_bm25.config import Bm25Config
from ragcore_bm25.retriever import Bm25
words = [f"w{number}" for number in range(60)]
passages = [
    Passage(str(number), words[number % 60], " ".join(words[number % 7 : 50 : 3]))
    for number in range(80)
]
config = Bm25Config(variant="bm25l", stemmer=None)
retriever = Bm25(config)
retriever.add(np.arange(80), passages)
retriever.save(Path(sys.argv[1]))
def use(folder):
    for mmap in (True, False):
        loaded = Bm25.load(folder, config, mmap=mmap)
        loaded.search([" ".join(words)], 80)
        loaded.search(["w1 w2 w59", "w0"], 3, allowed=np.arange(0, 80, 3))
        loaded.remove(np.array([5]))
        loaded.add(np.array([1000]), passages[:1])
        loaded.search(["w1 w2"], 3)
outcomes = attack(Path(sys.argv[1]), use, count=80)
assert not outcomes.failures, outcomes.failures
assert outcomes.refused > 20, outcomes
"""


def test_no_bytes_end_in_another_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ATTACK, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
