"""What this package gives to ragcore."""

from __future__ import annotations

from ragcore import hookimpl


@hookimpl
def ragcore_indexes() -> dict[str, str]:
    """FAISS's indexes."""
    return {"faiss": "ragcore_faiss.index:Faiss"}
