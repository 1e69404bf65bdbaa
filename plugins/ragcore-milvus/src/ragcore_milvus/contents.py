"""What a collection has in it: how many rows, which, their digest, and the scale of its vectors.

Knows how these follow from what is added; knows nothing of Milvus, pointers or files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from ragcore.types import Rows, Vectors

__all__ = ["Contents", "digest_of"]

_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Contents:
    """What a collection has in it.

    Attributes:
        dim: of the vectors.
        count: of the rows.
        first: the lowest row; 0 where there is none.
        last: the highest row; -1 where there is none.
        digest: the sum of all entities' digests, modulo 2**128: it depends on no order.
        scale: what the vectors are multiplied by; None where all are zeros.
    """

    dim: int
    count: int = 0
    first: int = 0
    last: int = -1
    digest: int = 0
    scale: float | None = None

    def with_added(
        self,
        rows: Rows,
        vectors: Vectors,
        columns: Sequence[Sequence[str | int | None]],
        scale: float | None,
    ) -> Contents:
        """Return the contents after rows [n], n at least 1, were added.

        Args:
            rows: int64 [n].
            vectors: float32 [n, d], scaled.
            columns: the values of each row's columns; empty where there are no columns.
            scale: what all vectors are multiplied by.
        """
        return Contents(
            self.dim,
            self.count + len(rows),
            min(self.first, int(rows.min())) if self.count else int(rows.min()),
            max(self.last, int(rows.max())),
            digest_of(rows, vectors, columns, to=self.digest),
            scale,
        )

    def outside(self, rows: Rows) -> Rows:
        """Return those of rows [n] that are below the first or above the last."""
        return rows[(rows < self.first) | (rows > self.last)]


def digest_of(
    rows: Rows, vectors: Vectors, columns: Sequence[Sequence[str | int | None]] = (), *, to: int = 0
) -> int:
    """Return the sum of a digest of each row, its vector and its columns' values, in any order.

    Args:
        rows: int64 [n].
        vectors: float32 [n, d].
        columns: the values of each row's columns; empty where there are no columns.
        to: the digest that it is added to.
    """
    total = to
    numbers = np.ascontiguousarray(rows, "<i8")
    values = np.ascontiguousarray(vectors, "<f4")
    # None: as in collections that have no columns.
    texts = [json.dumps(list(each)).encode() for each in columns] or [b""] * len(numbers)
    for row, vector, text in zip(numbers, values, texts, strict=True):
        whole = hashlib.blake2b(row.tobytes() + vector.tobytes() + text, digest_size=_DIGEST_BYTES)
        total += int.from_bytes(whole.digest(), "little")
    return total % (1 << 8 * _DIGEST_BYTES)
