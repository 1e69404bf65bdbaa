"""The average of token vectors, for many texts at once, in blocks that fit into a cache.

Knows ids and vectors; knows nothing of models and texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["average"]

_PIECE: Final = 1024
"""Tokens of a text that are summed together; a longer text is summed in pieces."""

_BLOCK: Final = 4096
"""Tokens whose vectors are gathered together, at least one piece."""


def average(
    ids: Sequence[Sequence[int]],
    vectors: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64] | None = None,
    weights: npt.NDArray[np.float32] | None = None,
    unknown: int | None = None,
) -> npt.NDArray[np.float32]:
    """Return the mean vector of each of n texts, float32 [n, d]; zeros for one without tokens.

    A text has the same vector, to the last bit, whatever the other texts are.

    Args:
        ids: the ids of each text's tokens.
        vectors: float32 [R, d].
        rows: int64 [V], the row of each token's vector; None if token i has row i.
        weights: float32 [V], a factor of each token's vector; None if all are 1.
        unknown: an id that is left out.
    """
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))  # [n]
    flat = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))  # [T], T tokens
    if unknown is not None:
        known = flat != unknown  # [T]
        texts = np.repeat(np.arange(len(ids)), lengths)[known]
        flat, lengths = flat[known], np.bincount(texts, minlength=len(ids))
    pieces = -(-lengths // _PIECE)  # [n], P of them in all
    owners = np.repeat(np.arange(len(ids)), pieces)  # [P]
    inside = np.arange(len(owners)) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # [P]
    starts = (np.cumsum(lengths) - lengths)[owners] + _PIECE * inside  # [P]
    ends = np.append(starts[1:], len(flat))  # [P]

    sums = np.zeros((len(ids), vectors.shape[1]), np.float32)  # [n, d]
    first = 0
    while first < len(owners):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + _BLOCK, side="right")))
        block = flat[starts[first] : ends[last - 1]]  # [t]
        gathered = vectors[block if rows is None else rows[block]]  # [t, d]
        if weights is not None:
            gathered = gathered * weights[block, None]
        parts = np.add.reduceat(gathered, starts[first:last] - starts[first], axis=0)
        np.add.at(sums, owners[first:last], parts)
        first = last
    means: npt.NDArray[np.float32] = sums / np.maximum(lengths, 1).astype(np.float32)[:, None]
    return means
