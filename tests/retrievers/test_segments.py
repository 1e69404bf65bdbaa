"""Segments answer like one index built in one go, and share the files that did not change."""

from __future__ import annotations

import errno
import itertools
import os
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

from ragcore.contracts import SavedRetriever
from ragcore.disk import links
from ragcore.errors import ComponentError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense_files import DenseRecord, merge_saved
from ragcore.retrievers.flat import Exact
from ragcore.retrievers.segments import Segments
from ragcore.types import Hits

DIM = 4
# Few different numbers, so that scores tie.
VECTORS = np.random.default_rng(0).integers(-1, 2, (60, DIM)).astype(np.float32)
QUERIES = np.random.default_rng(1).integers(-2, 3, (5, DIM)).astype(np.float32)


class Plain(Exact):
    """Brute force with the least capabilities: no removing, no filtering, no vectors."""

    capabilities = frozenset({"add", "exact"})

    def remove(self, rows: Any) -> None:
        raise AssertionError("asked to remove, which it does not declare")

    def vectors(self, rows: Any) -> Any:
        raise AssertionError("asked for vectors, which it does not declare")


class Joinable(Plain):
    """An index that gives no vectors back, but of which saved ones are joined."""

    capabilities = frozenset({"add", "exact", "join", "mmap"})
    joined_is_quicker = True
    alike = True

    def join(self, parts: Any, folder: Path) -> bool:
        if not self.alike and len(parts) > 1:
            return False
        whole = Exact(Exact.Config(), dim=DIM)
        for part in parts:
            index = Exact.load(part.folder, Exact.Config())
            rows = np.setdiff1d(np.load(part.folder / "rows.npy"), part.hidden)
            whole.add(rows + part.shift, index.vectors(rows))
        whole.save(folder)
        return True


class Apart(Joinable):
    """An index whose parts were trained apart."""

    alike = False


class Returning(Exact):
    """An index of which others can only be built by its vectors."""

    capabilities = Exact.capabilities - {"join"}


class Following(Plain):
    """An index that must be spawned from the previous one, not built."""

    capabilities = frozenset({"add", "exact", "spawn_empty"})
    generation = 0

    def spawn_empty(self) -> Following:
        index = Following(Exact.Config(), dim=DIM)
        index.generation = self.generation + 1
        return index


def spec(index: type = Exact) -> ComponentSpec:
    return ComponentSpec("index", "own", index, Exact.Config())


def filled(rows: list[int], index: type = Exact) -> Segments:
    segments = Segments(spec(index))
    segments.add(np.array(rows, np.int64), VECTORS[rows])
    return segments


def assert_same(segments: Any, reference: Any, **options: Any) -> None:
    for k in (1, 3, 70):
        hits, expected = (index.search(QUERIES, k, **options) for index in (segments, reference))
        assert np.array_equal(hits.rows, expected.rows)
        assert np.array_equal(hits.scores, expected.scores)


def saved(segments: Segments, folder: Path, index: type = Exact, **options: Any) -> Segments:
    folder.mkdir()
    count = segments.save(folder)
    return Segments.load(folder, spec(index), (0,) * count, **{"mmap": True, **options})


