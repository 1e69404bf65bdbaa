"""Helpers for hits: membership of rows, checks, the best k, and search that deepens until enough.

Knows rows and hits; knows nothing of the retrievers or indexes that find them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.errors import ComponentError
from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Scores

    Mask = npt.NDArray[np.bool_]

__all__ = [
    "among",
    "best_hits",
    "best_positions",
    "checked_hits",
    "rows_are_valid",
    "search_allowed",
    "search_deeper",
]

_FEW: Final = 128
"""So many rows are compared faster in Python than by several calls of numpy."""


def among(rows: Rows, ascending: Rows) -> Mask:
    """Return which of `rows`, of any shape, are in an ascending list; takes O(log n) per row."""
    if not len(ascending):
        return np.zeros(rows.shape, np.bool_)
    positions = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)
    mask: Mask = ascending[positions] == rows
    return mask


def best_hits(rows: Rows, scores: Scores, k: int) -> Hits:
    """Return the k best of each question's n candidates, ties by row.

    Args:
        rows: int64 [B, n], each row once per question; `MISSING_ROW` for a missing candidate.
        scores: float32 [B, n]; -inf where the row is missing.
        k: number of hits to return.

    Returns:
        [B, k], padded with missing hits where n is less than k.
    """
    order = best_positions(rows, scores, k)  # [B, min(k, n)]
    hits = Hits(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))
    width = order.shape[1]
    if width == k:
        return hits
    padded = Hits.empty(len(rows), k)
    padded.rows[:, :width], padded.scores[:, :width] = hits.rows, hits.scores
    return padded


def best_positions(rows: Rows, scores: Scores, k: int) -> npt.NDArray[np.intp]:
    """Return where the k best of each question's candidates are, [B, min(k, n)], best first.

    Args:
        rows: int64 [B, n]; the lower row is the better one of those with equal scores.
        scores: float32 [B, n].
        k: how many.
    """
    return np.lexsort((rows, -scores), axis=1)[:, :k]


def rows_are_valid(rows: Rows, size: int) -> bool:
    """Return whether rows [B, k] all exist, are below `size`, and differ for each question."""
    if not rows.size:
        return True
    if rows.size > _FEW or rows.dtype.kind != "i":
        ascending = np.sort(rows, axis=1)
        distinct = (ascending[:, 1:] > ascending[:, :-1]).all()
        return bool(distinct and ascending[:, 0].min() >= 0 and ascending[:, -1].max() < size)
    return all(
        len(set(line)) == len(line) and min(line) >= 0 and max(line) < size
        for line in rows.tolist()
    )


def checked_hits(hits: Hits, count: int, k: int, source: str) -> Hits:
    """Return hits that have the shape [count, k] and no row twice for a question.

    Args:
        hits: what a retriever returned.
        count: B, the number of questions.
        k: the number of hits requested.
        source: the retriever as the user knows it, for the message.

    Raises:
        ComponentError: the hits break the contract.
    """
    if hits.rows.shape != (count, k):
        raise ComponentError(
            f"{source} gave hits of shape {hits.rows.shape}: expected ({count}, {k})"
        )
    rows = np.sort(hits.rows, axis=1)
    repeated = (rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] != MISSING_ROW)  # [B, k - 1]
    if repeated.any():
        raise ComponentError(
            f"{source} gave row {rows[:, 1:][repeated][0]} twice: expected each row once"
        )
    return hits


def search_allowed(
    search: Callable[[Sequence[str], int], Hits],
    size: int,
    questions: Sequence[str],
    k: int,
    allowed: Rows,
    *,
    exact: bool,
) -> Hits:
    """Find the k best allowed hits of each question with a search that cannot filter.

    Args:
        search: returns the best hits of questions, as many as requested.
        size: number of rows that can be found.
        questions: B questions.
        k: number of hits, at most `size`.
        allowed: allowed rows, ascending.
        exact: as of `search_deeper`.

    Returns:
        [B, k].
    """
    if not len(allowed):
        return Hits.empty(len(questions), k)
    return search_deeper(
        lambda remaining, depth: search([questions[i] for i in remaining], depth),
        lambda rows: among(rows, allowed),
        len(questions),
        k,
        # If allowed rows are spread evenly over the ranking, k of them lie within this depth.
        depth=-(-k * size // len(allowed)),
        size=size,
        available=len(allowed),
        exact=exact,
    )


def search_deeper(
    search: Callable[[npt.NDArray[np.intp], int], Hits],
    accept: Callable[[Rows], Mask],
    count: int,
    k: int,
    *,
    depth: int,
    size: int,
    available: int,
    exact: bool,
) -> Hits:
    """Search the rankings of B questions deeper and deeper until each has k accepted hits.

    Args:
        search: from the positions [R] of the remaining questions and a depth to hits [R, depth].
        accept: from rows [R, depth] to a mask of those that may be hits; a missing row may not.
        count: B, the number of questions.
        k: number of accepted hits to return.
        depth: depth of the first search; each further one goes twice as deep.
        size: number of rows that can be found, the greatest depth.
        available: number of rows that `accept` accepts.
        exact: whether a ranking that ends before its depth is complete. That of an approximate
            index may not be: its graph finds more if searched more widely.

    Returns:
        [B, k], best first.
    """
    hits = Hits.empty(count, k)
    remaining = np.arange(count)
    while len(remaining):
        depth = min(size, depth)
        ranking = search(remaining, depth)
        accepted = accept(ranking.rows)  # [R, depth]
        # Accepted hits move to the front and stay in order.
        order = np.argsort(~accepted, axis=1, kind="stable")[:, :k]  # [R, w], w = min(k, depth)
        width = order.shape[1]
        exists = np.take_along_axis(accepted, order, axis=1)
        rows = np.take_along_axis(ranking.rows, order, axis=1)
        scores = np.take_along_axis(ranking.scores, order, axis=1)
        hits.rows[remaining, :width] = np.where(exists, rows, MISSING_ROW)
        hits.scores[remaining, :width] = np.where(exists, scores, -np.inf)
        enough = accepted.sum(axis=1) >= min(k, available)
        ended = (exact & (ranking.rows == MISSING_ROW).any(axis=1)) | (depth == size)
        remaining = remaining[~(enough | ended)]
        depth *= 2
    return hits
