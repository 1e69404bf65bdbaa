"""How often each term occurs in each passage: the stored counts that all scores follow from.

Knows terms by number and passages by position, and nothing of BM25: no formula, no row, no text.
Counts never change; adding and removing passages gives new ones, without reading a text again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ragcore.disk.arrays import samples, save_array
from ragcore.disk.loading import reading
from ragcore.postings import bounds_of, check_pairs, joined, read

if TYPE_CHECKING:
    import numpy.typing as npt

    Tally = npt.NDArray[np.unsignedinteger]

__all__ = ["Counts"]

_FILES: Final = ("frequencies", "positions", "bounds", "lengths")
_TITLE_FILES: Final = ("titles", "title_lengths")
_LONGEST: Final = 1 << 24
"""More terms than any passage has."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of P (term, passage) pairs, in the order of terms, then of passages.

    Attributes:
        frequencies: unsigned [P], how often the term occurs in the passage's text; in as few bytes
            as suffice.
        positions: int32 [P], the passage.
        bounds: int64 [terms + 1], where each term's pairs begin.
        lengths: int32 [size], how many terms each passage's text has, repeats counted; int64 where
            they are weighed.
        titles: unsigned [P], how often the term occurs in the title. None where the title counts as
            a part of the text.
        title_lengths: int32 [size], how many terms each title has; None as `titles`.
    """

    frequencies: Tally
    positions: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32] | npt.NDArray[np.int64]
    titles: Tally | None = None
    title_lengths: npt.NDArray[np.int32] | None = None

    @classmethod
    def of(
        cls,
        tokens: npt.NDArray[np.int32],
        lengths: npt.NDArray[np.int32],
        terms: int,
        titles: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None,
    ) -> Counts:
        """Count the terms of passages.

        Args:
            tokens: term numbers of texts, passage after passage.
            lengths: how many of the tokens are each passage's [size].
            terms: how many terms there are.
            titles: tokens and lengths of the titles of the same passages; None where a title is a
                part of the text.
        """
        size = len(lengths)
        pairs, frequencies = _occurrences(tokens, lengths)  # [P] each
        title_counts = None
        if titles is not None:
            pairs, frequencies, title_counts = _joined_fields(
                (pairs, frequencies), _occurrences(*titles)
            )
        numbers = pairs // max(size, 1)
        return cls(
            _narrow(frequencies),
            (pairs - numbers * size).astype(np.int32),
            np.searchsorted(numbers, np.arange(terms + 1)),  # [terms + 1]
            lengths.astype(np.int32, copy=False),
            None if title_counts is None else _narrow(title_counts),
            None if titles is None else titles[1].astype(np.int32, copy=False),
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
        fields = ["frequencies"] if parts[0].titles is None else ["frequencies", "titles"]
        positions, bounds, tallies = joined(
            [part.positions for part in parts],
            [part.bounds for part in parts],
            [len(part) for part in parts],
            [[getattr(part, field) for part in parts] for field in fields],
            terms,
        )
        lengths = np.concatenate([part.lengths for part in parts])
        if len(fields) == 1:
            return cls(tallies[0], positions, bounds, lengths)
        title_lengths = np.concatenate([part.title_lengths for part in parts])
        return cls(tallies[0], positions, bounds, lengths, tallies[1], title_lengths)

    def renumbered(self, numbers: npt.NDArray[np.int64], terms: int) -> Counts:
        """Give each term another number.

        Args:
            numbers: int64 [terms], the new number of each term, no two the same.
            terms: how many terms there are then; those that get no term are in no passage.
        """
        holders = np.zeros(terms, np.int64)
        holders[numbers] = self.document_frequencies
        bounds = np.zeros(terms + 1, np.int64)
        np.cumsum(holders, out=bounds[1:])
        # Where each pair goes, int64 [P]: as far into its term as it was.
        places = np.arange(len(self.positions))
        places += np.repeat(bounds[numbers] - self.bounds[:-1], self.document_frequencies)
        fields: dict[str, Any] = {}
        for name in ("frequencies", "positions", "titles"):
            values = getattr(self, name)
            if values is not None:
                fields[name] = np.empty_like(values)
                fields[name][places] = values
        return replace(self, bounds=bounds, **fields)

    def kept(self, keep: npt.NDArray[np.bool_]) -> Counts:
        """Keep only the passages where `keep` [size] is true, in order; all terms stay."""
        stays = keep[self.positions]  # [P]
        moved = np.cumsum(keep, dtype=np.int32) - np.int32(1)
        return Counts(
            self.frequencies[stays],
            moved[self.positions[stays]],
            bounds_of(self.bounds, stays),
            self.lengths[keep],
            None if self.titles is None else self.titles[stays],
            None if self.title_lengths is None else self.title_lengths[keep],
        )

    def weighed(self, title_weight: int) -> Counts:
        """Count each word of a title so many times as if it stood in the text.

        Args:
            title_weight: at least 0; it changes nothing where titles count as a part of the text.

        Returns:
            Counts without titles, of the pairs that then occur at all.
        """
        if self.titles is None:
            return self
        lengths = self.weighed_lengths(title_weight)
        positions, bounds = self.holders(title_weight)
        if not title_weight:
            frequencies = self.frequencies[self.frequencies > 0]
            return Counts(frequencies, positions, bounds, lengths)
        most = int(self.frequencies.max(initial=0)) + title_weight * int(self.titles.max(initial=0))
        weighed: Tally = self.frequencies.astype(np.min_scalar_type(most))  # [P]
        weighed += self.titles * weighed.dtype.type(title_weight)
        return Counts(weighed, positions, bounds, lengths)

    def weighed_lengths(self, title_weight: int) -> npt.NDArray[np.int64]:
        """Return how many terms each passage has where titles count so many times, [size]."""
        lengths = self.lengths.astype(np.int64)
        if self.title_lengths is None:
            return lengths
        return lengths + title_weight * self.title_lengths

    def holders(self, title_weight: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Return the positions [P] and bounds [terms + 1] of the weighed counts."""
        if title_weight or self.titles is None:
            return self.positions, self.bounds
        occurs = self.frequencies > 0
        return self.positions[occurs], bounds_of(self.bounds, occurs)

    def without_terms(self, unused: npt.NDArray[np.bool_]) -> Counts:
        """Drop terms that no passage holds, where `unused` [terms] is true; the rest move up."""
        bounds = np.concatenate((self.bounds[:1], self.bounds[1:][~unused]))
        return replace(self, bounds=bounds)

    def save(self, folder: Path) -> None:
        """Write each array as a .npy file."""
        for name in _FILES if self.titles is None else (*_FILES, *_TITLE_FILES):
            save_array(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, *, mmap: bool, with_titles: bool) -> Counts:
        """Load what `save` wrote.

        Args:
            folder: that it was saved into.
            mmap: map the arrays into memory instead of reading them.
            with_titles: whether titles were counted apart.

        Raises:
            StoreCorruptError: a file is missing, broken, or does not fit the others.
        """
        names = (*_FILES, *_TITLE_FILES) if with_titles else _FILES
        arrays: dict[str, Any] = {name: read(folder / f"{name}.npy", mmap) for name in names}
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
        shapes = [getattr(self, name).ndim for name in _FILES]
        if shapes != [1, 1, 1, 1] or len(self.frequencies) != len(self.positions):
            raise ValueError("its arrays are not of the same pairs")
        titles, title_lengths = self.titles, self.title_lengths
        if titles is not None and title_lengths is not None:
            kinds = (titles.dtype.kind, str(title_lengths.dtype))
            if kinds != ("u", "int32") or titles.shape != self.frequencies.shape:
                raise ValueError("its counts of titles are not of the same pairs")
            if title_lengths.shape != self.lengths.shape:
                raise ValueError("its titles are not of the same passages")
        check_pairs(self.positions, self.bounds, len(self))
        for block in _samples_of_pairs(self.frequencies, titles):
            if not 0 < block.min() <= block.max() <= _LONGEST:
                raise ValueError("a term occurs never, or too often, where it occurs")
        for each in (self.lengths, title_lengths):
            for lengths in () if each is None else samples(each):
                if lengths.min() < 0 or lengths.max() > _LONGEST:
                    raise ValueError(f"a passage has {lengths.min()} to {lengths.max()} terms")


