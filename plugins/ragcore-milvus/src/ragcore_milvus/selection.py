"""Which rows of a collection a search may find, as a filter expression of Milvus.

Knows row numbers and the expressions; knows nothing of vectors or connections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ragcore.types import Rows

__all__ = ["Selection", "selections"]

_MOST_LISTED: Final = 200_000
"""Rows in one expression: 2 MB, which Milvus 2.3 reads in a second, far below what it refuses."""

_NO_ROWS: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows from `first` up to `last`, all of them, or those listed, or all but those listed.

    Attributes:
        first: the lowest row.
        last: the highest row.
        whole: whether all rows of the collection lie between them.
        listed: int64 [n], ascending, the only ones; None for all.
        without: int64 [n], ascending, those to leave out.
        condition: an expression that must be true of each; empty for none.
    """

    first: int
    last: int
    whole: bool = False
    listed: Rows | None = None
    without: Rows = field(default_factory=lambda: _NO_ROWS)
    condition: str = ""

    @property
    def may_lack_some(self) -> bool:
        """Whether there may be fewer than `most`."""
        return self.listed is not None or bool(self.condition)

    @property
    def most(self) -> int:
        """How many rows there are at most."""
        if self.listed is not None:
            return len(self.listed)
        return max(self.last - self.first + 1 - len(self.without), 0)

    @property
    def expression(self) -> str:
        """The filter; empty for all rows."""
        if self.listed is not None:
            return f"row in {_written(self.listed)}"
        parts = [] if self.whole else [f"row >= {self.first}", f"row <= {self.last}"]
        if len(self.without):
            parts.append(f"row not in {_written(self.without)}")
        if self.condition:
            parts.append(self.condition)
        return " and ".join(parts)

    def halves(self) -> tuple[Selection, Selection]:
        """Return the lower and the higher half; of two rows or more."""
        if self.listed is not None:
            middle = len(self.listed) // 2
            lower, higher = self.listed[:middle], self.listed[middle:]
            return _listed(lower), _listed(higher)
        end = (self.first + self.last) // 2
        cut = int(np.searchsorted(self.without, end, "right"))
        return (
            Selection(self.first, end, without=self.without[:cut], condition=self.condition),
            Selection(end + 1, self.last, without=self.without[cut:], condition=self.condition),
        )


def selections(first: int, last: int, count: int, allowed: Rows | None) -> Iterator[Selection]:
    """Yield selections that have no row in common, and together those allowed.

    Args:
        first: the lowest row of the collection.
        last: its highest one.
        count: how many it has.
        allowed: int64, the only rows to search, in any order; None for all.
    """
    if allowed is None:
        yield Selection(first, last, whole=True)
        return
    rows = np.unique(np.asarray(allowed, np.int64))
    rows = rows[(rows >= first) & (rows <= last)]
    if not len(rows):
        return
    low, high = int(rows[0]), int(rows[-1])
    if high - low + 1 == len(rows):
        yield Selection(low, high, whole=low == first and high == last)
        return
    # Of a collection without gaps it is known what is not allowed, which may be fewer.
    if last - first + 1 == count and count - len(rows) < min(len(rows), _MOST_LISTED):
        every = np.arange(first, last + 1, dtype=np.int64)
        without = every[~np.isin(every, rows, assume_unique=True)]
        yield Selection(first, last, whole=True, without=without)
        return
    for start in range(0, len(rows), _MOST_LISTED):
        yield _listed(rows[start : start + _MOST_LISTED])


def _listed(rows: Rows) -> Selection:
    return Selection(int(rows[0]), int(rows[-1]), listed=rows)


def _written(rows: Rows) -> str:
    return "[" + ",".join(map(str, rows.tolist())) + "]"
