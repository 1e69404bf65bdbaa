"""The plugin `hnswlib`: names the index and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_indexes() -> Components:
    """Name the index `hnswlib`."""
    return {
        "hnswlib": Target(
            "ragcore_hnswlib.index:Hnswlib", config="ragcore_hnswlib.config:HnswlibConfig"
        )
    }
