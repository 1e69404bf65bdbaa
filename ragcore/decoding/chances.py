"""The random numbers of draws, and how answers are drawn; imported without torch.

Each answer is drawn with random numbers of its own, which depend on the seed, the question and the
number of the draw, and on nothing else: not on the batch, and not on how many are drawn.

Knows seeds and weights; knows nothing of tokens or passages.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

__all__ = ["Chance", "SamplingOptions", "chances", "drawn_position"]

Chance = Callable[[], float]
"""Returns a further random number of one draw, uniform in [0, 1)."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn; the settings mean the same as in the config section `rag.sample`.

    Attributes:
        temperature: probabilities are raised to its inverse; above 0.
        top_p: tokens are drawn from the fewest most probable ones whose shares sum to this.
        top_k: tokens are drawn from so many most probable ones; 0 for all.
        n: how many answers are drawn for a question.
        seed: of the random numbers.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    n: int = 1
    seed: int = 0


def chances(options: SamplingOptions, question: str) -> list[Chance]:
    """Return the random numbers of each of a question's n draws."""
    # Python promises the same numbers for the same text, in any process and any version.
    return [
        random.Random(f"{options.seed}\n{number}\n{question}").random for number in range(options.n)
    ]


def drawn_position(weights: Sequence[float], chance: float) -> int:
    """Draw a position with a probability that is proportional to its weight.

    Args:
        weights: not negative, at least one positive.
        chance: uniform in [0, 1).
    """
    cumulative = list(accumulate(weights))
    drawn = bisect_right(cumulative, chance * cumulative[-1])
    # Rounding may reach the total itself, and there is nothing beyond the last positive weight.
    last = max(position for position, weight in enumerate(weights) if weight > 0)
    return min(drawn, last)
