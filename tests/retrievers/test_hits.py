from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ragcore.retrievers.hits import among, empty_hits, search_deeper
from ragcore.types import Hits

SIZE = 40


class Ranking:
    """The rows from 0 on, as far as a search that wide reaches them; counts what it is asked."""

    def __init__(self, reach: float) -> None:
        self.reach = reach
        self.depths: list[int] = []

    def __call__(self, questions: Sequence[str], depth: int) -> Hits:
        self.depths.append(depth)
        hits = empty_hits(len(questions), depth)
        found = int(self.reach * depth)
        hits.rows[:, :found] = np.arange(found)
        hits.scores[:, :found] = -np.arange(found)
        return hits


def test_it_goes_as_deep_as_the_allowed_rows_lie() -> None:
    ranking = Ranking(1)
    hits = search_deeper(ranking, SIZE, ["a", "b"], 3, np.array([2, 30, 31]), exact=True)
    assert hits.rows.tolist() == [[2, 30, 31]] * 2
    assert hits.scores.tolist() == [[-2, -30, -31]] * 2
    ranking = Ranking(1)
    search_deeper(ranking, SIZE, ["a"], 3, np.arange(SIZE), exact=True)
    assert ranking.depths == [3]


@pytest.mark.parametrize("exact", [True, False])
def test_a_ranking_that_ends_has_no_more_only_if_it_is_exact(exact: bool) -> None:
    ranking = Ranking(0.5)
    hits = search_deeper(ranking, SIZE, ["a"], 1, np.array([9, 15, 16, 17, 18]), exact=exact)
    # Asked for 8 it gives 4; a graph that is searched more widely reaches the ninth.
    assert hits.rows.tolist() == [[-1]] if exact else [[9]]
    assert ranking.depths == [8] if exact else [8, 16, 32]


def test_rows_are_looked_up_in_a_list_that_ascends() -> None:
    rows = np.array([[5, -1], [7, 99]])
    assert among(rows, np.array([5, 6, 99])).tolist() == [[True, False], [False, True]]
    assert not among(rows, np.zeros(0, np.int64)).any()
