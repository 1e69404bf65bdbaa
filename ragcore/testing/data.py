"""What the laws feed to components: vectors, passages and rows, the same on every run.

Rows have gaps and no order, so that a position is never mistaken for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors


__all__ = ["World", "lattice", "passages", "rows", "vectors"]

_ONSETS: Final = "bdfgklmnprstvz"
_VOWELS: Final = "aeiou"


@dataclass(frozen=True, slots=True)
class World:
    """Rows [n] with what belongs under each: vectors [n, d] or n passages."""

    rows: Rows
    items: Any

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Sequence[int] | Rows | slice) -> Self:
        """The world of some places, in that order."""
        at = np.arange(len(self))[places]
        items = self.items
        taken = items[at] if isinstance(items, np.ndarray) else [items[i] for i in at]
        return type(self)(self.rows[at], taken)

    def copy(self) -> Self:
        """The same world in arrays and lists of its own."""
        items = self.items
        return type(self)(
            self.rows.copy(), items.copy() if isinstance(items, np.ndarray) else list(items)
        )


def rows(count: int) -> Rows:
    """Distinct rows, int64 [n]."""
    return (np.random.default_rng(5).permutation(count) * 3 + 4).astype(np.int64)


def vectors(count: int, dim: int, seed: int) -> Vectors:
    """Vectors of no particular direction, float32 [n, d]."""
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def lattice(count: int, dim: int, seed: int) -> Vectors:
    """Vectors of small integers, float32 [n, d]: sums are exact in any order, and many tie."""
    return np.random.default_rng(seed).integers(-1, 2, (count, dim)).astype(np.float32)


def passages(count: int, seed: int) -> list[Passage]:
    """Passages of invented places; each is told from the others by its names;
    the town's stands in the title alone."""
    made = []
    for at in range(count):
        rng = np.random.default_rng([seed, at])
        town, land, river = (_name(rng) for _ in range(3))
        text = f"It is the capital of {land}, and lies where the {river} meets the sea."
        made.append(Passage(f"{seed}-{at}", f"{town}, City", text, {"land": land}))
    return made


def _name(rng: np.random.Generator) -> str:
    picks = [
        letters[rng.integers(len(letters))] for _ in range(3) for letters in (_ONSETS, _VOWELS)
    ]
    return "".join(picks).capitalize()
