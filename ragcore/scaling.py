"""Scale short vectors by a power of two, which is exact.

A library that computes 1 - x·y, stores float16, or has centroids of length 1 loses vectors much
shorter than 1. An index that uses one multiplies the vectors that it gives to it, and the queries,
and divides the scores. Knows no index.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from ragcore.types import Scores, Vectors

__all__ = ["checked_scale", "scales"]

_SHORT: Final = 2.0**-6
_LARGEST: Final = 60
"""The exponent of the largest scale: two of them, multiplied, are still within float32."""


def scales(vectors: Vectors) -> Scores:
    """Return for each of vectors [n, d] the power of two that takes its length near 1, float32 [n].

    It is 1 for a vector that is not short, or is all zeros.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    short = (lengths > 0) & (lengths < _SHORT)
    exponents = np.where(short, -np.round(np.log2(np.where(short, lengths, 1))), 0)
    powers: Scores = np.ldexp(np.float32(1), np.minimum(exponents, _LARGEST).astype(int))
    return powers


def checked_scale(value: Any) -> float:
    """Return a scale that was read from a file.

    Raises:
        ValueError: it is no power of two within the limits.
    """
    scale = float(value)
    if not (1 <= scale <= 2.0**_LARGEST and math.frexp(scale)[0] == 1 / 2):
        raise ValueError(f"the scale of its vectors is {value!r}: expected a power of two")
    return scale