@pytest.mark.parametrize("index", [Exact, Plain, Joinable, Apart, Returning])
def test_any_sequence_of_changes_answers_as_one_index(index: type, tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in itertools.count())

    class Changes(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.segments = Segments(spec(index))
            self.rows: set[int] = set()

        @rule(new=st.lists(st.integers(0, 59), min_size=1, max_size=20, unique=True))
        def add(self, new: list[int]) -> None:
            new = [row for row in new if row not in self.rows]
            self.segments.add(np.array(new, np.int64), VECTORS[new])
            self.rows |= set(new)

        @precondition(lambda self: self.rows)
        @rule(drawn=st.data())
        def remove(self, drawn: st.DataObject) -> None:
            removed = drawn.draw(st.sets(st.sampled_from(sorted(self.rows))))
            self.segments.remove(np.array(sorted(removed, reverse=True), np.int64))
            self.rows -= removed

        @rule(join=st.booleans())
        def compact(self, join: bool) -> None:
            stuck = any(len(each.hidden) and len(each) for each in self.segments._settled())
            is_possible = index is not Plain or not stuck
            assert self.segments.compact(join=join) is is_possible

        @rule(mmap=st.booleans())
        def save_and_load(self, mmap: bool) -> None:
            self.segments = saved(self.segments, next(folders), index, mmap=mmap)

        @rule(allowed=st.lists(st.integers(0, 59)))
        def search(self, allowed: list[int]) -> None:
            assert len(self.segments) == len(self.rows)
            expected = Exact(Exact.Config(), dim=DIM)
            rows = np.array(sorted(self.rows), np.int64)
            expected.add(rows, VECTORS[rows])
            assert_same(self.segments, expected)
            if index is Exact:
                assert_same(self.segments, expected, allowed=np.array(allowed, np.int64))

    run_state_machine_as_test(
        Changes, settings=settings(max_examples=40, stateful_step_count=15, deadline=None)
    )


def test_files_that_did_not_change_are_shared(tmp_path: Path) -> None:
    first = saved(filled([*range(50)]), tmp_path / "first")
    assert not (tmp_path / "first" / "index.rows.npy").exists()
    first.remove(np.array([3, 7]))
    first.add(np.array([52]), VECTORS[[52]])
    second = saved(first, tmp_path / "second")
    for name in ("index/vectors.npy", "index/rows.npy"):
        assert (tmp_path / "second" / name).samefile(tmp_path / "first" / name)
    assert not (tmp_path / "first" / "index.hidden.npy").exists()
    assert np.load(tmp_path / "second" / "index-1" / "rows.npy").tolist() == [52]
    assert_same(second, filled([row for row in range(53) if row not in (3, 7, 50, 51)]))


def test_segments_of_similar_size_are_joined(tmp_path: Path) -> None:
    segments = saved(filled([*range(30)]), tmp_path / "0")
    for version in range(1, 11):
        segments.add(np.array([29 + version]), VECTORS[[29 + version]])
        segments = saved(segments, tmp_path / str(version))
    # 30, then 10 in as few as sizes that at least double allow: 8 and 2 at most.
    sizes = [len(np.load(path)) for path in sorted((tmp_path / "10").glob("index*/rows.npy"))]
    assert sum(sizes) == 40
    assert len(sizes) <= 4
    assert_same(segments, filled([*range(40)]))


def test_large_segments_are_not_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 20)
    parts = []
    for number in range(3):
        rows = Segments(spec(Exact))
        rows.add(np.arange(15), VECTORS[15 * number : 15 * (number + 1)])
        (tmp_path / f"part-{number}").mkdir()
        rows.save(tmp_path / f"part-{number}")
        DenseRecord("own", (0,), {}).write(tmp_path / f"part-{number}")
        parts.append(SavedRetriever(tmp_path / f"part-{number}", 15 * number, 15))
    (tmp_path / "0").mkdir()
    merge_saved(parts, tmp_path / "0", spec())
    shifts = DenseRecord.read(tmp_path / "0").shifts
    segments = Segments.load(tmp_path / "0", spec(Exact), shifts, mmap=True)
    left = [*range(45)]
    # One row a version comes and one goes: of three large segments none is written again.
    for version in range(1, 13):
        segments.remove(np.array([left.pop(0)]))
        segments.add(np.array([44 + version]), VECTORS[[44 + version]])
        left.append(44 + version)
        (tmp_path / str(version)).mkdir()
        count = segments.save(tmp_path / str(version))
        segments = Segments.load(tmp_path / str(version), spec(Exact), segments.shifts, mmap=True)
        assert count <= 3 + 3
        assert_same(segments, filled(left))
    for number in (1, 2):
        for name in ("vectors.npy", "rows.npy"):
            file = f"index-{number}/{name}"
            # The first is gone meanwhile: more of its rows were removed than are left.
            moved = f"index{f'-{number - 1}' if number > 1 else ''}/{name}"
            newest = [tmp_path / "12" / each for each in (file, moved)]
            assert any(each.exists() and each.samefile(tmp_path / "0" / file) for each in newest)


def test_a_mostly_hidden_segment_is_rebuilt(tmp_path: Path) -> None:
    segments = saved(filled([*range(30)]), tmp_path / "0")
    segments.remove(np.arange(20))
    segments = saved(segments, tmp_path / "1")
    assert np.load(tmp_path / "1" / "index" / "rows.npy").tolist() == [*range(20, 30)]
    assert_same(segments, filled([*range(20, 30)]))


