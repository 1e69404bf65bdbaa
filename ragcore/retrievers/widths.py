"""How widely each of several graphs is searched, so that together they find what one graph would.

A graph considers `width` candidates (FAISS's efSearch, hnswlib's ef_search), whatever its size: 16
graphs that are searched with all of it consider 16 times as many, and find more than one graph of
all rows does. Knows numbers of rows and of hits; knows nothing of indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["crowded", "narrowed"]

_POWER: Final = 0.3
"""A segment with the share p of the rows is searched with the share p ** _POWER of the width.

Measured: 4 to 16 equal segments of 50,000 vectors find what one graph does with p ** 0.4 of its
width 64, and with more of a smaller width; 0.3 leaves room for that. By its share alone (p ** 1) a
segment finds less, since a narrow search ends before it has come near the best rows.
`benchmarks/segments.py` measures it again.
"""


def narrowed(visible: Sequence[int], stored: Sequence[int], width: int, k: int) -> list[int]:
    """Return how many candidates to consider in each of several segments, from k to `width`.

    That depends on numbers of rows alone, so that a version always answers alike. One that has more
    than half of all visible rows is searched with the whole width, as one graph would be.

    Args:
        visible: of each segment, rows that were not removed.
        stored: of each segment, all rows, removed ones as well: its search considers them, too.
        width: of a search of one graph.
        k: hits per query.

    Returns:
        Nothing, if together that would save less than to search a segment a second time costs: of
        two or three segments of about equal size, or if k is near the width.
    """
    total = sum(visible)
    widths = []
    for left, rows in zip(visible, stored, strict=True):
        share = (left / total) ** _POWER * rows / left if left else 1.0
        narrow = min(width, max(k, ceil(width * share)))
        widths.append(width if 2 * left > total else narrow)
    return widths if sum(widths) + width < len(widths) * width else []


def crowded(
    owners: npt.NDArray[np.intp], widths: Sequence[int], width: int
) -> npt.NDArray[np.bool_]:
    """Return which segments have more of a query's best hits than their share of the width.

    Of the `width` best rows, which one graph would consider, such a segment has as large a share,
    and so more than were considered in it: where a corpus is sorted by subjects, the best rows of
    a question lie in few segments. Lucene searches such segments a second time, too
    (AbstractKnnVectorQuery).

    Args:
        owners: [B, k], the segment that each hit is of; -1 for a missing hit.
        widths: of each segment.
        width: of a search of one graph.

    Returns:
        [B, segments]; False where the whole width was searched.
    """
    limits = np.array(widths)
    segments = np.arange(len(widths))[:, None]
    counts = (owners[:, None, :] == segments).sum(axis=2)  # [B, segments]
    mask: npt.NDArray[np.bool_] = (counts * width > owners.shape[1] * limits) & (limits < width)
    return mask
