"""The journal of vectors: what was put is found again, and torn records are cut off."""

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
    opened = journal(tmp_path)
    for batch, vectors in zip(BATCHES, VECTORS, strict=True):
        opened.put(batch, vectors)
    return tmp_path


def recorded(opened: Journal) -> list[bool]:
    results = [opened.get(batch) for batch in BATCHES]
    for result, vectors in zip(results, VECTORS, strict=True):
        assert result is None or np.array_equal(result, vectors)
    return [result is not None for result in results]


def test_a_batch_is_found_immediately_and_after_opening_again(tmp_path: Path) -> None:
    opened = journal(tmp_path)
    assert (opened.passages, recorded(opened)) == (0, [False] * 4)
    assert list(tmp_path.iterdir()) == []
    opened.put(BATCHES[2], VECTORS[2])
    assert recorded(opened) == [False, False, True, False]
    again = journal(tmp_path)
    assert (again.passages, recorded(again)) == (3, [False, False, True, False])
    again.put(BATCHES[0], VECTORS[0])
    assert recorded(journal(tmp_path)) == [True, False, True, False]


def test_a_file_cut_anywhere_loses_only_the_torn_record(filled: Path) -> None:
    (path,) = filled.iterdir()
    whole = path.read_bytes()
    sizes = [16 + 4 + 16 + 4 * DIM * (b + 1) for b in range(4)]
    ends = np.cumsum(sizes)
    assert ends[-1] == len(whole)
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        opened = journal(filled)
        assert recorded(opened) == [bool(end <= size) for end in ends]
        # The torn end was cut off, so the next record is found.
        opened.put(BATCHES[3], VECTORS[3])
        assert recorded(journal(filled))[3]


def test_a_flipped_byte_loses_its_record_and_what_follows(filled: Path) -> None:
    (path,) = filled.iterdir()
    whole = path.read_bytes()
    ends = np.cumsum([16 + 4 + 16 + 4 * DIM * (b + 1) for b in range(4)])
    for offset in range(len(whole)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x80]) + whole[offset + 1 :])
        assert recorded(journal(filled)) == [bool(end <= offset) for end in ends]


def test_another_encoder_finds_nothing(filled: Path) -> None:
    assert recorded(journal(filled, "another")) == [False] * 4
    assert recorded(Journal(filled, "encoder", DIM)) == [True] * 4


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
    opened = journal(filled)
    assert opened.get([Passage("0-0", "t", "text 0")]) is not None
    assert opened.get([other]) is None
