"""The config of the passage store; imports no driver, so a file is checked fast."""

from __future__ import annotations

from ragcore_pgvector.configs import DatabaseConfig

__all__ = ["PostgresPassagesConfig"]


class PostgresPassagesConfig(DatabaseConfig):
    """Settings of `{use: postgres}`."""