def test_segments_of_an_index_without_vectors_stay(tmp_path: Path) -> None:
    segments = saved(filled([*range(30)], Plain), tmp_path / "0", Plain)
    segments.add(np.array([30]), VECTORS[[30]])
    segments.remove(np.arange(25))
    saved(segments, tmp_path / "1", Plain)
    assert (tmp_path / "1/index/vectors.npy").samefile(tmp_path / "0/index/vectors.npy")


def test_a_new_segment_is_spawned_from_a_trained_index(tmp_path: Path) -> None:
    segments = filled([*range(30)], Following)
    segments = saved(segments, tmp_path / "0", Following)
    segments.add(np.array([30]), VECTORS[[30]])
    (_, last) = segments._segments
    assert isinstance(last.index, Following)
    assert last.index.generation == 1


def test_all_may_be_removed(tmp_path: Path) -> None:
    segments = saved(filled([1, 2]), tmp_path / "0")
    segments.remove(np.array([2, 1]))
    assert len(segments) == 0
    assert (saved(segments, tmp_path / "1").search(QUERIES, 2).rows == -1).all()


@pytest.mark.parametrize("rows", [[1, 9], [-1]])
def test_an_unknown_row_removes_none(tmp_path: Path, rows: list[int]) -> None:
    segments = saved(filled([1, 2]), tmp_path / "0")
    with pytest.raises(ComponentError, match=f"has no row {rows[-1]}: it cannot be removed"):
        segments.remove(np.array(rows))
    assert_same(segments, filled([1, 2]))


def test_a_row_of_any_segment_cannot_be_added_again(tmp_path: Path) -> None:
    segments = saved(filled([1, 2]), tmp_path / "0")
    segments.add(np.array([3]), VECTORS[[3]])
    for row in (1, 3):
        with pytest.raises(ComponentError, match=f"has row {row} already|already has row {row}"):
            segments.add(np.array([row]), VECTORS[[row]])
    assert_same(segments, filled([1, 2, 3]))


def test_hidden_rows_are_skipped_however_many_rank_first() -> None:
    segments = filled([*range(60)])
    ranked = segments.search(QUERIES[:1], 60).rows[0]
    segments.remove(ranked[:20])
    for k in (1, 2, 30, 50):
        expected = [*ranked[20 : 20 + k], *[-1] * (k - 40)]
        assert segments.search(QUERIES[:1], k).rows[0].tolist() == expected


def test_deepening_stops_at_a_ranking_that_ends_early(tmp_path: Path) -> None:
    class Short(Plain):
        """Finds at most two rows, as an approximate index may."""

        def search(self, queries: Any, k: int, **options: Any) -> Hits:
            hits = super().search(queries, k, **options)
            hits.rows[:, 2:], hits.scores[:, 2:] = -1, -np.inf
            return hits

    segments = filled([*range(30)], Short)
    best = int(segments.search(QUERIES[:1], 1).rows[0, 0])
    segments.remove(np.array([best]))
    rows = segments.search(QUERIES[:1], 5).rows[0]
    assert best not in rows
    assert (rows >= 0).sum() == 1


