"""The core's own components, given through the same hooks as a plugin's."""

from __future__ import annotations

from ragcore.hookspecs import hookimpl


@hookimpl
def ragcore_corpora() -> dict[str, str]:
    """Passages from files."""
    return {
        "jsonl": "ragcore.memory.corpora:Jsonl",
        "dpr-tsv": "ragcore.memory.corpora:DprTsv",
        "text": "ragcore.memory.corpora:TextFolder",
    }


@hookimpl
def ragcore_indexes() -> dict[str, str]:
    """All inner products, with numpy alone."""
    return {"exact": "ragcore.memory.exact:Exact"}


@hookimpl
def ragcore_retrievers() -> dict[str, str]:
    """An encoder and an index together."""
    return {"dense": "ragcore.memory.dense:Dense"}
