"""Laws of size, for indexes and retrievers alike: many questions, many hits, many or large rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ragcore.testing.data import World, rows
from ragcore.testing.hits import agree, identical, well_formed
from ragcore.testing.search_suite import SearchSuite
from ragcore.types import MISSING_ROW, Hits

__all__ = ["SizeLaws"]

_BATCH: Final = 300
_ALONE: Final = (0, 7, 63, 64, 150, 255, 256, 299)
"""Questions of a large batch that are asked alone, too: near the ends of likely blocks."""

_DEEP: Final = 70
_MORE: Final = 150
_GROUPS: Final = 20
_OF_EACH: Final = 6
_BLOCKS: Final = 4
_LARGE_ROW: Final = 2**33


class SizeLaws(SearchSuite):
    """Test sizes at which arrays are split into blocks, or numbers no longer fit."""

    def test_a_large_batch_equals_single_questions(self, component: Any) -> None:
        """In a batch of 300, some asked twice, each question finds the same as alone.

        Fix: where you split a batch, search its last part too, and put hits in their question's
        place, not in the order in which they were ready.
        """
        subject = self.filled(component, self.world())
        order = np.random.default_rng(8).permutation(_BATCH)
        questions = World(order, self.many_questions(_BATCH)).take(order).items
        together = subject.search(questions, self.k)
        well_formed(together, _BATCH, self.k, self.world().rows)
        for number in _ALONE:
            alone = subject.search(questions[number : number + 1], self.k)
            agree(_single(together, number), alone, f"question {number} of {_BATCH} and alone")

    def test_rows_may_be_large_numbers(self, component: Any, tmp_path: Path) -> None:
        """Rows beyond 2**33 are found, filtered, saved and removed like small ones.

        Fix: use int64 for rows, in files too; neither float32, nor int32, nor an array that has a
        place for each row below the largest.
        """
        small = self.world()
        large = World(small.rows + _LARGE_ROW, small.items)
        subject, plain = self.filled(component, large), self.filled(component, small)
        loaded = self.load(component, self.saved(subject, tmp_path / "saved"))
        options: list[dict[str, Any]] = [{}]
        if "filter" in subject.capabilities:
            options.append({"allowed": small.rows[: self.count // 2]})
        for option in options:
            shifted = {name: allowed + _LARGE_ROW for name, allowed in option.items()}
            hits, expected = self.search(subject, **shifted), self.search(plain, **option)
            well_formed(hits, len(self.questions()), self.k, shifted.get("allowed", large.rows))
            identical(self.search(loaded, **shifted), hits, "large rows, saved and loaded")
            count, fewer = _count(expected), _count(hits)
            assert fewer == count, f"of large rows {fewer} are found, of small ones {count}"
            if "exact" in subject.capabilities:
                agree(_shifted(hits), expected, "large rows and small ones")
        if "remove" in subject.capabilities:
            subject.remove(large.rows[:3])
            hits = self.search(subject, self.count)
            well_formed(hits, len(self.questions()), self.count, large.rows[3:])

    def test_many_rows_added_in_blocks_are_all_searched(
        self, component: Any, tmp_path: Path
    ) -> None:
        """Of `wide` rows added in four calls, each is among the 70 best for its own content.

        Fix: search every block, also one that is not full, and merge the hits of all blocks before
        you take the k best.
        """
        world = self._wide()
        subject = self._in_blocks(component, world)
        assert len(subject) == len(world), f"of {len(world)} rows, its length is {len(subject)}"
        for positions in np.array_split(np.arange(len(world)), _GROUPS):
            group = world.take(positions[:: max(1, len(positions) // _OF_EACH)])
            hits = subject.search(self.asking(group.items), _DEEP)
            well_formed(hits, len(group), _DEEP, world.rows)
            share = float(np.mean((hits.rows == group.rows[:, None]).any(axis=1)))
            # Approximate searches miss some; a block that is not searched is missed as a whole.
            assert share >= self.recall / 2, (
                f"of the rows added as {positions[0]} to {positions[-1]} of {len(world)}, "
                f"{share:.0%} are among the {_DEEP} best for their own content"
            )
        questions = self.many_questions(2 * self.count)
        hits = subject.search(questions, _DEEP)
        folder = self.saved(subject, tmp_path / "saved")
        loaded = self.load(component, folder).search(questions, _DEEP)
        identical(loaded, hits, "many rows, saved and loaded")
        if "exact" in subject.capabilities:
            together = self.filled(component, world).search(questions, _DEEP)
            agree(hits, together, f"{len(world)} rows added in {_BLOCKS} calls and in one")

    def test_more_than_64_hits_can_be_found(self, component: Any) -> None:
        """A search for 70 hits finds 70, if there are so many (capability `filter`).

        Fix: limit k by the number of rows alone.
        """
        world = World(rows(_MORE), self.items(_MORE, seed=1))
        subject = self.filled(component, world)
        self.needs(subject, "filter")
        hits = self.search(subject, _DEEP)
        for number, best in enumerate(hits.rows):
            exists = best[best != MISSING_ROW]
            others = np.setdiff1d(world.rows, exists)
            question = self.questions()[number : number + 1]
            rest = _count(subject.search(question, _DEEP, allowed=others))
            expected = min(_DEEP, len(exists) + rest)
            assert len(exists) == expected, (
                f"a search for {_DEEP} hits finds {len(exists)}, though a search among the other "
                f"rows finds {rest} more"
            )

    def test_filters_over_many_rows_equal_filtering_afterwards(self, component: Any) -> None:
        """A filter that leaves out the best row, or the best half of many, finds the next best.

        Fix: apply `allowed` before the k best are chosen, however many rows must be passed over.
        Capability `filter`.
        """
        world = self._wide()
        subject = self._in_blocks(component, world)
        self.needs(subject, "filter")
        question = self.questions()[:1]
        whole = subject.search(question, len(world))
        order = whole.rows[0][whole.rows[0] != MISSING_ROW]
        for what, passed in (("the best row", 1), ("the best half", len(order) // 2)):
            allowed = np.setdiff1d(world.rows, order[:passed])
            hits = subject.search(question, self.k, allowed=allowed)
            well_formed(hits, 1, self.k, allowed)
            expected = min(self.k, len(order) - passed)
            count = _count(hits)
            assert count >= expected, (
                f"with a filter that leaves out {what} of {len(world)} rows, {count} are found, "
                f"not {expected}"
            )
            if "exact" in subject.capabilities:
                rest = _padded(whole, passed, self.k)
                agree(hits, rest, f"with a filter that leaves out {what}, and filtered afterwards")

    def _wide(self) -> World:
        """Return `wide` rows and items."""
        return World(rows(self.wide), self.items(self.wide, seed=1))

    def _in_blocks(self, component: Any, world: World) -> Any:
        subject = self.empty(component)
        for positions in np.array_split(np.arange(len(world)), _BLOCKS):
            subject.add(*world.take(positions).pair)
        return subject


def _count(hits: Hits) -> int:
    """Return how many hits exist."""
    return int((hits.rows != MISSING_ROW).sum())


def _single(hits: Hits, number: int) -> Hits:
    """Return the hits of one question of a batch."""
    return Hits(hits.rows[number : number + 1], hits.scores[number : number + 1])


def _shifted(hits: Hits) -> Hits:
    """Return hits of large rows as hits of the small ones."""
    rows_ = np.where(hits.rows == MISSING_ROW, MISSING_ROW, hits.rows - _LARGE_ROW)
    return Hits(rows_, hits.scores)


def _padded(hits: Hits, start: int, k: int) -> Hits:
    """Return k hits from a rank on, with missing ones where there are fewer."""
    padded = Hits.empty(len(hits.rows), k)
    rest = slice(start, start + k)
    padded.rows[:, : hits.rows[:, rest].shape[1]] = hits.rows[:, rest]
    padded.scores[:, : hits.scores[:, rest].shape[1]] = hits.scores[:, rest]
    return padded