def test_an_approximate_index_is_searched_deeper_where_its_ranking_ends() -> None:
    class Graph(Plain):
        """Finds half of the depth, as a graph that is searched more widely finds more."""

        capabilities = frozenset({"add"})

        def search(self, queries: Any, k: int, **options: Any) -> Hits:
            hits = super().search(queries, k, **options)
            reach = max(1, k // 2)
            hits.rows[:, reach:], hits.scores[:, reach:] = -1, -np.inf
            return hits

    segments = filled([*range(30)], Graph)
    ranked = filled([*range(30)]).search(QUERIES[:1], 30).rows[0]
    segments.remove(ranked[:1])
    assert segments.search(QUERIES[:1], 5).rows[0].tolist() == ranked[1:6].tolist()


def test_files_that_cannot_be_linked_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another disk")

    (tmp_path / "a").write_text("text")
    monkeypatch.setattr(os, "link", refuse)
    links.share(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "text"
    assert not (tmp_path / "b").samefile(tmp_path / "a")


def test_a_missing_file_is_an_error_and_not_copied(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        links.share(tmp_path / "a", tmp_path / "b")


def test_few_rows_are_merged_into_one(tmp_path: Path) -> None:
    together = merged(Exact, tmp_path, (20, 15, 25))
    assert together.shifts == [0]
    assert_same(together, filled([row for row in range(60) if row not in (1, 2, 21, 22, 36, 37)]))


def merged(index: type, folder: Path, sizes: tuple[int, ...]) -> Segments:
    """Merge parts of some sizes, of whose rows the second and the third was removed."""
    parts, first = [], 0
    for number, size in enumerate(sizes):
        segments = Segments(spec(index))
        segments.add(np.arange(size), VECTORS[first : first + size])
        target = folder / f"part-{number}"
        segments = saved(segments, target.with_name(f"whole-{number}"), index)
        segments.remove(np.array([1, 2]))
        target.mkdir(parents=True)
        segments.save(target)
        DenseRecord("own", (0,), {}).write(target)
        parts.append(SavedRetriever(target, first, size))
        first += size
    (folder / "merged").mkdir()
    merge_saved(parts, folder / "merged", spec(index))
    shifts = DenseRecord.read(folder / "merged").shifts
    return Segments.load(folder / "merged", spec(index), shifts, mmap=True)


@pytest.mark.parametrize(
    ("index", "segments"), [(Joinable, 1), (Apart, 3), (Exact, 3), (Returning, 3)]
)
def test_parts_that_are_quicker_joined_are_merged_into_one(
    index: type, segments: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 20)
    together = merged(index, tmp_path, (20, 15, 25))
    assert len(together.shifts) == segments
    left = [row for row in range(60) if row not in (1, 2, 21, 22, 36, 37)]
    assert len(together) == len(left)
    assert_same(together, filled(left))


@pytest.mark.parametrize("index", [Exact, Joinable, Apart, Plain, Returning])
def test_a_compaction_leaves_no_hidden_rows_and_one_segment(index: type, tmp_path: Path) -> None:
    segments = merged(index, tmp_path, (20, 15, 25))
    segments.remove(np.array([3, 50]))
    assert segments.compact(join=True) is (index is not Plain)
    compacted = saved_again(segments, tmp_path / "compacted", index)
    left = [row for row in range(60) if row not in (1, 2, 3, 21, 22, 36, 37, 50)]
    assert_same(compacted, filled(left))
    assert len(compacted.shifts) == (3 if index in (Apart, Plain) else 1)
    hidden = list((tmp_path / "compacted").glob("*.hidden.npy"))
    assert len(hidden) == (3 if index is Plain else 0)
    assert not (tmp_path / "compacted" / "parts").exists()


def saved_again(segments: Segments, folder: Path, index: type) -> Segments:
    folder.mkdir()
    segments.save(folder)
    return Segments.load(folder, spec(index), segments.shifts, mmap=True)


def test_a_large_segment_is_built_again_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 16)
    segments = merged(Returning, tmp_path, (30, 30))
    asked: list[int] = []
    vectors = Exact.vectors
    monkeypatch.setattr(
        Exact, "vectors", lambda index, rows: (asked.append(len(rows)), vectors(index, rows))[1]
    )
    assert segments.compact(join=True)
    compacted = saved_again(segments, tmp_path / "compacted", Returning)
    assert max(asked) <= 16
    left = [row for row in range(60) if row not in (1, 2, 31, 32)]
    assert_same(compacted, filled(left))
    # What was written is in use, not the files that the build needed.
    assert_same(segments, filled(left))


def test_hidden_rows_of_a_large_segment_stay_until_a_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = saved(filled([*range(60)]), tmp_path / "0")
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 20)
    segments.remove(np.arange(35))
    segments = saved(segments, tmp_path / "1")
    # 25 rows are left, more than an update writes again.
    assert (tmp_path / "1/index/vectors.npy").samefile(tmp_path / "0/index/vectors.npy")
    segments.remove(np.arange(35, 41))
    segments = saved(segments, tmp_path / "2")
    assert np.load(tmp_path / "2" / "index" / "rows.npy").tolist() == [*range(41, 60)]
    assert_same(segments, filled([*range(41, 60)]))


def test_a_removal_from_equal_large_segments_writes_no_vector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 20)
    segments = merged(Exact, tmp_path, (15, 15, 15, 15))
    segments.remove(np.array([40]))
    after = saved_again(segments, tmp_path / "after", Exact)
    for path in (tmp_path / "merged").glob("index*/*.npy"):
        assert (tmp_path / "after" / path.relative_to(tmp_path / "merged")).samefile(path)
    gone = (1, 2, 16, 17, 31, 32, 40, 46, 47)
    assert_same(after, filled([row for row in range(60) if row not in gone]))
