"""Find the best rows of a collection: ties by row, and k hits wherever there are so many.

Milvus orders equal scores as it likes, so that a search for k may leave out a lower row that ties
with the k-th. An exact search therefore goes on until the k-th score is separated from the next. A
graph may stop before it has k hits; then more candidates are taken, and at last all are compared
here. Knows scores and rows; knows nothing of files or connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.types import MISSING_ROW
from ragcore_milvus.collection import LIMIT, Collection
from ragcore_milvus.selection import Selection

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows, Scores, Vectors

__all__ = ["Searcher"]

_MOST_CANDIDATES: Final = 32_768
"""The largest `ef` that Milvus takes."""

_WIDER: Final = 8
"""How much wider a search is that follows one which found too little."""

Ranked = tuple["Scores", "Rows"]
"""Scores float32 and rows int64 [B, n], by falling score, ties by row; -inf and -1 where none."""


class Searcher:
    """Search one collection; without state, so that threads can share it.

    Attributes:
        collection: that is searched.
        exact: whether Milvus compares all vectors.
        ef: candidates of a search in a graph.
    """

    def __init__(self, collection: Collection, *, exact: bool, ef: int) -> None:
        self.collection = collection
        self.exact = exact
        self.ef = ef

    def best(self, queries: Vectors, k: int, selections: list[Selection]) -> Ranked:
        """Return the k best rows of all selections together, [B, k].

        Args:
            queries: float32 [B, d], B at least 1.
            k: 1 or more.
            selections: without common rows.
        """
        ranked = [self._best_of(queries, k, each) for each in selections]
        return _padded(_merged(ranked, k), k, len(queries))

    def _best_of(self, queries: Vectors, k: int, selection: Selection) -> Ranked:
        """Return the best rows of one selection, [B, n], n at most k."""
        if k > LIMIT and selection.most > LIMIT:
            return self._of_halves(queries, k, selection)
        if self.exact:
            return self._exact(queries, k, selection)
        return self._approximate(queries, k, selection)

    def _of_halves(self, queries: Vectors, k: int, selection: Selection) -> Ranked:
        return _merged([self._best_of(queries, k, half) for half in selection.halves()], k)

    def _exact(self, queries: Vectors, k: int, selection: Selection) -> Ranked:
        most = min(selection.most, LIMIT)
        # One hit more than k shows whether the k-th ties with the next.
        limit = min(k + 1, most)
        scores, rows = self._all(queries, limit, selection)
        open_ = self._open(scores, rows, k)  # [B]
        while open_.any() and limit < most:
            limit = min(limit * _WIDER, most)
            wider = self._all(queries[open_], limit, selection)
            scores, rows = _replaced((scores, rows), wider, open_)
            open_ = self._open(scores, rows, k)
        scores, rows = _sorted((scores, rows))
        if open_.any() and limit < selection.most:
            # More rows tie than one search returns: each half has fewer.
            halves = self._of_halves(queries[open_], k, selection)
            scores, rows = _replaced((scores, rows), halves, open_)
        return scores[:, :k], rows[:, :k]

    def _all(self, queries: Vectors, limit: int, selection: Selection) -> Ranked:
        return self.collection.search(
            queries, limit, selection.expression, ef=None, compared=selection.most
        )

    @staticmethod
    def _open(scores: Scores, rows: Rows, k: int) -> npt.NDArray[np.bool_]:
        """Return of which queries [B] a row may be missing that ties with the k-th."""
        open_: npt.NDArray[np.bool_] = rows[:, -1] != MISSING_ROW
        # Where no more than k were asked for, the caller knows whether there are more.
        return open_ if scores.shape[1] <= k else open_ & (scores[:, k - 1] == scores[:, -1])

    def _approximate(self, queries: Vectors, k: int, selection: Selection) -> Ranked:
        limit = min(k, selection.most)
        expression = selection.expression
        scores, rows = self.collection.search(queries, limit, expression, ef=max(self.ef, limit))
        short = rows[:, -1] == MISSING_ROW  # [B]
        if short.any() and selection.may_lack_some:
            # Some of those listed may not be in this collection, or not match the condition.
            limit = min(limit, self.collection.count(expression))
            short &= _counts(rows) < limit
        if short.any():
            wider = self.collection.search(
                queries[short], limit, expression, ef=_MOST_CANDIDATES, compared=_MOST_CANDIDATES
            )
            scores, rows = _replaced((scores, rows), wider, short)
            short &= _counts(rows) < limit
        if short.any():
            scores, rows = _replaced(
                (scores, rows), self._compared(queries[short], limit, selection), short
            )
        return _sorted((scores, rows))

    def _compared(self, queries: Vectors, k: int, selection: Selection) -> Ranked:
        """Compare all vectors of a selection, in this process; return the best [B, n]."""
        best: Ranked = _nothing(len(queries))
        for rows, vectors, _ in self.collection.pages(selection.expression, queries.shape[1]):
            scores = queries @ vectors.T  # [B, n]
            page = (scores, np.broadcast_to(rows, scores.shape))
            best = _merged([best, page], k)
        return best


def _counts(rows: Rows) -> npt.NDArray[np.int64]:
    """Return how many hits of rows [B, n] exist, int64 [B]."""
    return np.asarray((rows != MISSING_ROW).sum(axis=1))


def _nothing(count: int) -> Ranked:
    return np.zeros((count, 0), np.float32), np.zeros((count, 0), np.int64)


def _sorted(ranked: Ranked) -> Ranked:
    """Sort by falling score, then by row; missing hits come last."""
    scores, rows = ranked
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _merged(ranked: list[Ranked], k: int) -> Ranked:
    """Return the k best of several, [B, at most k]."""
    scores = np.concatenate([each[0] for each in ranked], axis=1)
    rows = np.concatenate([each[1] for each in ranked], axis=1)
    scores, rows = _sorted((scores, rows))
    return scores[:, :k], rows[:, :k]


def _padded(ranked: Ranked, k: int, count: int) -> Ranked:
    scores = np.full((count, k), -np.inf, np.float32)
    rows = np.full((count, k), MISSING_ROW, np.int64)
    scores[:, : ranked[0].shape[1]], rows[:, : ranked[1].shape[1]] = ranked
    return scores, rows


def _replaced(ranked: Ranked, others: Ranked, queries: npt.NDArray[np.bool_]) -> Ranked:
    """Return what was found, with that of some queries [B] replaced by `others`."""
    width = max(ranked[0].shape[1], others[0].shape[1])
    scores, rows = _padded(ranked, width, len(queries))
    scores[queries], rows[queries] = _padded(others, width, int(queries.sum()))
    return scores, rows
