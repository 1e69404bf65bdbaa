"""Helpers for hits: membership, checks, the best k, and search that deepens until enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragcore.errors import ComponentError
from ragcore.retrievers.hits import (
    among,
    best_hits,
    checked_hits,
    rows_are_valid,
    search_allowed,
    search_deeper,
)
from ragcore.types import MISSING_ROW, Hits

SIZE = 40


class Ranking:
    """Ranks the rows from 0 up; finds a share `reach` of the depth, and notes each depth."""

    def __init__(self, reach: float) -> None:
        self.reach = reach
        self.depths: list[int] = []

    def __call__(self, questions: Sequence[str], depth: int) -> Hits:
        self.depths.append(depth)
        hits = Hits.empty(len(questions), depth)
        count = int(self.reach * depth)
        hits.rows[:, :count] = np.arange(count)
        hits.scores[:, :count] = -np.arange(count)
        return hits


def test_search_is_as_deep_as_the_allowed_rows() -> None:
    ranking = Ranking(1)
    hits = search_allowed(ranking, SIZE, ["a", "b"], 3, np.array([2, 30, 31]), exact=True)
    assert hits.rows.tolist() == [[2, 30, 31]] * 2
    assert hits.scores.tolist() == [[-2, -30, -31]] * 2
    ranking = Ranking(1)
    search_allowed(ranking, SIZE, ["a"], 3, np.arange(SIZE), exact=True)
    assert ranking.depths == [3]


def test_search_ends_once_all_allowed_rows_are_found() -> None:
    ranking = Ranking(1)
    hits = search_allowed(ranking, SIZE, ["a"], 9, np.array([0, 1]), exact=True)
    assert hits.rows.tolist() == [[0, 1] + [MISSING_ROW] * 7]
    assert ranking.depths == [SIZE]
    ranking = Ranking(1)
    search_deeper(
        lambda remaining, depth: ranking(["a"] * len(remaining), depth),
        lambda rows: among(rows, np.array([0, 1])),
        1,
        9,
        depth=4,
        size=SIZE,
        available=2,
        exact=True,
    )
    assert ranking.depths == [4]


def test_nothing_is_searched_where_nothing_is_allowed() -> None:
    ranking = Ranking(1)
    hits = search_allowed(ranking, SIZE, ["a"], 2, np.zeros(0, np.int64), exact=True)
    assert hits.rows.tolist() == [[MISSING_ROW] * 2]
    assert ranking.depths == []


@pytest.mark.parametrize("exact", [True, False])
def test_a_ranking_that_ends_is_complete_only_if_it_is_exact(exact: bool) -> None:
    ranking = Ranking(0.5)
    hits = search_allowed(ranking, SIZE, ["a"], 1, np.array([9, 15, 16, 17, 18]), exact=exact)
    # At depth 8 it finds 4 rows; a graph that is searched more widely reaches row 9.
    assert hits.rows.tolist() == ([[MISSING_ROW]] if exact else [[9]])
    assert ranking.depths == ([8] if exact else [8, 16, 32])


def test_only_questions_that_need_more_are_searched_again() -> None:
    searches: list[list[int]] = []

    def search(remaining: np.ndarray, depth: int) -> Hits:
        searches.append(remaining.tolist())
        rows = np.arange(depth) + 10 * remaining[:, None]
        return Hits(rows, np.zeros(rows.shape, np.float32) - np.arange(depth, dtype=np.float32))

    hits = search_deeper(
        search,
        lambda rows: among(rows, np.array([1, 17])),
        2,
        1,
        depth=2,
        size=8,
        available=2,
        exact=True,
    )
    assert searches == [[0, 1], [1], [1]]
    assert hits.rows.tolist() == [[1], [17]]
    assert hits.scores.tolist() == [[-1], [-7]]


@given(
    scores=st.lists(
        st.lists(st.sampled_from([-np.inf, -1.0, 0.5, 2.0]), min_size=4, max_size=4), max_size=3
    ),
    k=st.integers(1, 6),
)
def test_best_hits_are_sorted_by_falling_score_then_row(scores: list[list[float]], k: int) -> None:
    candidates = np.array(scores, np.float32).reshape(-1, 4)
    rows = np.where(np.isneginf(candidates), MISSING_ROW, [7, 3, 9, 1])
    hits = best_hits(rows, candidates, k)
    for i, line in enumerate(candidates.tolist()):
        pairs = [
            (-score, row)
            for score, row in zip(line, rows[i].tolist(), strict=True)
            if row != MISSING_ROW
        ]
        expected = [row for _, row in sorted(pairs)[:k]]
        assert hits.rows[i].tolist() == expected + [MISSING_ROW] * (k - len(expected))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 3]], r"the source gave hits of shape \(1, 3\): expected \(1, 2\)"),
        ([[4, 4]], "the source gave row 4 twice"),
    ],
)
def test_hits_that_break_the_contract_are_refused(rows: list[list[int]], message: str) -> None:
    hits = Hits(np.array(rows), np.zeros((1, len(rows[0])), np.float32))
    with pytest.raises(ComponentError, match=message):
        checked_hits(hits, 1, 2, "the source")


def test_missing_hits_are_no_repetition() -> None:
    hits = Hits.empty(2, 3)
    assert checked_hits(hits, 2, 3, "the source") is hits


@pytest.mark.parametrize("shape", [(1, 4), (3, 4), (1, 500), (70, 4)])
def test_hits_are_complete_if_rows_exist_and_differ(shape: tuple[int, int]) -> None:
    size = shape[0] * shape[1]
    rows = np.random.default_rng(0).permutation(size).reshape(shape)
    assert rows_are_valid(rows, size)
    assert rows_are_valid(np.repeat(rows[:1], shape[0], axis=0), size)
    assert not rows_are_valid(rows, size - 1)
    for row in (MISSING_ROW, rows[-1, 0], size):
        changed = rows.copy()
        changed[-1, -1] = row
        assert not rows_are_valid(changed, size)


def test_rows_are_looked_up_in_an_ascending_list() -> None:
    rows = np.array([[5, -1], [7, 99]])
    assert among(rows, np.array([5, 6, 99])).tolist() == [[True, False], [False, True]]
    assert not among(rows, np.zeros(0, np.int64)).any()
