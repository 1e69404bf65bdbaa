"""The plugin `faiss`: names the index and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_indexes() -> Components:
    """Name the index `faiss`."""
    return {"faiss": Target("ragcore_faiss.index:Faiss", config="ragcore_faiss.config:FaissConfig")}
