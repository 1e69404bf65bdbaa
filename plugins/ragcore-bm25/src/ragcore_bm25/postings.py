"""The scores of all (term, passage) pairs by a formula, computed once, for `ragcore.postings`.

Knows terms by number and passages by position; the formula comes from `variants.py`, what is
counted from `counts.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from ragcore.disk.arrays import save_array
from ragcore.disk.loading import reading
from ragcore.postings import Postings, blocks, check_numbers, read
from ragcore_bm25.counts import Counts
from ragcore_bm25.variants import Formula

__all__ = ["build_postings", "load_postings", "save_postings"]

_FILES: Final = ("weights", "floors")


def build_postings(counts: Counts, formula: Formula) -> Postings:
    """Compute the scores by a formula; they depend on the passages, not on their order.

    Args:
        counts: without titles; see `Counts.weighed`.
        formula: of the scores.
    """
    holders, norms = counts.document_frequencies, formula.norms(counts.lengths)
    term_weights = formula.weights(holders, len(counts))  # [terms]
    weights = np.empty(len(counts.positions), np.float32)
    for terms, pairs in blocks(counts.bounds):
        worths = formula.worths(counts.frequencies[pairs], norms[counts.positions[pairs]])
        weights[pairs] = np.repeat(term_weights[terms], holders[terms]) * worths
    floors = (term_weights * formula.floor).astype(np.float32)  # [terms]
    return Postings(counts.positions, counts.bounds, len(counts), weights, floors)


def save_postings(postings: Postings, folder: Path) -> None:
    """Write the scores as .npy files; which passages hold a term is in the counts."""
    for name in _FILES:
        save_array(folder / f"{name}.npy", getattr(postings, name))


def load_postings(folder: Path, counts: Counts, title_weight: int, *, mmap: bool) -> Postings:
    """Load what `save_postings` wrote.

    Args:
        folder: that it was saved into.
        counts: that the scores were computed from.
        title_weight: with which these were weighed.
        mmap: map the arrays into memory instead of reading them.

    Raises:
        StoreCorruptError: a file is missing, broken, or does not fit the others.
    """
    positions, bounds = counts.holders(title_weight)
    arrays: dict[str, Any] = {}
    for name, length in zip(_FILES, (len(positions), counts.terms), strict=True):
        path = folder / f"{name}.npy"
        arrays[name] = read(path, mmap)
        with reading(path):
            check_numbers(arrays[name], length)
    return Postings(positions, bounds, len(counts), **arrays)
