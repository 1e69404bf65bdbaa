"""The scores of every (term, passage) pair, by term, and the sum of some of them.

bm25s computes the scores when the postings are built; a search only adds them up. Knows terms by
number and passages by position: neither texts nor rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import bm25s  # type: ignore[import-untyped, unused-ignore]
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Postings"]

_FILES: Final = ("weights", "positions", "bounds", "floors")


@dataclass(frozen=True, slots=True)
class Postings:
    """Weights by term.

    Attributes:
        weights: float32 [N], the score that a term adds to a passage, term by term.
        positions: int32 [N], the passage that each weight belongs to, ascending within a term.
        bounds: int64 [terms + 1], where each term's weights begin.
        floors: float32 [terms], what a term adds to every passage (variants `bm25l`, `bm25+`).
        size: how many passages there are.
    """

    weights: npt.NDArray[np.float32]
    positions: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]
    floors: npt.NDArray[np.float32]
    size: int

    @classmethod
    def build(
        cls,
        tokens: npt.NDArray[np.int32],
        ends: npt.NDArray[np.int64],
        terms: int,
        *,
        variant: str,
        k1: float,
        b: float,
        delta: float,
    ) -> Postings:
        """From the terms of all passages, one after another.

        Args:
            tokens: int32, term numbers.
            ends: int64 [size], where each passage's terms end.
            terms: how many terms there are.
        """
        if len(tokens) == 0:
            empty = np.zeros(0, np.float32)
            bounds = np.zeros(terms + 1, np.int64)
            return cls(empty, np.zeros(0, np.int32), bounds, np.zeros(terms, np.float32), len(ends))
        scorer = bm25s.BM25(k1=k1, b=b, delta=delta, method=variant, backend="numpy")
        built = scorer.build_index_from_ids(
            range(terms), _Documents(tokens, ends), show_progress=False
        )
        floors = scorer.nonoccurrence_array
        return cls(
            built["data"],
            built["indices"].astype(np.int32, copy=False),
            built["indptr"].astype(np.int64, copy=False),
            np.zeros(terms, np.float32) if floors is None else floors,
            len(ends),
        )

    def score(self, terms: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Positions of the passages that hold any of the terms, ascending, and their scores.

        A term that is given twice counts twice.
        """
        scores = np.zeros(self.size, np.float32)
        found = np.zeros(self.size, np.bool_)
        for term in terms:
            part = slice(self.bounds[term], self.bounds[term + 1])
            where = self.positions[part]
            scores[where] += self.weights[part]
            found[where] = True
        positions = np.flatnonzero(found)
        return positions, scores[positions] + self.floors[list(terms)].sum()

    def save(self, folder: Path) -> None:
        """Write each array as a .npy file."""
        for name in _FILES:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, size: int, *, mmap: bool) -> Postings:
        """What `save` wrote."""
        mode: Literal["r"] | None = "r" if mmap else None
        arrays: dict[str, Any] = {
            name: np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False)
            for name in _FILES
        }
        return cls(**arrays, size=size)


class _Documents(Sequence[list[int]]):
    """A flat array of tokens seen as one list a passage, made when asked for."""

    def __init__(self, tokens: npt.NDArray[np.int32], ends: npt.NDArray[np.int64]) -> None:
        self._tokens = tokens
        self._starts = np.concatenate(([0], ends[:-1]))
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, at: int) -> list[int]:  # type: ignore[override]
        tokens: list[int] = self._tokens[self._starts[at] : self._ends[at]].tolist()
        return tokens

    def __iter__(self) -> Iterator[list[int]]:
        for at in range(len(self)):
            yield self[at]
