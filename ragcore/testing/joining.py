"""Laws of indexes that write saved ones as one (capability `join`).

Knows parts, shifts and hidden rows; knows nothing of how an index lays out its files.
"""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ragcore.contracts import SavedIndex
from ragcore.testing.data import World
from ragcore.testing.hits import CLOSE, well_formed
from ragcore.testing.search_suite import SearchSuite
from ragcore.testing.storing import digests_of
from ragcore.types import MISSING_ROW, Hits

__all__ = ["JoinLaws"]

_SHARES: Final = (0.25, 0.3, 1)
"""Where the parts end: of different sizes, and the last one the largest."""

_HIDDEN: Final = 3
"""One in so many rows of a part is left out, but of the second, which stays whole."""


class _Part(NamedTuple):
    """A saved part, and what it contains under the rows of the joined index."""

    saved: SavedIndex
    world: World

    def left(self) -> World:
        """Return what is not left out."""
        hidden = np.isin(self.world.rows - self.saved.shift, self.saved.hidden)
        return self.world.take(np.flatnonzero(~hidden))


class JoinLaws(SearchSuite):
    """Test `join`: indexes that were built and saved apart become one."""

    def test_joined_parts_answer_as_they_did(self, component: Any, tmp_path: Path) -> None:
        """A joined index has all rows that are not hidden, each with its part's score.

        Parts have shifts, and all but one have hidden rows. Capability `join`.

        Fix: compare `hidden` with the rows in the part's files, then add the part's `shift`; copy
        what a score depends on as it is, and nothing of the index that joins.
        """
        index, parts = self._parts(component, tmp_path)
        assert isinstance(index.joined_is_quicker, bool), "joined_is_quicker is no bool"
        before = [digests_of(part.saved.folder) for part in parts]
        joined = self._joined(component, index, parts, tmp_path / "joined")
        assert [digests_of(part.saved.folder) for part in parts] == before, "a part was changed"
        self._same_as(component, joined, parts)
        world = _together([part.left() for part in parts])
        if "vectors" in joined.capabilities:
            assert np.array_equal(joined.vectors(world.rows), world.items), (
                "the joined index returns other vectors than were added"
            )
        if "filter" in joined.capabilities:
            allowed = world.rows[::4]
            hits = self.search(joined, allowed=allowed)
            well_formed(hits, len(self.questions()), self.k, allowed)
        # A version may be deleted from which another one was derived.
        for part in parts:
            part.saved.folder.rename(part.saved.folder.with_name(f"{part.saved.folder.name}-away"))
        self.search(self.load(component, tmp_path / "joined"))

    def test_one_part_is_joined_without_its_hidden_rows(
        self, component: Any, tmp_path: Path
    ) -> None:
        """`join` of one part writes it without what is hidden, as a compaction asks for.

        Fix: leave rows out whatever the number of parts is. Capability `join`.
        """
        index, parts = self._parts(component, tmp_path)
        joined = self._joined(component, index, parts[:1], tmp_path / "joined")
        self._same_as(component, joined, parts[:1])

    def test_parts_that_are_not_joined_leave_nothing(self, component: Any, tmp_path: Path) -> None:
        """Of parts built apart, `join` makes what answers as they do, or writes nothing.

        Fix: compare what was trained before a file is opened, and return False where it differs.
        Capability `join`.
        """
        parts = []
        for number in range(2):
            world = World(
                np.arange(self.count, dtype=np.int64), self.items(self.count, seed=number)
            )
            index = self.filled(component, world)
            self.needs(index, "join")
            folder = self.saved(index, tmp_path / str(number))
            saved = SavedIndex(folder, number * self.count, np.zeros(0, np.int64))
            parts.append(_Part(saved, World(world.rows + saved.shift, world.items)))
        target = tmp_path / "joined"
        target.mkdir()
        if index.join([part.saved for part in parts], target):
            self._same_as(component, self.load(component, target), parts)
            return
        left = sorted(path.name for path in target.iterdir())
        assert not left, f"join returned False, and wrote {left}"

    def _parts(self, component: Any, folder: Path) -> tuple[Any, list[_Part]]:
        """Return an index that joins, with vectors of its own, and parts trained as it was."""
        world = self.world()
        index = self.filled(component, world)
        self.needs(index, "join")
        spawns = "spawn_empty" in index.capabilities
        parts, begin = [], 0
        for number, share in enumerate(_SHARES):
            end = round(share * self.count)
            own = world.take(slice(begin, end))
            begin = end
            shift = int(own.rows.min())
            part = index.spawn_empty() if spawns else self.empty(component)
            part.add(own.rows - shift, own.items)
            hidden = np.sort(own.rows[::_HIDDEN] - shift) if number != 1 else own.rows[:0]
            saved = SavedIndex(self.saved(part, folder / f"part-{number}"), shift, hidden)
            parts.append(_Part(saved, own))
        return index, parts

    def _joined(self, component: Any, index: Any, parts: Sequence[_Part], folder: Path) -> Any:
        """Join parts, and load the result."""
        folder.mkdir()
        if not index.join([part.saved for part in parts], folder):
            if not index.capabilities & {"exact", "spawn_empty"}:
                raise unittest.SkipTest("its parts cannot be trained alike")
            raise AssertionError("join refused parts that were trained alike")
        return self.load(component, folder)

    def _same_as(self, component: Any, joined: Any, parts: Sequence[_Part]) -> None:
        """Check that an index has the rows of parts, with their scores."""
        world = _together([part.left() for part in parts])
        assert len(joined) == len(world), f"it has {len(joined)} rows of {len(world)}"
        hits = self.search(joined, len(world))
        well_formed(hits, len(self.questions()), len(world), world.rows)
        actual = _scores(hits, world)
        for part in parts:
            left = part.left()
            alone = self.load(component, part.saved.folder)
            own = self.search(alone, len(alone))
            shift = part.saved.shift
            expected = _scores(own, World(left.rows - shift, left.items))
            scores = actual[:, np.searchsorted(np.sort(world.rows), np.sort(left.rows))]
            assert not np.isnan(scores).any(), (
                f"{int(np.isnan(scores).any(axis=0).sum())} rows of a part are not found"
            )
            within = CLOSE * max(1.0, float(np.abs(expected).max()))
            gap = float(np.abs(scores - expected).max())
            assert gap <= within, f"scores differ from those in the part by up to {gap:.2g}"


def _together(worlds: Sequence[World]) -> World:
    """Return all rows and items of several worlds as one."""
    rows = np.concatenate([world.rows for world in worlds])
    return World(rows, np.concatenate([world.items for world in worlds]))


def _scores(hits: Hits, world: World) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the scores of a world's rows, [B, n], by ascending row; NaN of those not found."""
    rows = np.sort(world.rows)
    scores = np.full((len(hits.rows), len(rows)), np.nan)
    for question, (found, values) in enumerate(zip(hits.rows, hits.scores, strict=True)):
        is_known = (found != MISSING_ROW) & np.isin(found, rows)
        scores[question, np.searchsorted(rows, found[is_known])] = values[is_known]
    return scores
