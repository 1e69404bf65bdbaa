"""The formulas of BM25: a term's weight, and what its occurrences in a passage are worth.

A passage's score is, summed over the question's terms, weight(term) · (worth(term, passage) +
floor). Knows numbers only: how many passages hold a term, how often it occurs, how long a passage
is. N passages, df of them hold the term, tf occurrences, norm = 1 - b + b · length / mean length.

Sources: C. Kamphuis et al., "Which BM25 do you mean?" (ECIR 2020) for `lucene`, `robertson`,
`atire`, `bm25l` and `bm25+`, as bm25s has them; the package rank-bm25 for `okapi`, `l` and `plus`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore_bm25.config import Variant

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Counted = npt.NDArray[np.unsignedinteger] | npt.NDArray[np.int64]

__all__ = ["Formula"]

_WITH_FLOOR: Final = frozenset({"bm25l", "bm25+", "plus"})


@dataclass(frozen=True, slots=True)
class Formula:
    """A variant with its constants; `delta` and `epsilon` matter only to variants that use them."""

    variant: Variant
    k1: float
    b: float
    delta: float
    epsilon: float

    def __str__(self) -> str:
        """Return the variant and the constants that it uses, for fingerprints.

        >>> print(Formula("okapi", 1.2, 0.75, 0.5, 0.25))
        okapi,k1=1.2,b=0.75,epsilon=0.25
        """
        text = f"{self.variant},k1={self.k1:g},b={self.b:g}"
        if self.variant in _WITH_FLOOR or self.variant == "l":
            text += f",delta={self.delta:g}"
        return text + (f",epsilon={self.epsilon:g}" if self.variant == "okapi" else "")

    def norms(self, lengths: npt.NDArray[np.int32] | npt.NDArray[np.int64]) -> Floats:
        """Return each passage's norm, float64 [N], from the numbers of their terms [N]."""
        mean = lengths.mean() if len(lengths) else 0.0
        relative = lengths / mean if mean else np.zeros(len(lengths))
        return 1 - self.b + self.b * relative

    def weights(self, holders: Counted, size: int) -> Floats:
        """Return each term's weight, its "inverse document frequency": float64 [terms].

        Args:
            holders: df, how many passages hold each term [terms].
            size: N.

        Negative for no variant but `okapi`, and there only if most terms are in most passages. A
        term that is in no passage weighs nothing, and does not count for the mean.
        """
        weights = np.zeros(len(holders))
        used = holders > 0  # [terms]
        # As floats, since an unsigned difference would wrap around.
        n, df = float(size), holders[used].astype(np.float64)
        match self.variant:
            case "lucene":
                weights[used] = np.log(1 + (n - df + 0.5) / (df + 0.5))
            case "robertson":
                weights[used] = np.log(np.maximum(1, (n - df + 0.5) / (df + 0.5)))
            case "atire":
                weights[used] = np.log(n / df)
            case "bm25l" | "l":
                weights[used] = np.log((n + 1) / (df + 0.5))
            case "bm25+" | "plus":
                weights[used] = np.log((n + 1) / df)
            case "okapi":
                weights[used] = self._with_epsilon(np.log(n - df + 0.5) - np.log(df + 0.5))
        return weights

    def worths(self, occurrences: Counted, norms: Floats) -> Floats:
        """Return the worth of occurrences in passages of these norms, above the floor; float64."""
        tf = occurrences.astype(np.float64)
        k1, delta = self.k1, self.delta
        match self.variant:
            case "lucene" | "robertson":
                return tf / (tf + k1 * norms)
            case "atire" | "okapi" | "bm25+" | "plus":
                return tf * (k1 + 1) / (tf + k1 * norms)
            case "bm25l":
                # The difference to the floor in one term: nothing cancels, so it stays positive.
                relative = tf / norms
                return (k1 + 1) * k1 * relative / ((k1 + delta + relative) * (k1 + delta or 1))
            case "l":
                raised = tf / norms + delta
                return tf * (k1 + 1) * raised / (k1 + raised)

    @property
    def floor(self) -> float:
        """What a term adds to every passage, even one without it."""
        if self.variant == "bm25l":
            return (self.k1 + 1) * self.delta / (self.k1 + self.delta or 1)
        return self.delta if self.variant in _WITH_FLOOR else 0.0

    def _with_epsilon(self, weights: Floats) -> Floats:
        """Replace negative weights by a share of the mean weight, as rank-bm25 does."""
        if not len(weights):
            return weights
        # Summed in order of size, so that it does not depend on how the terms are numbered.
        mean = np.sort(weights).sum() / len(weights)
        return np.where(weights < 0, self.epsilon * mean, weights)
