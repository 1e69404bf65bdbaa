"""Scale short vectors by a power of two, which is exact.

A library that computes 1 - x·y, stores float16, or has centroids of length 1 loses vectors much
shorter than 1. An index that uses one multiplies the vectors that it gives to it, and the queries,
and divides the scores; in return numbers must stay within what float32 can hold. Knows no index.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Scores, Vectors

__all__ = ["checked_scale", "common_scale", "in_range", "need_no_scale", "scales"]

_SHORT: Final = 2.0**-6
_LARGEST: Final = 60
"""The exponent of the largest scale: two of them, multiplied, are still within float32."""
_MOST: Final = 1e18
"""Numbers below this have products that float32 can hold, and sums of those: an infinite score
ranks nothing."""


def in_range(numbers: npt.NDArray[Any]) -> bool:
    """Return whether all numbers are finite, and their products, too."""
    least, most = float(numbers.min(initial=0)), float(numbers.max(initial=0))
    return least > -_MOST and most < _MOST


def need_no_scale(vectors: Vectors) -> bool:
    """Return True only if vectors [n, d] are all in range, and the scale of each is 1.

    Takes a microsecond for one vector, where `in_range` and `scales` take forty. False says
    nothing: the vectors may still need none.
    """
    if not len(vectors):
        return False
    if len(vectors) == 1:
        least = most = float(np.vdot(vectors, vectors))
    else:
        squares = np.einsum("nd,nd->n", vectors, vectors)  # [n]
        least, most = squares.min(), squares.max()
    # Within half of the limits, whatever the rounding of a float32 sum. NaN compares false.
    return bool(least > 2 * _SHORT**2 and most < _MOST**2 / 2)


def scales(vectors: Vectors) -> Scores:
    """Return for each of vectors [n, d] the power of two that takes its length near 1, float32 [n].

    It is 1 for a vector that is not short, or is all zeros.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    short = (lengths > 0) & (lengths < _SHORT)
    exponents = np.where(short, -np.round(np.log2(np.where(short, lengths, 1))), 0)
    powers: Scores = np.ldexp(np.float32(1), np.minimum(exponents, _LARGEST).astype(int))
    return powers


def common_scale(vectors: Vectors) -> float | None:
    """Return the power of two that takes the longest of vectors [n, d] near 1.

    It is None where all are zeros: their length says nothing of those that come later.
    """
    exists = vectors.any(axis=1)
    return float(scales(vectors[exists]).min()) if exists.any() else None


def checked_scale(value: Any) -> float:
    """Return a scale that was read from a file.

    Raises:
        ValueError: it is no power of two within the limits.
    """
    scale = float(value)
    if not (1 <= scale <= 2.0**_LARGEST and math.frexp(scale)[0] == 1 / 2):
        raise ValueError(f"the scale of its vectors is {value!r}: expected a power of two")
    return scale
