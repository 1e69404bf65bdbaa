"""Weights of (term, passage) pairs, and the passages with the best sums of them for a question.

For retrievers of plugins that match terms: of words, as BM25, or of a model's vocabulary. Knows
terms by number and passages by position; knows no text, no row and no formula. Arrays never change:
adding and removing passages gives new ones.

The idea is bm25s': weights are computed once, and a question then costs additions only. The package
itself, in its release 0.3, does not suit: its index is made once from all passages, in a loop over
them in Python, and passages cannot be added or removed; which of the passages that tie are returned
depends on a partition; and a mask multiplies scores, so that excluded passages are still returned,
with score 0. Tests of the retriever `bm25` compare the scores with bm25s', and a benchmark the
speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.disk.arrays import samples, save_array
from ragcore.disk.loading import reading
from ragcore.disk.threads import yield_gil
from ragcore.errors import StoreCorruptError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ragcore.types import Scores

    Places = npt.NDArray[np.int64]
    Positions = npt.NDArray[np.int32]
    Bounds = npt.NDArray[np.int64]

__all__ = [
    "Postings",
    "best",
    "blocks",
    "bounds_of",
    "check_numbers",
    "check_pairs",
    "joined",
    "read",
]

_STRIDES: Final = 128
_GROUP: Final = 16
_SPARSE: Final = 8
"""If the terms have no more pairs than one for so many passages, only these are compared."""
_BLOCK: Final = 1 << 22
"""Pairs processed at a time, so that no array holds eight bytes for every pair at once."""


@dataclass(frozen=True, slots=True)
class Postings:
    """Weights of P (term, passage) pairs, in the order of terms, then of passages.

    Attributes:
        positions: int32 [P], the passages that each term is in, term after term.
        bounds: int64 [terms + 1], where each term's begin.
        size: the number of passages.
        weights: float32 [P], what each pair adds to the passage's score, above the floor.
        floors: float32 [terms], what a term adds to every passage; None for nothing.
        signed: whether one term's weights may have both signs.
    """

    positions: npt.NDArray[np.int32]
    bounds: Bounds
    size: int
    weights: Scores
    floors: Scores | None = None
    signed: bool = False

    @classmethod
    def of(
        cls, terms: npt.NDArray[np.int32], weights: Scores, lengths: npt.NDArray[Any], count: int
    ) -> Postings:
        """Sort the terms of passages.

        Args:
            terms: numbers of terms [P], passage after passage, each once in a passage.
            weights: float32 [P].
            lengths: how many terms each passage has [size].
            count: how many terms there are.
        """
        positions = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)  # [P]
        bounds = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(terms, minlength=count), out=bounds[1:])
        order = np.argsort(terms, kind="stable")
        signed = bool((weights < 0).any())
        return cls(positions[order], bounds, len(lengths), weights[order], signed=signed)

    @classmethod
    def joined(cls, parts: Sequence[Postings]) -> Postings:
        """Concatenate postings of the same terms without floors, passage after passage."""
        if len(parts) == 1:
            return parts[0]
        positions, bounds, (weights,) = joined(
            [part.positions for part in parts],
            [part.bounds for part in parts],
            [part.size for part in parts],
            [[part.weights for part in parts]],
            parts[0].terms,
        )
        signed = any(part.signed for part in parts)
        return cls(positions, bounds, sum(part.size for part in parts), weights, signed=signed)

    def kept(self, keep: npt.NDArray[np.bool_]) -> Postings:
        """Keep only the passages where `keep` [size] is true, in order; all terms stay."""
        stays = keep[self.positions]  # [P]
        moved = np.cumsum(keep, dtype=np.int32) - np.int32(1)
        weights = self.weights[stays]
        return Postings(
            moved[self.positions[stays]],
            bounds_of(self.bounds, stays),
            int(keep.sum()),
            weights,
            self.floors,
            self.signed and bool((weights < 0).any()),
        )

    @property
    def terms(self) -> int:
        """The number of terms, those in no passage included."""
        return len(self.bounds) - 1

    def search(
        self,
        terms: Sequence[int],
        k: int,
        kept: npt.NDArray[np.bool_] | None,
        factors: Scores | None = None,
    ) -> tuple[Places, Scores]:
        """Return passages that hold any of the terms, with scores; a repeated term counts twice.

        A passage's score is a sum of float32 in the order of the terms, whatever other passages
        there are.

        Args:
            terms: numbers of terms, in the question's order.
            k: how many to return; those that tie with the last of them come too.
            kept: bool [size], the passages that may be returned, or None for all.
            factors: float32, what each term's weights are multiplied with; None for 1.

        Raises:
            StoreCorruptError: the arrays name a passage that does not exist.
        """
        bounds, size = self.bounds, self.size
        scores = np.zeros(size, np.float32)  # [size]
        parts = [slice(bounds[term], bounds[term + 1]) for term in terms]
        is_sparse = sum(part.stop - part.start for part in parts) * _SPARSE <= size
        holders: list[Places] = []
        for number, part in enumerate(parts):
            # numpy is fast at this only if it need not convert the positions itself.
            positions = self.positions[part].astype(np.intp)
            if is_sparse:
                holders.append(positions)
            weights = self.weights[part]
            if factors is not None:
                weights = weights * factors[number]
            try:
                np.add.at(scores, positions, weights)
            except IndexError as error:
                # Of large files only samples are checked when they are loaded.
                raise StoreCorruptError(
                    f"a term is in a passage that does not exist ({error}): rebuild this version "
                    "of the memory"
                ) from error
        floor = np.float32(0) if self.floors is None else self.floors[list(terms)].sum()
        if is_sparse and holders:
            return _best_holders(scores, holders, k, kept, floor)
        # Where all that is added is positive, 0 says "holds none of them".
        nothing = np.float32(0)
        if self._adds_less_than_nothing(parts, factors):
            nothing = np.float32(-np.inf)
            missing = np.ones(size, np.bool_)
            for part in parts:
                missing[self.positions[part]] = False
            scores[missing] = nothing
        if kept is not None:
            scores[~kept] = nothing
        return best(scores, k, nothing, floor)

    def save(self, folder: Path) -> None:
        """Write pairs and weights as .npy files; a caller that has floors writes them itself."""
        for name in ("positions", "bounds", "weights"):
            save_array(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, size: int, *, mmap: bool, signed: bool) -> Postings:
        """Load what `save` wrote.

        Args:
            folder: that it was saved into.
            size: the number of passages.
            mmap: map the arrays into memory instead of reading them.
            signed: whether one term's weights may have both signs.

        Raises:
            StoreCorruptError: a file is missing, broken, or does not fit the others.
        """
        positions, bounds = (read(folder / f"{name}.npy", mmap) for name in ("positions", "bounds"))
        with reading(folder / "bounds.npy"):
            check_pairs(positions, bounds, size)
        weights = read(folder / "weights.npy", mmap)
        with reading(folder / "weights.npy"):
            check_numbers(weights, len(positions))
        return cls(positions, bounds, size, weights, signed=signed)

    def _adds_less_than_nothing(self, parts: Sequence[slice], factors: Scores | None) -> bool:
        """Return whether what a term adds is 0 or less for any passage, or may be."""
        if self.signed or (factors is not None and not (factors > 0).all()):
            return True
        # A term's weights all have one sign.
        return any(part.start < part.stop and self.weights[part.start] <= 0 for part in parts)


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
            least = _least_tied(high, floor)
    if least > nothing:
        near = np.flatnonzero(maxima >= least)
        strides, among = np.nonzero(groups[:, near] >= least)
        rest = cut + np.flatnonzero(scores[cut:] >= least)
        places = np.concatenate((strides * width + near[among], rest))
    else:
        places = np.flatnonzero(scores > nothing)
    return _best_of(places, scores[places] + floor, k)


def _best_holders(
    scores: Scores,
    holders: Sequence[Places],
    k: int,
    kept: npt.NDArray[np.bool_] | None,
    floor: np.float32,
) -> tuple[Places, Scores]:
    """Return what `best` does, looking only at the places that hold a term.

    Args:
        scores: float32 [size].
        holders: the places of each term, one term at least, each once in a term.
        k: how many to return.
        kept: bool [size], the places that may be returned, or None for all.
        floor: added to each score before ties are judged.
    """
    places = np.concatenate(holders)
    if kept is not None:
        places = places[kept[places]]
    # A place comes at most once for each term. So these are the scores of k places at least, and
    # as in `best` they are reached by so many of the groups' maxima.
    enough = k * len(holders)
    width = len(places) // _GROUP
    if width > enough:
        reached = scores[places]
        maxima = reached[: width * _GROUP].reshape(_GROUP, width).max(axis=0)  # [width]
        high = np.partition(maxima, width - enough)[width - enough]
        places = places[reached >= _least_tied(high, floor)]
    places.sort()
    is_first = np.ones(len(places), np.bool_)
    np.not_equal(places[1:], places[:-1], out=is_first[1:])
    places = places[is_first]
    return _best_of(places, scores[places] + floor, k)


def _least_tied(score: np.float32, floor: np.float32) -> np.float32:
    """Return the least score that can be equal to this one once a floor is added to both."""
    return score - 2 * np.spacing(np.abs(score) + floor) if floor else score


def _best_of(places: Places, scores: Scores, k: int) -> tuple[Places, Scores]:
    """Return the k places with the highest scores, and all that tie with the last."""
    if len(scores) > k:
        enough = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        places, scores = places[enough], scores[enough]
    return places, scores


def joined(
    positions: Sequence[npt.NDArray[np.int32]],
    bounds: Sequence[Bounds],
    sizes: Sequence[int],
    numbers: Sequence[Sequence[npt.NDArray[Any]]],
    terms: int,
) -> tuple[npt.NDArray[np.int32], Bounds, list[npt.NDArray[Any]]]:
    """Concatenate the pairs of several parts, passage after passage.

    Args:
        positions: of each part, int32 [P].
        bounds: of each part, int64; a part may know fewer terms than there are.
        sizes: the number of passages of each part.
        numbers: fields of the pairs; each has an array [P] of each part.
        terms: how many terms there are.

    Returns:
        Positions, bounds and fields of all.
    """
    # [terms] for each part
    holders = [np.pad(np.diff(each), (0, terms + 1 - len(each))) for each in bounds]
    ends = np.zeros(terms + 1, np.int64)
    np.cumsum(np.sum(holders, axis=0, dtype=np.int64), out=ends[1:])
    fields = [
        np.empty(ends[-1], max((part.dtype for part in field), key=lambda dtype: dtype.itemsize))
        for field in numbers
    ]
    joined_positions = np.empty(ends[-1], np.int32)
    free, before = ends[:-1].copy(), 0
    for number, counts in enumerate(holders):
        # Pair i of a part goes to where its term has room, as far in as it was in the part.
        moves = free - (np.cumsum(counts) - counts)
        for some, pairs in blocks(bounds[number]):
            places = np.repeat(moves[some], counts[some])
            places += np.arange(pairs.start, pairs.stop)
            for field, values in zip(fields, numbers, strict=True):
                field[places] = values[number][pairs]
            joined_positions[places] = positions[number][pairs] + np.int32(before)
        free += counts
        before += sizes[number]
    return joined_positions, ends, fields


def blocks(bounds: npt.NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Yield all terms in blocks with their pairs: about _BLOCK pairs, one term at least."""
    first, terms = 0, len(bounds) - 1
    while first < terms:
        after = int(np.searchsorted(bounds, bounds[first] + _BLOCK, side="right")) - 1
        after = min(max(after, first + 1), terms)
        yield slice(first, after), slice(bounds[first], bounds[after])
        first = after


