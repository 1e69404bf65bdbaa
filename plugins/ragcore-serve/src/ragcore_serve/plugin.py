"""The plugin `serve`: names the command `ragcore serve`, and imports nothing of it."""

from __future__ import annotations

from ragcore import hookimpl


@hookimpl
def ragcore_cli() -> dict[str, str]:
    """Name the command `ragcore serve`."""
    return {"serve": "ragcore_serve.cli:app"}
