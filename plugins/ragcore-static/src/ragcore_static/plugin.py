"""The plugin `static`: names the encoder and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_encoders() -> Components:
    """Name the encoder `static`."""
    return {
        "static": Target(
            "ragcore_static.encoder:Static", config="ragcore_static.config:StaticConfig"
        )
    }
