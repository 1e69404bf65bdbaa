"""Look up the numbers that FAISS has given to the vectors of rows.

FAISS numbers vectors from 0, in the order in which their rows came. Knows nothing of FAISS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Rows

__all__ = ["Numbering", "among"]


class Numbering:
    """The number of each row; immutable, so that threads can share it.

    Attributes:
        rows: int64 [n], distinct, in FAISS's order.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        ascending = bool((rows[1:] > rows[:-1]).all())
        # Most lists ascend; then a place in them is the number.
        self._order = None if ascending else np.argsort(rows, kind="stable")
        self._ascending = rows if self._order is None else rows[self._order]

    def find(self, rows: Rows) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """Return the numbers of those of `rows` [m] that exist, in order, and which do, [m]."""
        exists = among(rows, self._ascending)
        places = np.searchsorted(self._ascending, rows[exists])
        numbers = places if self._order is None else self._order[places]
        return numbers.astype(np.int64, copy=False), exists


def among(rows: Rows, ascending: Rows) -> npt.NDArray[np.bool_]:
    """Return which of `rows`, of any shape, are in an ascending list."""
    if not len(ascending):
        return np.zeros(rows.shape, np.bool_)
    places = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)
    mask: npt.NDArray[np.bool_] = ascending[places] == rows
    return mask
