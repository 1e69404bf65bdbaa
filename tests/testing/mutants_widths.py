"""Wrong indexes that are told how many candidates to consider; `IndexSuite` must catch them all."""

from __future__ import annotations

from ragcore.retrievers.flat import Exact
from ragcore.types import Hits


class Wide(Exact):
    """The index `exact`, which considers all vectors, as one with a width."""

    capabilities = Exact.capabilities | {"width"}
    width = 64

    def search_width(self, queries, k, width):
        return self.search(queries, k)


class KeepsTheWidth(Wide):
    caught_by = "test_a_width_belongs_to_one_search"

    def search_width(self, queries, k, width):
        self.width = width
        return self.search(queries, k)


class SearchesByTheLastWidth(Wide):
    caught_by = "test_a_width_belongs_to_one_search"
    last = 64

    def search(self, queries, k, *, allowed=None):
        hits = super().search(queries, k, allowed=allowed)
        if self.last >= k:
            return hits
        fewer = Hits.empty(len(queries), k)
        fewer.rows[:, : self.last] = hits.rows[:, : self.last]
        fewer.scores[:, : self.last] = hits.scores[:, : self.last]
        return fewer

    def search_width(self, queries, k, width):
        self.last = width
        return Exact.search(self, queries, k)


class FindsAsManyAsItsWidth(Wide):
    caught_by = "test_any_width_finds_k_rows"

    def search_width(self, queries, k, width):
        hits, fewer = self.search(queries, k), Hits.empty(len(queries), k)
        fewer.rows[:, :width] = hits.rows[:, :width]
        fewer.scores[:, :width] = hits.scores[:, :width]
        return fewer


class ScoresByWidth(Wide):
    caught_by = "test_any_width_finds_k_rows"

    def search_width(self, queries, k, width):
        hits = self.search(queries, k)
        return hits if width == self.width else Hits(hits.rows, hits.scores / 2)
