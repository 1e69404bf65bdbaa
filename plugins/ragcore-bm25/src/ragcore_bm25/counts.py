"""How often each term occurs in each passage: the stored counts that all scores follow from.

Knows terms by number and passages by position, and nothing of BM25: no formula, no row, no text.
Counts never change; adding and removing passages gives new ones, without reading a text again.
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

if TYPE_CHECKING:
    import numpy.typing as npt

    Tally = npt.NDArray[np.unsignedinteger]

__all__ = ["Counts", "blocks", "read"]

_FILES: Final = ("frequencies", "positions", "bounds", "lengths")
_LONGEST: Final = 1 << 24
"""More terms than any passage has."""
_BLOCK: Final = 1 << 22
"""Pairs processed at a time, so that no array holds eight bytes for every pair at once."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of P (term, passage) pairs, in the order of terms, then of passages.

    Attributes:
        frequencies: unsigned [P], how often the term occurs there; in as few bytes as suffice.
        positions: int32 [P], the passage.
        bounds: int64 [terms + 1], where each term's pairs begin.
        lengths: int32 [size], how many terms each passage has, repeats counted.
    """

    frequencies: Tally
    positions: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls, tokens: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32], terms: int
    ) -> Counts:
        """Count the terms of passages.

        Args:
            tokens: term numbers, passage after passage.
            lengths: how many of the tokens are each passage's [size].
            terms: how many terms there are.
        """
        size = len(lengths)
        pairs = tokens.astype(np.int64) * size + np.repeat(np.arange(size), lengths)  # [tokens]
        pairs, frequencies = np.unique(pairs, return_counts=True)  # [P] each
        numbers = pairs // max(size, 1)
        return cls(
            _narrow(frequencies),
            (pairs - numbers * size).astype(np.int32),
            np.searchsorted(numbers, np.arange(terms + 1)),  # [terms + 1]
            lengths.astype(np.int32, copy=False),
        )

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self.lengths)

    @property
    def terms(self) -> int:
        """The number of terms, those in no passage included."""
        return len(self.bounds) - 1

    @property
    def document_frequencies(self) -> npt.NDArray[np.int64]:
        """The number of passages that hold each term, int64 [terms]."""
        return np.diff(self.bounds)

    @classmethod
    def joined(cls, parts: Sequence[Counts], terms: int) -> Counts:
        """Concatenate counts, passage after passage; each may know fewer terms than the next."""
        if len(parts) == 1 and parts[0].terms == terms:
            return parts[0]
        # [terms] for each part
        holders = [np.pad(part.document_frequencies, (0, terms - part.terms)) for part in parts]
        bounds = np.zeros(terms + 1, np.int64)
        np.cumsum(np.sum(holders, axis=0, dtype=np.int64), out=bounds[1:])
        widest = max((part.frequencies.dtype for part in parts), key=lambda dtype: dtype.itemsize)
        frequencies, positions = np.empty(bounds[-1], widest), np.empty(bounds[-1], np.int32)
        free, before = bounds[:-1].copy(), 0
        for part, held in zip(parts, holders, strict=True):
            # Pair i of a part goes to where its term has room, as far in as it was in the part.
            moves = free - (np.cumsum(held) - held)
            for numbers, pairs in blocks(part.bounds):
                places = np.repeat(moves[numbers], held[numbers])
                places += np.arange(pairs.start, pairs.stop)
                frequencies[places] = part.frequencies[pairs]
                positions[places] = part.positions[pairs] + np.int32(before)
            free += held
            before += len(part)
        return cls(frequencies, positions, bounds, np.concatenate([part.lengths for part in parts]))

    def kept(self, keep: npt.NDArray[np.bool_]) -> Counts:
        """Keep only the passages where `keep` [size] is true, in order; all terms stay."""
        stays = keep[self.positions]  # [P]
        removed = np.flatnonzero(~stays)
        moved = np.cumsum(keep, dtype=np.int32) - np.int32(1)
        return Counts(
            self.frequencies[stays],
            moved[self.positions[stays]],
            self.bounds - np.searchsorted(removed, self.bounds),
            self.lengths[keep],
        )

    def without_terms(self, unused: npt.NDArray[np.bool_]) -> Counts:
        """Drop terms that no passage holds, where `unused` [terms] is true; the rest move up."""
        bounds = np.concatenate((self.bounds[:1], self.bounds[1:][~unused]))
        return Counts(self.frequencies, self.positions, bounds, self.lengths)

    def save(self, folder: Path) -> None:
        """Write each array as a .npy file."""
        for name in _FILES:
            save_array(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, *, mmap: bool) -> Counts:
        """Load what `save` wrote.

        Raises:
            StoreCorruptError: a file is missing, broken, or does not fit the others.
        """
        arrays: dict[str, Any] = {name: read(folder / f"{name}.npy", mmap) for name in _FILES}
        counts = cls(**arrays)
        # Any of the files may be the wrong one; the bounds are what holds the others together.
        with reading(folder / "bounds.npy"):
            counts._check()
        return counts

    def _check(self) -> None:
        """Check that searches find in these arrays what they look for.

        Raises:
            ValueError: they do not fit each other, or hold what no count can be.
        """
        dtypes = [str(getattr(self, name).dtype) for name in _FILES]
        if self.frequencies.dtype.kind != "u" or dtypes[1:] != ["int32", "int64", "int32"]:
            raise ValueError(f"its counts are {dtypes}, expected unsigned, int32, int64, int32")
        pairs, bounds = len(self.positions), self.bounds
        shapes = [getattr(self, name).ndim for name in _FILES]
        if shapes != [1, 1, 1, 1] or len(self.frequencies) != pairs or not len(bounds):
            raise ValueError("its arrays are not of the same pairs")
        if bounds[0] != 0 or bounds[-1] != pairs or (bounds[1:] < bounds[:-1]).any():
            raise ValueError("its terms do not begin where the one before ends")
        for positions in samples(self.positions):
            if positions.min() < 0 or positions.max() >= len(self):
                raise ValueError("a term is in a passage that does not exist")
        for frequencies in samples(self.frequencies):
            if not 0 < frequencies.min() <= frequencies.max() <= _LONGEST:
                raise ValueError("a term occurs never, or too often, where it occurs")
        for lengths in samples(self.lengths):
            if lengths.min() < 0 or lengths.max() > _LONGEST:
                raise ValueError(f"a passage has {lengths.min()} to {lengths.max()} terms")


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


def _narrow(frequencies: npt.NDArray[np.int64]) -> Tally:
    """Cast numbers to the fewest bytes that hold the largest."""
    narrow: Tally = frequencies.astype(np.min_scalar_type(int(frequencies.max(initial=0))))
    return narrow
