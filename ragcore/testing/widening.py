"""Laws of indexes that are told how many candidates to consider (capability `width`).

Knows searches of one index; knows nothing of several, or of graphs.
"""

from __future__ import annotations

import functools
from typing import Any

from ragcore.testing.data import World, rows
from ragcore.testing.hits import identical, well_formed
from ragcore.testing.search_suite import SearchSuite
from ragcore.types import MISSING_ROW

__all__ = ["WidthLaws"]


class WidthLaws(SearchSuite):
    """Test `width` and `search_width`."""

    def test_a_width_belongs_to_one_search(self, component: Any) -> None:
        """`search_width` with the index's `width` is `search`, also after one of another width.

        Fix: give the library the width with the search, rather than set it in the index, where
        other threads search by it, too. Capability `width`.
        """
        world = World(rows(self.wide), self.items(self.wide, seed=1))
        index = self.filled(component, world)
        self.needs(index, "width")
        width = index.width
        assert isinstance(width, int), f"width is {width!r}"
        assert width >= 1, f"width is {width}"
        expected = self.search(index)
        index.search_width(self.questions(), self.k, 1)
        assert index.width == width, f"after a search its width is {index.width}, not {width}"
        identical(self.search(index), expected, "a search after one of another width")
        again = index.search_width(self.questions(), self.k, width)
        identical(again, expected, "search_width with the index's width")

    def test_any_width_finds_k_rows(self, component: Any) -> None:
        """Of any width, `search_width` finds min(k, rows) hits, each with the score it always has.

        Fix: consider k candidates where the width is less. Capability `width`.
        """
        world = World(rows(self.wide), self.items(self.wide, seed=1))
        index = self.filled(component, world)
        self.needs(index, "width")
        everything = self.search(index, self.wide)
        score_of = [
            dict(zip(found, scores, strict=True))
            for found, scores in zip(
                everything.rows.tolist(), everything.scores.tolist(), strict=True
            )
        ]
        for k in (1, self.k, self.wide + 3):
            for width in (1, self.k, 3 * self.wide):
                hits = index.search_width(self.questions(), k, width)
                well_formed(hits, len(self.questions()), k, world.rows)
                count = int((hits.rows != MISSING_ROW).sum(axis=1).min())
                assert count == min(k, self.wide), (
                    f"with width {width}, {count} of {min(k, self.wide)} hits are found"
                )
                for query, (found, scores) in enumerate(
                    zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)
                ):
                    for row, score in zip(found, scores, strict=True):
                        expected = score_of[query].get(row, score)
                        assert row == MISSING_ROW or abs(score - expected) <= 1e-4 * max(
                            1.0, abs(expected)
                        ), f"with width {width}, row {row} has score {score}, not {expected}"
        self.must_fail(
            "a search for 0 hits", functools.partial(index.search_width, self.questions(), 0, 5)
        )
