"""Check hits: whether they are well formed, and whether two searches agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.types import MISSING_ROW, Hits

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows


__all__ = ["CLOSE", "agree", "identical", "well_formed"]

CLOSE: Final = 1e-4
"""The largest difference between scores of the same question and item, relative to the largest
score, where only the order of summing differs."""


def well_formed(hits: Hits, batch: int, k: int, known: Rows) -> None:
    """Check shapes, types, missing hits, order and ties, and that rows are known and distinct."""
    assert isinstance(hits, Hits), f"search returned {type(hits).__name__}, not Hits"
    for name, array, dtype in (("rows", hits.rows, np.int64), ("scores", hits.scores, np.float32)):
        assert isinstance(array, np.ndarray), f"{name} are {type(array).__name__}, not an array"
        assert array.dtype == dtype, f"{name} are {array.dtype}: expected {np.dtype(dtype)}"
        assert array.shape == (batch, k), f"{name} are {array.shape}: expected [{batch}, {k}]"
    assert not np.isnan(hits.scores).any(), "a score is NaN"
    missing = hits.rows == MISSING_ROW
    assert (np.isneginf(hits.scores) == missing).all(), (
        "a hit that exists must have a finite score, and a missing one row -1 and score -inf"
    )
    assert (missing[:, 1:] >= missing[:, :-1]).all(), "a missing hit comes before one that exists"
    assert (hits.scores[:, 1:] <= hits.scores[:, :-1]).all(), "scores do not descend"
    for rows, scores in zip(hits.rows, hits.scores, strict=True):
        existing = rows[rows != MISSING_ROW]
        assert len(np.unique(existing)) == len(existing), (
            f"a row is found twice: {existing.tolist()}"
        )
        unknown = np.setdiff1d(existing, known)
        assert not len(unknown), (
            f"row {unknown[0]} is found, which was not added, or is not allowed"
        )
        tied = (scores[1:] == scores[:-1]) & (rows[1:] != MISSING_ROW)
        assert (rows[1:] > rows[:-1])[tied].all(), (
            f"scores tie but rows do not ascend: {rows.tolist()}"
        )


def identical(actual: Hits, expected: Hits, what: str) -> None:
    """Check that rows are the same, and scores to the last bit."""
    assert np.array_equal(actual.rows, expected.rows), (
        f"{what}: rows {_first_difference(actual.rows, expected.rows)}"
    )
    assert actual.scores.tobytes() == expected.scores.tobytes(), (
        f"{what}: scores {_first_difference(actual.scores, expected.scores)}"
    )


def agree(actual: Hits, expected: Hits, what: str) -> None:
    """Check that rows and scores are the same up to rounding, which may reorder near ties."""
    assert actual.rows.shape == expected.rows.shape, (
        f"{what}: {actual.rows.shape} and {expected.rows.shape}"
    )
    for rows, scores, rows_, scores_ in zip(
        actual.rows, actual.scores, expected.rows, expected.scores, strict=True
    ):
        exists, exists_ = rows != MISSING_ROW, rows_ != MISSING_ROW
        assert exists.sum() == exists_.sum(), f"{what}: {exists.sum()} hits and {exists_.sum()}"
        if not exists.any():
            continue
        within = CLOSE * max(1.0, float(np.abs(scores[exists]).max()))
        gap = float(np.abs(scores[exists] - scores_[exists_]).max())
        assert gap <= within, f"{what}: scores {scores[exists]} and {scores_[exists_]}"
        by_row = dict(zip(rows[exists].tolist(), scores[exists].tolist(), strict=True))
        by_row_ = dict(zip(rows_[exists_].tolist(), scores_[exists_].tolist(), strict=True))
        last = float(scores[exists][-1])
        for row in by_row.keys() ^ by_row_.keys():
            score = by_row[row] if row in by_row else by_row_[row]
            assert abs(score - last) <= within, (
                f"{what}: row {row} is found by only one of the searches"
            )
        for row in by_row.keys() & by_row_.keys():
            assert abs(by_row[row] - by_row_[row]) <= within, (
                f"{what}: row {row} has score {by_row[row]} and {by_row_[row]}"
            )


def _first_difference(actual: npt.NDArray[np.generic], expected: npt.NDArray[np.generic]) -> str:
    if actual.shape != expected.shape:
        return f"have shapes {actual.shape} and {expected.shape}"
    question = int((actual != expected).any(axis=1).argmax())
    return (
        f"of question {question} are {actual[question].tolist()} and {expected[question].tolist()}"
    )
