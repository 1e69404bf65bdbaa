"""The plugin `world`: names its corpus, model and command, and imports none of them."""

from __future__ import annotations

from ragcore import Components, hookimpl


@hookimpl
def ragcore_corpora() -> Components:
    """Name the corpus `world-factbook`."""
    return {"world-factbook": "ragcore_world.corpus:WorldFactbook"}


@hookimpl
def ragcore_models() -> dict[str, str]:
    """Name the small reader that is trained on it."""
    return {"world-reader": "ragcore_world:reader"}


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """Name the command `ragcore world`."""
    return {"world": "ragcore_world.demo:app"}
