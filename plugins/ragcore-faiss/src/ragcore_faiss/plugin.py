"""What this package gives to ragcore."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_indexes() -> Components:
    """FAISS's indexes."""
    return {"faiss": Target("ragcore_faiss.index:Faiss", config="ragcore_faiss.config:FaissConfig")}
