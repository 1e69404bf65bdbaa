"""What hits must be, and when two searches agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows


__all__ = ["CLOSE", "agree", "identical", "well_formed"]

CLOSE: Final = 1e-4
"""How far scores of the same question and item may differ, relative to the largest, where only
the order of summing does."""


def well_formed(hits: Hits, batch: int, k: int, known: Rows) -> None:
    """Shapes, types, missing hits, order, ties, and no row that is unknown or found twice."""
    assert isinstance(hits, Hits), f"search gave {type(hits).__name__}, not Hits"
    for name, array, dtype in (("rows", hits.rows, np.int64), ("scores", hits.scores, np.float32)):
        assert isinstance(array, np.ndarray), f"{name} are {type(array).__name__}, not an array"
        assert array.dtype == dtype, f"{name} are {array.dtype}: expected {np.dtype(dtype)}"
        assert array.shape == (batch, k), f"{name} are {array.shape}: expected [{batch}, {k}]"
    assert not np.isnan(hits.scores).any(), "a score is NaN"
    missing = hits.rows == MISSING_ROW
    assert (np.isneginf(hits.scores) == missing).all(), (
        "a hit that exists must have a finite score, and a missing one row -1 and score -inf"
    )
    assert (missing[:, 1:] >= missing[:, :-1]).all(), "a missing hit stands before one that exists"
    assert (hits.scores[:, 1:] <= hits.scores[:, :-1]).all(), "scores do not descend"
    for found, scores in zip(hits.rows, hits.scores, strict=True):
        there = found[found != MISSING_ROW]
        assert len(np.unique(there)) == len(there), f"a row is found twice: {there.tolist()}"
        strange = np.setdiff1d(there, known)
        assert not len(strange), f"row {strange[:1]} is found, which is not there (or not allowed)"
        tied = (scores[1:] == scores[:-1]) & (found[1:] != MISSING_ROW)
        assert (found[1:] > found[:-1])[tied].all(), (
            f"scores tie but rows do not ascend: {found.tolist()}"
        )


def identical(one: Hits, other: Hits, what: str) -> None:
    """The same rows, and the same scores to the last bit."""
    assert np.array_equal(one.rows, other.rows), (
        f"{what}: rows {_first_difference(one.rows, other.rows)}"
    )
    assert one.scores.tobytes() == other.scores.tobytes(), (
        f"{what}: scores {_first_difference(one.scores, other.scores)}"
    )


def agree(one: Hits, other: Hits, what: str) -> None:
    """The same rows and scores, but for what rounding may change, as the order of near ties."""
    assert one.rows.shape == other.rows.shape, f"{what}: {one.rows.shape} and {other.rows.shape}"
    for rows, scores, rows_, scores_ in zip(
        one.rows, one.scores, other.rows, other.scores, strict=True
    ):
        there, there_ = rows != MISSING_ROW, rows_ != MISSING_ROW
        assert there.sum() == there_.sum(), f"{what}: {there.sum()} hits and {there_.sum()}"
        if not there.any():
            continue
        within = CLOSE * max(1.0, float(np.abs(scores[there]).max()))
        gap = float(np.abs(scores[there] - scores_[there_]).max())
        assert gap <= within, f"{what}: scores {scores[there]} and {scores_[there_]}"
        mine = dict(zip(rows[there].tolist(), scores[there].tolist(), strict=True))
        theirs = dict(zip(rows_[there_].tolist(), scores_[there_].tolist(), strict=True))
        last = float(scores[there][-1])
        for row in mine.keys() ^ theirs.keys():
            score = mine[row] if row in mine else theirs[row]
            assert abs(score - last) <= within, f"{what}: row {row} is found by one search alone"
        for row in mine.keys() & theirs.keys():
            assert abs(mine[row] - theirs[row]) <= within, (
                f"{what}: row {row} has score {mine[row]} and {theirs[row]}"
            )


def _first_difference(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> str:
    if one.shape != other.shape:
        return f"have shapes {one.shape} and {other.shape}"
    at = int((one != other).any(axis=1).argmax())
    return f"of question {at} are {one[at].tolist()} and {other[at].tolist()}"
