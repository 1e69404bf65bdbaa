"""How often each term occurs in each passage: what is stored, and what all scores follow from.

Knows terms by number and passages by position, and nothing of BM25: no formula, no row, no text.
Counts never change; adding and removing passages gives new ones, without reading a text again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.disk.arrays import save_array
from ragcore.disk.loading import reading
from ragcore.disk.threads import yield_gil

if TYPE_CHECKING:
    import numpy.typing as npt

    Tally = npt.NDArray[np.unsignedinteger]

__all__ = ["Counts", "blocks", "read"]

_FILES: Final = ("frequencies", "positions", "bounds", "lengths")
_BLOCK: Final = 1 << 22
"""Pairs that are worked on at a time: eight bytes for each of all pairs would be the peak."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of P (term, passage) pairs, in the order of terms, then of passages.

    Attributes:
        frequencies: unsigned [P], how often the term occurs in the passage; of as few bytes as do.
        positions: int32 [P], the passage.
        bounds: int64 [terms + 1], where each term's pairs begin.
        lengths: int32 [size], how many terms each passage has, repeated ones as often as they are.
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
        pairs = tokens.astype(np.int64) * size + np.repeat(np.arange(size), lengths)
        pairs, frequencies = np.unique(pairs, return_counts=True)
        numbers = pairs // max(size, 1)
        return cls(
            _narrow(frequencies),
            (pairs - numbers * size).astype(np.int32),
            np.searchsorted(numbers, np.arange(terms + 1)),
            lengths.astype(np.int32, copy=False),
        )

    def __len__(self) -> int:
        """How many passages there are."""
        return len(self.lengths)

    @property
    def terms(self) -> int:
        """How many terms there are, those that are in no passage among them."""
        return len(self.bounds) - 1

    @property
    def document_frequencies(self) -> npt.NDArray[np.int64]:
        """In how many passages each term is, int64 [terms]."""
        return np.diff(self.bounds)

    @classmethod
    def joined(cls, parts: Sequence[Counts], terms: int) -> Counts:
        """The passages of several, one after another; each may know fewer terms than the next."""
        if len(parts) == 1 and parts[0].terms == terms:
            return parts[0]
        each = [np.pad(part.document_frequencies, (0, terms - part.terms)) for part in parts]
        bounds = np.zeros(terms + 1, np.int64)
        np.cumsum(np.sum(each, axis=0, dtype=np.int64), out=bounds[1:])
        widest = max((part.frequencies.dtype for part in parts), key=lambda one: one.itemsize)
        frequencies, positions = np.empty(bounds[-1], widest), np.empty(bounds[-1], np.int32)
        free, before = bounds[:-1].copy(), 0
        for part, held in zip(parts, each, strict=True):
            # Pair i of a part goes to where its term has room, as far in as it was in the part.
            moves = free - (np.cumsum(held) - held)
            for numbers, pairs in blocks(part.bounds):
                places = np.repeat(moves[numbers], held[numbers])
                places += np.arange(pairs.start, pairs.stop)
                frequencies[places] = part.frequencies[pairs]
                positions[places] = part.positions[pairs] + np.int32(before)
            free += held
            before += len(part)
        return cls(frequencies, positions, bounds, np.concatenate([one.lengths for one in parts]))

    def kept(self, keep: npt.NDArray[np.bool_]) -> Counts:
        """Only the passages that `keep` [size] says, in their order; the terms stay."""
        held = keep[self.positions]
        gone = np.flatnonzero(~held)
        moved = np.cumsum(keep, dtype=np.int32) - np.int32(1)
        return Counts(
            self.frequencies[held],
            moved[self.positions[held]],
            self.bounds - np.searchsorted(gone, self.bounds),
            self.lengths[keep],
        )

    def without_terms(self, gone: npt.NDArray[np.bool_]) -> Counts:
        """Without terms that are in no passage, as `gone` [terms] says; the rest move up."""
        bounds = np.concatenate((self.bounds[:1], self.bounds[1:][~gone]))
        return Counts(self.frequencies, self.positions, bounds, self.lengths)

    def save(self, folder: Path) -> None:
        """Write each array as a .npy file."""
        for name in _FILES:
            save_array(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, *, mmap: bool) -> Counts:
        """What `save` wrote."""
        arrays: dict[str, Any] = {name: read(folder / f"{name}.npy", mmap) for name in _FILES}
        return cls(**arrays)


def blocks(bounds: npt.NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """All terms in turn, and their pairs: as many terms as have some _BLOCK pairs, one at least."""
    first, terms = 0, len(bounds) - 1
    while first < terms:
        after = int(np.searchsorted(bounds, bounds[first] + _BLOCK, side="right")) - 1
        after = min(max(after, first + 1), terms)
        yield slice(first, after), slice(bounds[first], bounds[after])
        first = after


def read(path: Path, mmap: bool) -> Any:
    """The array in a .npy file, mapped into memory or read."""
    yield_gil()
    # As a plain array: slices of np.memmap are slow to make.
    with reading(path):
        return np.asarray(np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False))


def _narrow(frequencies: npt.NDArray[np.int64]) -> Tally:
    """The same numbers in as few bytes as hold the largest."""
    narrow: Tally = frequencies.astype(np.min_scalar_type(int(frequencies.max(initial=0))))
    return narrow
