"""The scores of all (term, passage) pairs, computed once, and the best sums of them for a question.

Knows terms by number and passages by position; the formula comes from `variants.py`, what is
counted from `counts.py`.

The idea is bm25s': a question then costs additions only. The package itself, in its release 0.3,
does not suit this retriever: its index is made once from all passages, in a loop over them in
Python, and passages cannot be added or removed; it lacks two of rank-bm25's variants (`okapi` and
`l`); which of the passages that tie are returned depends on a partition; and a mask multiplies
scores, so that excluded passages are still returned, with score 0. Tests compare the scores with
bm25s', and a benchmark the speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.disk.arrays import samples, save_array
from ragcore.disk.loading import reading
from ragcore.errors import StoreCorruptError
from ragcore_bm25.counts import Counts, blocks, read
from ragcore_bm25.variants import Formula

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Scores

    Places = npt.NDArray[np.int64]

__all__ = ["Postings", "best"]

_FILES: Final = ("weights", "floors")
_STRIDES: Final = 128


@dataclass(frozen=True, slots=True)
class Postings:
    """Scores by term.

    Attributes:
        positions: int32 [P], the passages that each term is in, term after term.
        bounds: int64 [terms + 1], where each term's begin.
        size: the number of passages.
        weights: float32 [P], what each pair adds to the passage's score, above the floor.
        floors: float32 [terms], what a term adds to every passage.
    """

    positions: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]
    size: int
    weights: Scores
    floors: Scores

    @classmethod
    def build(cls, counts: Counts, formula: Formula) -> Postings:
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
        return cls(counts.positions, counts.bounds, len(counts), weights, floors)

    def search(
        self, terms: Sequence[int], k: int, kept: npt.NDArray[np.bool_] | None
    ) -> tuple[Places, Scores]:
        """Return passages that hold any of the terms, with scores; a repeated term counts twice.

        Args:
            terms: numbers of terms, in the question's order.
            k: how many to return; those that tie with the last of them come too.
            kept: bool [size], the passages that may be returned, or None for all.

        Raises:
            StoreCorruptError: the arrays name a passage that does not exist.
        """
        bounds, size = self.bounds, self.size
        scores = np.zeros(size, np.float32)  # [size]
        parts = [slice(bounds[term], bounds[term + 1]) for term in terms]
        for part in parts:
            # numpy is fast at this only if it need not convert the positions itself.
            positions = self.positions[part].astype(np.intp)
            try:
                np.add.at(scores, positions, self.weights[part])
            except IndexError as error:
                # Of large files only samples are checked when they are loaded.
                raise StoreCorruptError(
                    f"retriever 'bm25': a term is in a passage that does not exist ({error}): "
                    "rebuild this version of the memory"
                ) from error
        # A term's weights all have one sign. Where all are positive, 0 says "holds none of them".
        nothing = np.float32(0)
        if any(part.start < part.stop and self.weights[part.start] <= 0 for part in parts):
            nothing = np.float32(-np.inf)
            missing = np.ones(size, np.bool_)
            for part in parts:
                missing[self.positions[part]] = False
            scores[missing] = nothing
        if kept is not None:
            scores[~kept] = nothing
        return best(scores, k, nothing, self.floors[list(terms)].sum())

    def save(self, folder: Path) -> None:
        """Write the scores as .npy files; which passages hold a term is in the counts."""
        for name in _FILES:
            save_array(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, counts: Counts, title_weight: int, *, mmap: bool) -> Postings:
        """Load what `save` wrote.

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
                _check_numbers(arrays[name], length)
        return cls(positions, bounds, len(counts), **arrays)


def _check_numbers(numbers: npt.NDArray[Any], length: int) -> None:
    """Check that an array has one finite number for each pair or term; else ValueError."""
    if numbers.dtype != np.float32 or numbers.shape != (length,):
        raise ValueError(f"it has {numbers.dtype}{numbers.shape}, expected float32({length},)")
    if not all(np.isfinite(block).all() for block in samples(numbers)):
        raise ValueError("a number in it is not finite")


def best(scores: Scores, k: int, nothing: np.float32, floor: np.float32) -> tuple[Places, Scores]:
    """Return the places of the k highest scores above `nothing`, and of all that tie with the last.

    Args:
        scores: float32 [size].
        k: how many to return.
        nothing: the score of a passage that is no hit.
        floor: added to each score before ties are judged.

    Returns:
        Places in no order of rank, and their scores with the floor.
    """
    # At least k scores reach the k-th highest of the groups' maxima. So only few groups, and few
    # scores in them, need a closer look.
    least = nothing
    width = len(scores) // _STRIDES
    cut = width * _STRIDES
    groups = scores[:cut].reshape(_STRIDES, width)  # a group is a column
    maxima = groups.max(axis=0)  # [width]
    if k < width:
        high = np.partition(maxima, width - k)[width - k]
        if high > nothing:
            # Scores that lie this close can be equal once a floor is added.
            least = high - 2 * np.spacing(np.abs(high) + floor) if floor else high
    if least > nothing:
        near = np.flatnonzero(maxima >= least)
        strides, among = np.nonzero(groups[:, near] >= least)
        rest = cut + np.flatnonzero(scores[cut:] >= least)
        places = np.concatenate((strides * width + near[among], rest))
    else:
        places = np.flatnonzero(scores > nothing)
    top = scores[places] + floor
    if len(top) > k:
        enough = top >= np.partition(top, len(top) - k)[len(top) - k]
        places, top = places[enough], top[enough]
    return places, top
