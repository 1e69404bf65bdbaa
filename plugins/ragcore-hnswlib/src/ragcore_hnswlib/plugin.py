"""What this package gives to ragcore."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_indexes() -> Components:
    """The graphs of hnswlib."""
    return {
        "hnswlib": Target(
            "ragcore_hnswlib.index:Hnswlib", config="ragcore_hnswlib.config:HnswlibConfig"
        )
    }
