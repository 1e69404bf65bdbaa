"""The plugin `pgvector`: names the components and their configs."""

from __future__ import annotations

from ragcore import Components, Target, hookimpl


@hookimpl
def ragcore_indexes() -> Components:
    """Name the index `pgvector`."""
    return {
        "pgvector": Target(
            "ragcore_pgvector.index:Pgvector", config="ragcore_pgvector.configs:PgvectorConfig"
        )
    }
