"""What this package gives to ragcore."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_retrievers() -> Components:
    """BM25 on words."""
    return {"bm25": Target("ragcore_bm25.retriever:Bm25", config="ragcore_bm25.config:Bm25Config")}
