"""The plugin `milvus`: names the index and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_indexes() -> Components:
    """Name the index `milvus`."""
    return {
        "milvus": Target("ragcore_milvus.index:Milvus", config="ragcore_milvus.config:MilvusConfig")
    }
