"""What is trained on at each step, and how fast: pure functions of the seed and the step.

So that training that was interrupted goes on exactly, and several processes agree without a word.
"""

from __future__ import annotations

import hashlib
import random

__all__ = ["Batches", "learning_rate_factor", "seed_of"]


def seed_of(*parts: object) -> int:
    """A seed, 63 bits, that differs wherever one of the parts does."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Batches:
    """The examples of each step: permutations of all, one after the other, cut into batches."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        """`count` examples, at least one; a batch may go over the end of a permutation."""
        self._count = count
        self._size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def at(self, step: int) -> list[int]:
        """The examples of a step, counted from 0."""
        begin = step * self._size
        return [self._example(place) for place in range(begin, begin + self._size)]

    def _example(self, place: int) -> int:
        epoch, within = divmod(place, self._count)
        if epoch != self._epoch:
            self._order = list(range(self._count))
            random.Random(seed_of("order", self._seed, epoch)).shuffle(self._order)
            self._epoch = epoch
        return self._order[within]


def learning_rate_factor(step: int, steps: int, warmup: int, decay: str) -> float:
    """What the learning rate is multiplied with in a step, counted from 0."""
    rising = min(1.0, (step + 1) / (warmup + 1))
    falling = (steps - step) / max(1, steps - warmup) if decay == "linear" else 1.0
    return min(rising, falling, 1.0)