def read(path: Path, mmap: bool) -> Any:
    """Load the array in a .npy file, mapped into memory or read."""
    yield_gil()
    # As a plain array: slices of np.memmap are slow to make.
    with reading(path):
        return np.asarray(np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False))


def bounds_of(bounds: Bounds, stays: npt.NDArray[np.bool_]) -> Bounds:
    """Return where each term's pairs begin once only those of `stays` [P] are left."""
    return bounds - np.searchsorted(np.flatnonzero(~stays), bounds)


def check_pairs(positions: Any, bounds: Any, size: int) -> None:
    """Check arrays that were read: positions [P] of `size` passages, and bounds [terms + 1].

    Raises:
        ValueError: they do not fit each other.
    """
    if (positions.dtype, bounds.dtype) != (np.int32, np.int64):
        raise ValueError(f"they are {positions.dtype}, {bounds.dtype}, expected int32, int64")
    if (positions.ndim, bounds.ndim) != (1, 1) or not len(bounds):
        raise ValueError("its arrays are not of the same pairs")
    if bounds[0] != 0 or bounds[-1] != len(positions) or (bounds[1:] < bounds[:-1]).any():
        raise ValueError("its terms do not begin where the one before ends")
    for block in samples(positions):
        if block.min() < 0 or block.max() >= size:
            raise ValueError("a term is in a passage that does not exist")


def check_numbers(numbers: npt.NDArray[Any], length: int) -> None:
    """Check that an array has one finite float32 for each pair or term.

    Raises:
        ValueError: it has not.
    """
    if numbers.dtype != np.float32 or numbers.shape != (length,):
        raise ValueError(f"it has {numbers.dtype}{numbers.shape}, expected float32({length},)")
    if not all(np.isfinite(block).all() for block in samples(numbers)):
        raise ValueError("a number in it is not finite")
