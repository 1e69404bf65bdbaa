"""The plugin `world`: names its corpus, encoder, model and command, and imports none of them."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_corpora() -> Components:
    """Name the corpus `world-factbook`."""
    return {"world-factbook": "ragcore_world.corpus:WorldFactbook"}


@hookimpl
def ragcore_encoders() -> Components:
    """Name the encoder that has the vectors of its passages."""
    return {
        "world-vectors": Target(
            "ragcore_world.vectors:WorldVectors", config="ragcore_world.configs:WorldVectorsConfig"
        )
    }


@hookimpl
def ragcore_models() -> dict[str, str]:
    """Name the small reader that is trained on it."""
    return {"world-reader": "ragcore_world:reader"}


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """Name the command `ragcore world`."""
    return {"world": "ragcore_world.demo:app"}
