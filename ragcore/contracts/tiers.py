"""What a generator can give of an answer's probability, from the most to the least."""

from __future__ import annotations

from typing import Final, Literal, get_args

from ragcore.errors import ComponentError

__all__ = ["TIERS", "Tier", "tier"]

Tier = Literal["steps", "score", "top", "text"]
"""The tiers:

- `steps`: log-probs of the whole vocabulary at each step, as `Generator` has it;
- `score`: log p of given texts, and candidates;
- `top`: the log-probs of the most probable tokens at each step;
- `text`: an answer's text alone.
"""

TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
"""All tiers, in that order."""


def tier(generator: object) -> Tier:
    """Return a generator's tier, its member `tier`; `steps` where it has none.

    Raises:
        ComponentError: the member is none of the tiers.
    """
    declared = getattr(generator, "tier", "steps")
    for known in TIERS:
        if declared == known:
            return known
    raise ComponentError(
        f"{type(generator).__name__}.tier is {declared!r}: expected one of {', '.join(TIERS)}"
    )
