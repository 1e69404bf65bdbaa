from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragcore.retrievers.vector_journal import Journal
from ragcore.types import Passage

DIM = 3
BATCHES = [[Passage(f"{b}-{n}", "t", f"text {n}") for n in range(b + 1)] for b in range(4)]
VECTORS = [np.random.default_rng(b).standard_normal((b + 1, DIM)).astype("f4") for b in range(4)]


def journal(folder: Path, fingerprint: str = "encoder") -> Journal:
    return Journal(folder, fingerprint, DIM)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    made = journal(tmp_path)
    for batch, vectors in zip(BATCHES, VECTORS, strict=True):
        made.put(batch, vectors)
    return tmp_path


def found(made: Journal) -> list[bool]:
    held = [made.get(batch) for batch in BATCHES]
    for one, vectors in zip(held, VECTORS, strict=True):
        assert one is None or np.array_equal(one, vectors)
    return [one is not None for one in held]


def test_what_is_put_is_there_at_once_and_when_opened_again(tmp_path: Path) -> None:
    made = journal(tmp_path)
    assert (made.passages, found(made)) == (0, [False] * 4)
    assert list(tmp_path.iterdir()) == []
    made.put(BATCHES[2], VECTORS[2])
    assert found(made) == [False, False, True, False]
    again = journal(tmp_path)
    assert (again.passages, found(again)) == (3, [False, False, True, False])
    again.put(BATCHES[0], VECTORS[0])
    assert found(journal(tmp_path)) == [True, False, True, False]


def test_a_file_cut_anywhere_loses_only_what_is_cut(filled: Path) -> None:
    (path,) = filled.iterdir()
    whole = path.read_bytes()
    sizes = [16 + 4 + 16 + 4 * DIM * (b + 1) for b in range(4)]
    ends = np.cumsum(sizes)
    assert ends[-1] == len(whole)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        made = journal(filled)
        assert found(made) == [bool(end <= size) for end in ends]
        # What comes next is found again, the torn end being gone.
        made.put(BATCHES[3], VECTORS[3])
        assert found(journal(filled))[3]


def test_a_flipped_byte_loses_its_record_and_what_follows(filled: Path) -> None:
    (path,) = filled.iterdir()
    whole = path.read_bytes()
    ends = np.cumsum([16 + 4 + 16 + 4 * DIM * (b + 1) for b in range(4)])
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        assert found(journal(filled)) == [bool(end <= place) for end in ends]


def test_another_encoder_finds_nothing(filled: Path) -> None:
    assert found(journal(filled, "another")) == [False] * 4
    assert found(Journal(filled, "encoder", DIM)) == [True] * 4


@pytest.mark.parametrize(
    "other",
    [
        Passage("0-1", "t", "text 0"),
        Passage("0-0", "u", "text 0"),
        Passage("0-0", "t", "text"),
        Passage("0-0", "tt", "ext 0"),
        Passage("0-0", "t", "text 0", {"year": 2026}),
    ],
)
def test_another_passage_is_not_found(filled: Path, other: Passage) -> None:
    made = journal(filled)
    assert made.get([Passage("0-0", "t", "text 0")]) is not None
    assert made.get([other]) is None
