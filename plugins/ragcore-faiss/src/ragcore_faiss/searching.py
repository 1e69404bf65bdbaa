"""Find the best rows of a FAISS index, among all or some, and sort them.

Chooses between FAISS's own search, a wider one, and comparing vectors one by one
(`exhaustive.py`). Knows nothing of files, training or scales.
"""

from __future__ import annotations

from operator import gt
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.types import MISSING_ROW
from ragcore_faiss.exhaustive import (
    compare_all,
    enough,
    graph_is_slower,
    has_graph,
    wide,
    wider_probes,
)
from ragcore_faiss.factory import core, only, takes_selector
from ragcore_faiss.numbering import among

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors

__all__ = ["Searcher"]

_FEW: Final = 1_000
"""Up to so many allowed rows are compared one by one, whatever lists they are in."""

_SHORT: Final = 128
"""So many scores are compared faster in Python than by several calls of numpy."""


class Searcher:
    """Search one index, which does not change, so that threads can share it.

    Attributes:
        index: FAISS's, trained, with rows as its ids.
        rows: int64 [n], in FAISS's order.
        exact: whether FAISS compares all vectors.
    """

    def __init__(self, index: Any, rows: Rows, *, exact: bool) -> None:
        self.index = index
        self.rows = rows
        self.exact = exact
        # To look through the layers of FAISS's index takes as long as a fast search.
        self._enough = enough(index)
        # The width and k of the latest search of another width than the graph's, and parameters.
        self._narrow: tuple[int, int, Any] | None = None

    def best(
        self, values: Vectors, k: int, numbers: Rows | None, width: int | None = None
    ) -> tuple[Vectors, Rows]:
        """Return scores and rows [B, k], by falling score, ties by row.

        Args:
            values: queries, float32 [B, d].
            k: not more than there are vectors to find.
            numbers: ascending, FAISS's numbers of the vectors to search among; None for all.
            width: candidates that a graph considers among all vectors; None for those that it is
                set to.
        """
        options: dict[str, Any] = {}
        if numbers is None:
            deeper = k > self._enough
            if width is not None:
                params = self._narrowed(k, width)
            else:
                params = wide(self.index, k) if deeper else None
            if params is not None:
                if deeper and has_graph(self.index) and graph_is_slower(k, len(self.rows)):
                    return self._compared(values, k, None)
                options["params"] = params
            scores, rows = self._fetch(values, k, options)
        elif takes_selector(core(self.index)):
            if len(numbers) <= _FEW and not self.exact:
                return self._compared(values, k, numbers)
            selected = np.ascontiguousarray(self.rows[numbers])
            scores, rows = self._fetch(values, k, {"params": only(self.index, selected)})
        else:
            # Twice the depth in which k allowed vectors lie if they are spread evenly.
            depth = min(len(self.rows), 2 * -(-k * len(self.rows) // len(numbers)))
            if graph_is_slower(depth, len(numbers)):
                return self._compared(values, k, numbers)
            params = wide(self.index, depth)
            options = {} if params is None else {"params": params}
            scores, rows = self._filtered(*self._fetch(values, depth, options), k, numbers)
        if min(rows[:, -1].tolist(), default=0) != MISSING_ROW:
            return scores, rows
        for params in wider_probes(self.index, None if numbers is None else self.rows[numbers]):
            short = rows[:, -1] == MISSING_ROW  # [B]
            if not short.any():
                break
            scores[short], rows[short] = self._fetch(values[short], k, {"params": params})
        short = rows[:, -1] == MISSING_ROW
        if short.any():
            scores[short], rows[short] = self._compared(values[short], k, numbers)
        return scores, rows

    def _narrowed(self, k: int, width: int) -> Any | None:
        """Return the parameters of a search with a width, which are mostly those of the last."""
        latest = self._narrow
        if latest is None or latest[:2] != (k, width):
            latest = self._narrow = (k, width, wide(self.index, k, width))
        return latest[2]

    def _compared(self, values: Vectors, k: int, numbers: Rows | None) -> tuple[Vectors, Rows]:
        scores, rows = compare_all(self.index, values, k, self.rows, numbers)
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def _filtered(self, scores: Vectors, rows: Rows, k: int, numbers: Rows) -> tuple[Vectors, Rows]:
        """Return the first k hits of [B, depth] that are allowed, [B, k]."""
        allowed = among(rows, np.sort(self.rows[numbers]))
        order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
        exists = np.take_along_axis(allowed, order, axis=1)
        best = np.where(exists, np.take_along_axis(rows, order, axis=1), MISSING_ROW)
        best_scores = np.where(exists, np.take_along_axis(scores, order, axis=1), -np.inf)
        return best_scores.astype(np.float32, copy=False), best

    def _fetch(self, queries: Vectors, k: int, options: dict[str, Any]) -> tuple[Vectors, Rows]:
        """Return scores and rows [B, k], sorted by falling score, ties by row."""
        # One hit more than k shows whether the k-th ties with the next.
        fetched = min(k + 1, len(self.rows)) if self.exact else k
        while True:
            scores, rows = self.index.search(queries, fetched, **options)  # [B, fetched] each
            # Mostly all are there, and no two scores are equal, neither the k-th and the next.
            complete = min(rows[:, -1].tolist(), default=0) >= 0
            if complete and _falls(scores):
                return scores[:, :k], rows[:, :k]
            # FAISS puts missing hits last, with the lowest float as their score.
            if not complete:
                scores[rows == MISSING_ROW] = -np.inf
            if not self.exact or fetched == len(self.rows):
                break
            ends = rows[:, -1]
            if not ((scores[:, k - 1] == scores[:, -1]) & (ends != MISSING_ROW)).any():
                break
            fetched = min(2 * fetched, len(self.rows))
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _falls(scores: Vectors) -> bool:
    """Return whether each score [B, k] is lower than the one before it."""
    if scores.size > _SHORT:
        return bool((scores[:, :-1] > scores[:, 1:]).all())
    return all(all(map(gt, line, line[1:])) for line in scores.tolist())
