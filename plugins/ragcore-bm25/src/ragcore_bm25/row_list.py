"""Which row each passage has, position by position, while passages are added and removed.

Knows rows only; a removed passage keeps its position, with MISSING_ROW, until the rest moves up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ragcore.errors import ComponentError
from ragcore.types import MISSING_ROW

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["RowList"]


class RowList:
    """Rows in the order in which passages were added; not for several threads at once."""

    def __init__(self, rows: Rows | None = None) -> None:
        """Begin with distinct rows that nothing changes, or with none."""
        self._parts: list[Rows] = [] if rows is None else [rows]
        self._size = 0 if rows is None else len(rows)
        self._last = -1 if rows is None else int(rows.max(initial=-1))

    def __len__(self) -> int:
        """Return the number of rows that are not removed."""
        return self._size

    def check_new(self, rows: Rows) -> None:
        """Check that these rows, one or more, may be added.

        Raises:
            ComponentError: a row is negative, or taken, or comes twice.
        """
        if rows.min() < 0:
            raise ComponentError(
                f"retriever 'bm25': row {rows.min()} is negative: rows count from 0"
            )
        if len(np.unique(rows)) < len(rows):
            raise ComponentError("retriever 'bm25': the same row was given twice in one call")
        # Rows mostly ascend; only when they do not, all must be compared.
        if rows.min() <= self._last:
            taken = rows[np.isin(rows, self.all())]
            if len(taken):
                raise ComponentError(f"retriever 'bm25': row {taken[0]} is already there")

    def add(self, rows: Rows) -> None:
        """Add rows, one or more, that `check_new` has passed."""
        self._parts.append(rows)
        self._size += len(rows)
        self._last = max(self._last, int(rows.max()))

    def remove(self, rows: Rows) -> None:
        """Put MISSING_ROW in the positions of distinct rows.

        Raises:
            ComponentError: a row is not there; then none is removed.
        """
        all_rows = self.all()
        matches = np.isin(all_rows, rows) & (all_rows != MISSING_ROW)
        if matches.sum() < len(rows):
            unknown = rows[~np.isin(rows, all_rows[matches])]
            raise ComponentError(
                f"retriever 'bm25': row {unknown[0]} cannot be removed: it is not there"
            )
        self._parts = [np.where(matches, MISSING_ROW, all_rows)]
        self._size -= len(rows)

    def all(self) -> Rows:
        """Return the row of each position, MISSING_ROW where it was removed."""
        if len(self._parts) != 1:
            self._parts = [np.concatenate((np.zeros(0, np.int64), *self._parts))]
        return self._parts[0]
