"""Marks of significant differences, the same in the terminal and on the page.

Knows comparisons; knows nothing of colours and markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from ragcore.experiments.method import ALPHA, TEST

if TYPE_CHECKING:
    from ragcore.experiments.results import Comparison

__all__ = ["LEGEND", "MARKS", "Direction", "direction_of"]

Direction = Literal["better", "worse", "different"]

MARKS: Final[dict[Direction, str]] = {"better": "▲", "worse": "▼", "different": "◆"}

_MARKED: Final = ", ".join(f"{mark} {direction}" for direction, mark in MARKS.items())

LEGEND: Final = (
    f"{_MARKED} from the baseline: {TEST}, p < {ALPHA:g} by Holm's correction over the systems"
)
"""What the marks mean, as one line without a full stop."""


def direction_of(comparison: Comparison | None, better: str) -> Direction | None:
    """Say how a system differs from the baseline; None where the difference may be chance.

    Args:
        comparison: None where there is none.
        better: which values of the metric are better: "higher", "lower" or "neither".
    """
    if comparison is None or not comparison.significant:
        return None
    if better == "neither":
        return "different"
    return "better" if (comparison.difference > 0) == (better == "higher") else "worse"
