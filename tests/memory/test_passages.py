"""Passages on disk: what is written is read back by row, and broken files are refused."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import ComponentError, CorpusError, StoreCorruptError, StoreError
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.types import Passage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PASSAGES = st.builds(
    Passage, st.text(), st.text(), st.text(), st.dictionaries(st.text(), JSON, max_size=3)
)


def write(path: Path, passages: list[Passage]) -> Passages:
    with PassageWriter(path) as writer:
        writer.write(passages)
    return Passages(path)


def numbered(count: int, text: str = "text") -> list[Passage]:
    return [Passage(f"id{n}", f"title {n}", f"{text} {n}", {"n": n}) for n in range(count)]


@given(st.lists(PASSAGES, max_size=8))
def test_written_passages_are_read_back(written: list[Passage]) -> None:
    with TemporaryDirectory() as folder, write(Path(folder) / "p.arrow", written) as passages:
        assert len(passages) == len(written)
        assert list(passages) == written
        assert [passages[row] for row in range(len(written))] == written


def test_rows_continue_from_batch_to_batch(tmp_path: Path) -> None:
    written = numbered(9000)
    passages = write(tmp_path / "p.arrow", written)
    assert [len(batch) for batch in passages.batches()] == [4096, 4096, 808]
    rows = [8999, 0, 4095, 4096, 8191, 8192, 4096]
    assert passages.take(rows) == [written[row] for row in rows]


def test_long_texts_make_smaller_batches(tmp_path: Path) -> None:
    written = [Passage(str(n), "", "x" * 1_200_000) for n in range(10)]
    passages = write(tmp_path / "p.arrow", written)
    assert [len(batch) for batch in passages.batches()] == [4, 4, 2]
    assert passages.take([9, 4]) == [written[9], written[4]]


@pytest.mark.parametrize("row", [-1, 3])
def test_an_unknown_row_is_an_error(tmp_path: Path, row: int) -> None:
    passages = write(tmp_path / "p.arrow", numbered(3))
    with pytest.raises(ComponentError, match=f"row {row} .* has 3 passages.* from 0 to 2"):
        passages.take([0, row])


def test_an_id_leads_to_its_row(tmp_path: Path) -> None:
    passages = write(tmp_path / "p.arrow", numbered(9000))
    for row in (0, 4095, 4096, 8999):
        assert passages.row_of(f"id{row}") == row
    with pytest.raises(StoreError, match="'id9000'"):
        passages.row_of("id9000")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_several_files_read_as_one_without_removed_passages(
    sizes: list[int], drawn: st.DataObject
) -> None:
    whole = numbered(sum(sizes))
    with TemporaryDirectory() as folder:
        paths, start = [], 0
        for file, size in enumerate(sizes):
            paths.append(Path(folder) / f"{file}.arrow")
            write(paths[-1], whole[start : start + size])
            start += size
        kept = sorted(drawn.draw(st.sets(st.sampled_from(range(len(whole))))))
        remaining = [whole[number] for number in kept]
        with Passages(*paths, kept=np.array(kept, np.int64)) as passages:
            assert (len(passages), passages.stored) == (len(kept), len(whole))
            assert list(passages) == remaining == passages.take(range(len(remaining)))
            assert [fields["n"] for batch in passages.metadata() for fields in batch] == kept
            ids = [passage.id for passage in whole]
            assert passages.rows_of(ids) == {
                passage.id: row for row, passage in enumerate(remaining)
            }


@pytest.mark.parametrize("kept", [[0, 3], [-1, 2], [1, 1], [2, 1]])
def test_invalid_numbers_are_refused(tmp_path: Path, kept: list[int]) -> None:
    write(tmp_path / "p.arrow", numbered(3))
    with pytest.raises(StoreCorruptError, match=r"do not ascend within its 3 passages"):
        Passages(tmp_path / "p.arrow", kept=np.array(kept))


def test_a_changed_id_leads_to_the_new_passage(tmp_path: Path) -> None:
    write(tmp_path / "old.arrow", numbered(3))
    write(tmp_path / "new.arrow", [Passage("id1", "", "changed")])
    kept = np.array([0, 2, 3])
    passages = Passages(tmp_path / "old.arrow", tmp_path / "new.arrow", kept=kept)
    assert passages[passages.row_of("id1")].text == "changed"


def test_read_passages_stay_valid_after_closing(tmp_path: Path) -> None:
    passages = write(tmp_path / "p.arrow", numbered(3))
    passage = passages[1]
    passages.close()
    assert passage == numbered(3)[1]
    with pytest.raises(StoreError, match="closed"):
        passages.take([1])


def test_writing_has_one_batch_in_memory(tmp_path: Path) -> None:
    text = "word " * 1000
    with PassageWriter(tmp_path / "p.arrow") as writer:
        tracemalloc.start()
        for n in range(6000):
            writer.write([Passage(str(n), "", f"{text}{n}")])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "p.arrow").stat().st_size > 30_000_000
    assert peak < 10_000_000


def test_a_file_without_its_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.arrow"
    bad = Passage("bad", "", "", {"not": "JSON", "but": {1}})
    with pytest.raises(CorpusError), PassageWriter(path) as writer:
        writer.write([*numbered(5000), bad])
    with pytest.raises(StoreCorruptError, match=r"p\.arrow"):
        Passages(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreCorruptError, match=r"p\.arrow is missing"):
        Passages(tmp_path / "p.arrow")


def test_metadata_must_be_json(tmp_path: Path) -> None:
    with (
        pytest.raises(CorpusError, match=r"'a'.*metadata.*JSON"),
        PassageWriter(tmp_path / "p.arrow") as writer,
    ):
        writer.write([Passage("a", "", "text", {"when": object()})])


def test_a_lone_surrogate_is_named_with_its_passage(tmp_path: Path) -> None:
    written = [*numbered(2), Passage("bad", "", "half \ud83d")]
    with (
        pytest.raises(CorpusError, match=r"passage 3 \('bad'\): its text .* character 5"),
        PassageWriter(tmp_path / "p.arrow") as writer,
    ):
        writer.write(written)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1.0, {"x": math.nan}]])
def test_a_number_that_json_does_not_have_is_refused(tmp_path: Path, value: object) -> None:
    with (
        PassageWriter(tmp_path / "p.arrow") as writer,
        pytest.raises(CorpusError, match=r"'a'.*metadata.*write null"),
    ):
        writer.write([Passage("a", "", "text", {"price": value})])


def test_such_a_number_in_a_file_of_before_is_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = '{"price": NaN, "more": [Infinity, -Infinity, 1.5]}'
    monkeypatch.setattr("ragcore.memory.arrow.metadata_to_json", lambda passage: stored)
    with PassageWriter(tmp_path / "p.arrow") as writer:
        writer.write([Passage("a", "", "text", {"price": math.nan})])
    expected = {"price": None, "more": [None, None, 1.5]}
    with Passages(tmp_path / "p.arrow") as passages:
        assert passages[0].metadata == expected
        assert list(passages.metadata()) == [[expected]]
        assert passages.rows_of(["\ud800", "a"]) == {"a": 0}


@pytest.mark.parametrize("kept", [None, [0, 3, 4096, 4097, 8999]])
def test_ids_of_rows_are_those_of_the_passages(tmp_path, kept):
    with PassageWriter(tmp_path / "passages") as writer:
        writer.write(numbered(9000))
    numbers = None if kept is None else np.array(kept, np.int64)
    with Passages(tmp_path / "passages", kept=numbers) as passages:
        rows = np.array([4, 0, 2, 2, 1] if kept else [8999, 0, 4096, 0, 4095], np.int64)
        assert passages.ids(rows) == [each.id for each in passages.take(rows.tolist())]
        assert passages.ids(np.zeros(0, np.int64)) == []
