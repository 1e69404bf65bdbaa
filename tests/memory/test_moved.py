"""Metadata of passages that moved replace those in the passage files, wherever they are read."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import CorpusError, StoreCorruptError, StoreError
from ragcore.memory.moved import MovedRow, MovedWriter
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.types import Passage


def numbered(count: int) -> list[Passage]:
    return [Passage(f"id{n}", "", f"text {n}", {"line": n}) for n in range(count)]


def write_moved(path: Path, numbers: list[int]) -> Path:
    """Say of these passages that they are a thousand lines further down."""
    with MovedWriter(path) as writer:
        for number in numbers:
            writer.write(MovedRow.of(number, Passage("", "", "", {"line": number + 1000})))
    return path


def write_passages(folder: Path, count: int) -> Path:
    with PassageWriter(folder / "p.arrow") as writer:
        writer.write(numbered(count))
    return folder / "p.arrow"


@given(st.data())
def test_every_way_of_reading_gives_the_new_metadata(drawn: st.DataObject) -> None:
    sizes = drawn.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    count = sum(sizes)
    everything = list(range(count))
    kept = drawn.draw(st.none() | st.sets(st.sampled_from(everything)).map(sorted))
    present = everything if kept is None else kept
    moved = sorted(drawn.draw(st.sets(st.sampled_from(present)))) if present else []
    expected = [number + 1000 if number in moved else number for number in present]
    with TemporaryDirectory() as folder:
        whole, paths = numbered(count), []
        for file, size in enumerate(sizes):
            paths.append(Path(folder) / f"{file}.arrow")
            with PassageWriter(paths[-1]) as writer:
                writer.write([whole.pop(0) for _ in range(size)])
        with Passages(
            *paths,
            kept=None if kept is None else np.array(kept, np.int64),
            moved=write_moved(Path(folder) / "moved.arrow", moved),
        ) as passages:
            assert [each.metadata["line"] for each in passages] == expected
            assert [each["line"] for batch in passages.metadata() for each in batch] == expected
            rows = list(reversed(range(len(present))))
            lines = [each.metadata["line"] for each in passages.take(rows)]
            assert lines == list(reversed(expected))
            assert [each.id for each in passages] == [f"id{number}" for number in present]
            ids = [f"id{number}" for number in present]
            assert passages.rows_of(ids) == {name: row for row, name in enumerate(ids)}


def test_batches_of_both_files_need_not_fit(tmp_path: Path) -> None:
    path = write_passages(tmp_path, 10_000)
    moved = [n for n in range(10_000) if n % 3]
    kept = np.array([n for n in range(10_000) if n % 7])
    expected = [n + 1000 if n % 3 else n for n in kept.tolist()]
    moved_path = write_moved(tmp_path / "moved.arrow", [n for n in moved if n % 7])
    with Passages(path, kept=kept, moved=moved_path) as passages:
        assert [each.metadata["line"] for each in passages] == expected
        rows = np.random.default_rng(0).permutation(len(kept))[:500].tolist()
        lines = [each.metadata["line"] for each in passages.take(rows)]
        assert lines == [expected[row] for row in rows]


@pytest.mark.parametrize("numbers", [[-1], [5], [2, 1], [1, 1], [0, 3], [*range(5), 0]])
def test_numbers_of_no_passage_are_refused(tmp_path: Path, numbers: list[int]) -> None:
    path, moved = write_passages(tmp_path, 5), write_moved(tmp_path / "moved.arrow", numbers)
    with pytest.raises(StoreCorruptError, match=r"moved\.arrow lists passages .*5 are stored"):
        Passages(path, kept=np.array([0, 1, 2, 4]), moved=moved)


def test_numbers_ascend_from_batch_to_batch(tmp_path: Path) -> None:
    path = write_passages(tmp_path, 5000)
    moved = write_moved(tmp_path / "moved.arrow", [*range(1, 4097), 0])
    with pytest.raises(StoreCorruptError, match=r"do not ascend"):
        Passages(path, moved=moved)


@pytest.mark.parametrize(
    "columns",
    [
        {"number": pa.array([0, None]), "metadata": pa.array(["{}", "{}"])},
        {"number": pa.array([0, 1]), "metadata": pa.array(["{}", None])},
        {"number": pa.array([0, 1], pa.int32()), "metadata": pa.array(["{}", "{}"])},
        {"number": pa.array([0, 1])},
    ],
)
def test_another_file_is_refused(tmp_path: Path, columns: dict[str, pa.Array]) -> None:
    path, moved = write_passages(tmp_path, 5), write_moved(tmp_path / "moved.arrow", [0])
    schema = pa.ipc.open_file(str(moved)).schema
    batch = pa.record_batch(columns)
    if batch.schema.names == schema.names and batch.schema.types == schema.types:
        batch = pa.RecordBatch.from_arrays(batch.columns, schema=schema)
    with moved.open("wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(StoreCorruptError, match=r"moved\.arrow has .*: rebuild"):
        Passages(path, moved=moved)


def test_a_missing_or_cut_file_is_named(tmp_path: Path) -> None:
    path, moved = write_passages(tmp_path, 5), write_moved(tmp_path / "moved.arrow", [0])
    moved.write_bytes(moved.read_bytes()[:-20])
    with pytest.raises(StoreCorruptError, match=r"moved\.arrow cannot be read as metadata"):
        Passages(path, moved=moved)
    moved.unlink()
    with pytest.raises(StoreCorruptError, match=r"moved\.arrow is missing"):
        Passages(path, moved=moved)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"line": math.nan}, "'a'.*written as JSON"),
        ({"mtime": "\ud83d"}, r"'a'.*lone surrogate, '\\ud83d'"),
        ({"line": {1}}, "'a'.*written as JSON"),
    ],
)
def test_metadata_that_cannot_be_written_are_named(
    metadata: dict[str, object], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        MovedRow.of(0, Passage("a", "", "text", metadata))


def test_closed_passages_are_not_read_with_the_old_metadata(tmp_path: Path) -> None:
    path, moved = write_passages(tmp_path, 9000), write_moved(tmp_path / "m.arrow", [1, 8999])
    passages = Passages(path, moved=moved)
    batches = passages.batches()
    first = next(batches)
    passages.close()
    # What another thread has begun to read it reads to the end.
    rest = [passage for batch in batches for passage in batch]
    lines = {each.metadata["line"] for each in (first[1], rest[-1])}
    assert lines == {1001, 9999}
    with pytest.raises(StoreError, match="closed"):
        passages.take([1])


def test_neither_writing_nor_opening_holds_the_metadata(tmp_path: Path) -> None:
    path, text = write_passages(tmp_path, 5000), "x" * 4000
    tracemalloc.start()
    with MovedWriter(tmp_path / "moved.arrow") as writer:
        for number in range(5000):
            writer.write(MovedRow.of(number, Passage("", "", "", {"line": f"{text}{number}"})))
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    before = pa.total_allocated_bytes()
    with Passages(path, moved=tmp_path / "moved.arrow") as passages:
        assert pa.total_allocated_bytes() - before < 1_000_000
        assert passages[4999].metadata["line"] == f"{text}4999"
    assert (tmp_path / "moved.arrow").stat().st_size > 20_000_000
    assert written < 10_000_000
