"""How writing a version reports how far it is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, how much of it is done, and how much there is in all if that is known."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""
