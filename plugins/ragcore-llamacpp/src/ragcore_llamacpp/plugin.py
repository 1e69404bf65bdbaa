"""The plugin `llamacpp`: names the generator and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_generators() -> Components:
    """Name the generator `llamacpp`."""
    return {
        "llamacpp": Target(
            "ragcore_llamacpp.generator:LlamaCpp", config="ragcore_llamacpp.configs:LlamaCppConfig"
        )
    }
