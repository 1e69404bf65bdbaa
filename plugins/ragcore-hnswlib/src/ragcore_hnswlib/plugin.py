"""What this package gives to ragcore."""

from __future__ import annotations

from ragcore import hookimpl


@hookimpl
def ragcore_indexes() -> dict[str, str]:
    """The graphs of hnswlib."""
    return {"hnswlib": "ragcore_hnswlib.index:Hnswlib"}
