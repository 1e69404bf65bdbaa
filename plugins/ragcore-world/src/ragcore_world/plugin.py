"""What this package gives to ragcore, by name; importing it imports nothing else of the package."""

from __future__ import annotations

from ragcore import hookimpl


@hookimpl
def ragcore_corpora() -> dict[str, str]:
    """The World Factbook."""
    return {"world-factbook": "ragcore_world.corpus:WorldFactbook"}


@hookimpl
def ragcore_models() -> dict[str, str]:
    """A small reader trained on it."""
    return {"world-reader": "ragcore_world:reader"}


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """`ragcore world demo`."""
    return {"world": "ragcore_world.demo:app"}
