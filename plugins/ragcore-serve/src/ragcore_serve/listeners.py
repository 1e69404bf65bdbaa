"""Pass the core's hooks on to those who listen in this process, such as metrics and spans.

Knows the signatures of the hooks; imports nothing heavy, since `plugin.py` imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Listener", "listening", "swapped", "timed"]


class StageListener(Protocol):
    """Takes what the hook `ragcore_timed` has."""

    def __call__(
        self, stage: str, started: int, seconds: float, questions: int, memory: str
    ) -> None:
        """Note how long a stage took."""


@dataclass(frozen=True, eq=False)
class Listener:
    """What is called, in any thread, when a stage is done and when a version is swapped.

    Attributes:
        timed: as the hook `ragcore_timed`.
        swapped: as the hook `ragcore_memory_swapped`: old version, new version.
    """

    timed: StageListener | None = None
    swapped: Callable[[str, str], None] | None = None


_LISTENERS: Final[list[Listener]] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Pass hooks on to a listener inside the block."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)


def timed(stage: str, started: int, seconds: float, questions: int, memory: str) -> None:
    """Pass on how long a stage took."""
    for listener in list(_LISTENERS):
        if listener.timed is not None:
            listener.timed(stage, started, seconds, questions, memory)


def swapped(old: str, new: str) -> None:
    """Pass on that a version was swapped."""
    for listener in list(_LISTENERS):
        if listener.swapped is not None:
            listener.swapped(old, new)
