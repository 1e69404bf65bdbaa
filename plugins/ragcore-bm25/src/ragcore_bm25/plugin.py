"""What this package gives to ragcore."""

from __future__ import annotations

from ragcore import hookimpl


@hookimpl
def ragcore_retrievers() -> dict[str, str]:
    """BM25 on words."""
    return {"bm25": "ragcore_bm25.retriever:Bm25"}
