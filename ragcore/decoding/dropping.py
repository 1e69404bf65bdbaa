"""Drop passages from decoding that can hardly matter any more, and bound what that costs.

The cost of a decoding step grows with the number of passages, and most of them soon have no share
in the answer. A dropped passage's terms are left out of the sums, and nothing is renormalised, so
that the log p of a hypothesis is a lower bound. How far off it can be is known all along:

**RAG-Sequence.** Passage z adds p(z|x) p(y|x,z) to p(y|x). Of that, p(z|x) p(y_<=i|x,z) is known
once the prefix y_<=i is decoded, and the factors of later tokens are at most 1. So if each passage
of a set D is dropped after a prefix of length i_z,

    p̂(y|x) ≤ p(y|x) ≤ p̂(y|x) + Σ_{z∈D} p(z|x) p(y_<=i_z|x,z)

The sum on the right is the *dropped mass* of the hypothesis. A passage is dropped only if the
dropped mass is then still at most ε p̂(y_<=i|x), ε being `rag.drop_below`. As p̂(y_<=i|x) ≤ 1, it is
never above ε, whatever follows. In log p the error is at most log(1 + dropped mass / p̂(y|x)):
about ε for an answer that is certain after the last drop, and more for one that is not. Where each
passage has its own beam (thorough, fast), passages are dropped before the first token: i_z = 0.

**RAG-Token.** The weights p(z|x) are the same at every token, so passages are dropped before the
first token, by their prior: d = Σ_{z∈D} p(z|x) ≤ ε. Each transition probability lacks at most d:

    Π_i p̂(y_i|x,y_<i) ≤ p(y|x) ≤ Π_i min(1, p̂(y_i|x,y_<i) + d)

The difference of the two sides is the dropped mass. It is at most ε for each token of the answer.

With `rag.abstain`, p(z|x) is conditioned on the passage's holding an answer, as it is everywhere in
decoding (abstention.py). The abstention itself is computed before, over all passages, and is exact.

The bound holds for each hypothesis. Which hypotheses a beam search reaches may depend on what was
dropped, as it depends on the number of beams.

Knows probabilities; knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

__all__ = ["DroppedAtFirst", "DroppedByPrefix", "kept_passages"]

_LARGEST = 700.0
"""The largest exponent that is taken; e to the power of more overflows."""


def kept_passages(
    shares: Sequence[float], below: float, dropped: float = 0.0
) -> tuple[list[int], float]:
    """Decide which passages stay: all but the smallest ones, which together stay within `below`.

    The largest stays in any case: rounded shares may sum to less than `below`.

    Args:
        shares: of each passage in the probability so far.
        below: the largest share that all dropped passages may have together.
        dropped: the share of those that were dropped before.

    Returns:
        The positions of those that stay, ascending, and the share of all that are dropped.
    """
    stay = set(range(len(shares)))
    for z in sorted(stay, key=lambda z: shares[z])[:-1]:
        if dropped + shares[z] > below:
            break
        stay.remove(z)
        dropped += shares[z]
    return sorted(stay), dropped


@dataclass(frozen=True, slots=True)
class DroppedByPrefix:
    """What was dropped from one prefix of RAG-Sequence.

    Attributes:
        log_prob: log p̂(y_<=i|x).
        log_mass: the log of its dropped mass; -inf if nothing was dropped.
    """

    log_prob: float = 0.0
    log_mass: float = -math.inf

    @property
    def mass(self) -> float:
        """The most that the dropped passages would add to the probability."""
        return math.exp(self.log_mass)

    @property
    def share(self) -> float:
        """The dropped mass divided by the prefix's probability."""
        return math.exp(min(self.log_mass - self.log_prob, _LARGEST))

    def dropping(self, share: float) -> DroppedByPrefix:
        """Return the same prefix with this share dropped, what was dropped before included."""
        return replace(self, log_mass=self.log_prob + math.log(share) if share else -math.inf)

    def followed_by(self, log_prob: float) -> DroppedByPrefix:
        """Return the prefix with one more token of this log p."""
        return replace(self, log_prob=self.log_prob + log_prob)


@dataclass(frozen=True, slots=True)
class DroppedAtFirst:
    """What was dropped from one prefix of RAG-Token.

    Attributes:
        share: d, the prior of the passages that were dropped.
        log_prob: log p̂(y_<=i|x).
        log_upper: Σ_i log min(1, p̂(y_i|x,y_<i) + d).
    """

    share: float = 0.0
    log_prob: float = 0.0
    log_upper: float = 0.0

    @property
    def mass(self) -> float:
        """The most that the dropped passages would add to the probability."""
        if not self.share:
            return 0.0
        gap = self.log_upper - self.log_prob
        if gap > 1:
            return math.exp(self.log_upper) - math.exp(self.log_prob)
        # The difference of two numbers that are nearly equal would be rounding alone.
        return math.exp(self.log_prob) * math.expm1(gap)

    def dropping(self, share: float) -> DroppedAtFirst:
        """Return the empty prefix with this share dropped."""
        return replace(self, share=share)

    def followed_by(self, log_prob: float) -> DroppedAtFirst:
        """Return the prefix with one more token of this log p."""
        upper = min(0.0, math.log(math.exp(log_prob) + self.share)) if self.share else log_prob
        return replace(self, log_prob=self.log_prob + log_prob, log_upper=self.log_upper + upper)
