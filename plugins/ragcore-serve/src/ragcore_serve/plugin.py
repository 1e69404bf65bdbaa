"""The plugin `serve`: names the command `ragcore serve`, and imports nothing of it.

The core's events go to those who listen in this process; without a server nobody does.
"""

from __future__ import annotations

from ragcore import hookimpl
from ragcore_serve import listeners


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """Name the command `ragcore serve`."""
    return {"serve": "ragcore_serve.cli:app"}


@hookimpl
def ragcore_timed(stage: str, started: int, seconds: float, questions: int, memory: str) -> None:
    """Pass on how long a stage of a request took."""
    listeners.timed(stage, started, seconds, questions, memory)


@hookimpl
def ragcore_memory_swapped(old: str, new: str) -> None:
    """Pass on that a pipeline serves another version."""
    listeners.swapped(old, new)
