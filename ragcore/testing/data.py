"""Data that the laws feed to components: vectors, passages and rows, the same on every run.

Rows have gaps and no order, so that a position is never mistaken for a row.
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
    """Rows [n] with the item under each: vectors [n, d] or n passages."""

    rows: Rows
    items: Any

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def pair(self) -> tuple[Rows, Any]:
        """The arguments of `add`."""
        return self.rows, self.items

    def take(self, positions: Sequence[int] | Rows | slice) -> Self:
        """Return the rows and items at some positions, in that order."""
        chosen = np.arange(len(self))[positions]
        items = self.items
        taken = items[chosen] if isinstance(items, np.ndarray) else [items[i] for i in chosen]
        return type(self)(self.rows[chosen], taken)

    def copy(self) -> Self:
        """Return an equal world with its own arrays and lists."""
        items = self.items
        return type(self)(
            self.rows.copy(), items.copy() if isinstance(items, np.ndarray) else list(items)
        )


def rows(count: int) -> Rows:
    """Return distinct rows, int64 [n]."""
    return (np.random.default_rng(5).permutation(count) * 3 + 4).astype(np.int64)


def vectors(count: int, dim: int, seed: int) -> Vectors:
    """Draw vectors from a normal distribution, float32 [n, d]."""
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


def lattice(count: int, dim: int, seed: int) -> Vectors:
    """Draw vectors of small integers, float32 [n, d]: sums are exact in any order, and many tie."""
    return np.random.default_rng(seed).integers(-1, 2, (count, dim)).astype(np.float32)


def passages(count: int, seed: int) -> list[Passage]:
    """Return passages about invented places, each distinguished from the others by its names.

    The town's name appears in the title alone.
    """
    invented = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        town, land, river = (_name(rng) for _ in range(3))
        text = f"It is the capital of {land}, and lies where the {river} meets the sea."
        invented.append(Passage(f"{seed}-{number}", f"{town}, City", text, {"land": land}))
    return invented


def _name(rng: np.random.Generator) -> str:
    picks = [
        letters[rng.integers(len(letters))] for _ in range(3) for letters in (_ONSETS, _VOWELS)
    ]
    return "".join(picks).capitalize()
