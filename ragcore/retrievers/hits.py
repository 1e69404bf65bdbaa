"""What all who handle rows share: looking them up, having none, and searching among some of them.

Knows rows and hits, and nothing of who finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows


__all__ = ["among", "empty_hits", "search_deeper"]


def among(rows: Rows, ascending: Rows) -> npt.NDArray[np.bool_]:
    """Which of `rows` are in a list that ascends; quick however long that is."""
    if not len(ascending):
        return np.zeros(rows.shape, np.bool_)
    places = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)
    found: npt.NDArray[np.bool_] = ascending[places] == rows
    return found


def empty_hits(count: int, k: int) -> Hits:
    """Hits [count, k] of which none exists."""
    rows = np.full((count, k), MISSING_ROW, np.int64)
    return Hits(rows, np.full((count, k), -np.inf, np.float32))


def search_deeper(
    search: Callable[[Sequence[str], int], Hits],
    size: int,
    questions: Sequence[str],
    k: int,
    allowed: Rows,
    *,
    exact: bool,
) -> Hits:
    """The k best allowed hits of each question, [B, k], out of its whole ranking, as far as needed.

    Args:
        search: gives the best hits of questions, as many as it is asked for.
        size: how many rows there are.
        questions: B questions.
        k: at most `size`.
        allowed: rows, ascending, at least one.
        exact: whether a ranking that ends before the number asked for has no more; a graph that is
            searched more widely may.
    """
    found = empty_hits(len(questions), k)
    left = list(range(len(questions)))
    # Where allowed rows are spread evenly over the ranking, this is as deep as k of them lie.
    depth = min(size, -(-k * size // len(allowed)))
    while left:
        hits = search([questions[at] for at in left], depth)
        keep = among(hits.rows, allowed)
        for at, rows, scores, kept in zip(left, hits.rows, hits.scores, keep, strict=True):
            best = np.flatnonzero(kept)[:k]
            found.rows[at, : len(best)] = rows[best]
            found.scores[at, : len(best)] = scores[best]
        enough = keep.sum(axis=1) >= min(k, len(allowed))
        ended = (exact & (hits.rows == MISSING_ROW).any(axis=1)) | (depth == size)
        left = [at for at, done in zip(left, enough | ended, strict=True) if not done]
        depth = min(size, 2 * depth)
    return found
