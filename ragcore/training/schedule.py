"""Choose each step's examples and learning rate: pure functions of the seed and the step.

So interrupted training resumes exactly, and several processes agree without communicating.
"""

from __future__ import annotations

import hashlib
import random

__all__ = ["Batches", "learning_rate_factor", "seed_of"]


def seed_of(*parts: object) -> int:
    """Derive a seed of 63 bits that differs wherever one of the parts does."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Batches:
    """The examples of each step: one permutation of all after another, cut into batches."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        """Take `count` examples, at least one; a batch may cross the end of a permutation."""
        self._count = count
        self._size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def at(self, step: int) -> list[int]:
        """Return the numbers of the examples of a step; both are counted from 0."""
        begin = step * self._size
        return [self._example(drawn) for drawn in range(begin, begin + self._size)]

    def _example(self, drawn: int) -> int:
        """Return the example that follows `drawn` others."""
        epoch, position = divmod(drawn, self._count)
        if epoch != self._epoch:
            self._order = list(range(self._count))
            random.Random(seed_of("order", self._seed, epoch)).shuffle(self._order)
            self._epoch = epoch
        return self._order[position]


def learning_rate_factor(step: int, steps: int, warmup: int, decay: str) -> float:
    """Return the factor of the learning rate in a step, counted from 0.

    Args:
        step: the step.
        steps: how many there are.
        warmup: steps in which the factor rises linearly towards 1.
        decay: "linear" lets it fall towards 0 over the other steps, "none" keeps it at 1.
    """
    rising = min(1.0, (step + 1) / (warmup + 1))
    falling = (steps - step) / max(1, steps - warmup) if decay == "linear" else 1.0
    return min(rising, falling, 1.0)