def _samples_of_pairs(frequencies: Tally, titles: Tally | None) -> Iterator[npt.NDArray[np.uint64]]:
    """Yield how often terms occur in title and text, in blocks of the pairs."""
    if titles is None:
        yield from (block.astype(np.uint64) for block in samples(frequencies))
        return
    for text, title in zip(samples(frequencies), samples(titles), strict=True):
        yield text.astype(np.uint64) + title.astype(np.uint64)


def _occurrences(
    tokens: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers of the pairs that occur, term · size + position, and how often, [P]."""
    size = len(lengths)
    pairs = tokens.astype(np.int64) * size + np.repeat(np.arange(size), lengths)  # [tokens]
    return np.unique(pairs, return_counts=True)


def _joined_fields(
    text: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    title: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of text or title, ascending, and how often each occurs in text and title."""
    pairs, frequencies = text
    # Where each of the title's pairs is in the text's, or would be.
    places = np.searchsorted(pairs, title[0])
    is_new = np.ones(len(places), bool)
    inside = places < len(pairs)
    is_new[inside] = pairs[places[inside]] != title[0][inside]
    pairs = np.insert(pairs, places[is_new], title[0][is_new])
    frequencies = np.insert(frequencies, places[is_new], 0)
    titles = np.zeros(len(pairs), np.int64)
    titles[places + np.cumsum(is_new) - is_new] = title[1]
    return pairs, frequencies, titles


def _narrow(frequencies: npt.NDArray[np.int64]) -> Tally:
    """Cast numbers to the fewest bytes that hold the largest."""
    narrow: Tally = frequencies.astype(np.min_scalar_type(int(frequencies.max(initial=0))))
    return narrow
