"""The plugin `bm25`: names the retriever and its config."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_retrievers() -> Components:
    """Name the retriever `bm25`."""
    return {"bm25": Target("ragcore_bm25.retriever:Bm25", config="ragcore_bm25.config:Bm25Config")}
