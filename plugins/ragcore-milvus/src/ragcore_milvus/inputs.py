"""Refuse vectors and rows that an index cannot store.

Knows what numbers can be compared by inner product, and that rows are distinct; knows nothing of
collections. Messages begin with the index's name, which is passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ragcore.errors import ComponentError
from ragcore.scaling import in_range, need_no_scale

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors

__all__ = ["checked_vectors", "refuse_repeated", "refuse_taken"]


def checked_vectors(name: str, vectors: Vectors, dim: int) -> Vectors:
    """Return vectors as float32 [n, d], contiguous.

    Raises:
        ComponentError: they have another shape, a number is not finite, or it is too large to
            multiply.
    """
    values = np.ascontiguousarray(vectors, np.float32)
    if values.ndim != 2 or values.shape[1] != dim:
        raise ComponentError(
            f"{name} holds vectors of {dim} dimensions and was given an array of "
            f"shape {values.shape}: it must be [n, {dim}]"
        )
    if not (need_no_scale(values) or in_range(values)):
        raise ComponentError(
            f"{name} was given a vector that is not finite, or has a number above 1e18"
        )
    return values


def refuse_repeated(name: str, new: Rows) -> None:
    """Raise if rows [n], n at least 1, cannot be added together.

    Raises:
        ComponentError: one is negative, or there twice.
    """
    if new.min() < 0:
        raise ComponentError(f"{name}: row {new.min()} is negative: rows count from 0")
    if len(np.unique(new)) < len(new):
        raise ComponentError(f"{name}: the same row was given twice in one call")


def refuse_taken(name: str, new: Rows, existing: Rows) -> None:
    """Raise if one of rows [n] is among those that exist, [m].

    Raises:
        ComponentError: one is.
    """
    taken = new[np.isin(new, existing)]
    if len(taken):
        raise ComponentError(f"{name}: row {taken[0]} is already there")
