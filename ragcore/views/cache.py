"""Show the embedding cache in a terminal: one row for each encoder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.views.tables import byte_size, plain_table

if TYPE_CHECKING:
    from ragcore.embeddings.upkeep import CachedEncoder

__all__ = ["cache_view"]


def cache_view(
    folder: Path, encoders: Sequence[CachedEncoder], size: int, max_gib: float
) -> RenderableType:
    """Show what a cache has.

    Args:
        folder: of the cache.
        encoders: whose vectors it has.
        size: of all files, in bytes.
        max_gib: how large it may become.
    """
    limit = byte_size(round(max_gib * (1 << 30)))
    head = Text(f"{folder}: {byte_size(size)} of {limit}")
    if not encoders:
        return head
    table = plain_table("vectors", "d", "size", "last used", "encoder", numbers=("vectors", "size"))
    for encoder in encoders:
        used = encoder.used
        table.add_row(
            f"{encoder.vectors:,}",
            str(encoder.dim or ""),
            byte_size(encoder.bytes),
            "" if used is None else datetime.fromtimestamp(used, UTC).strftime("%Y-%m-%d %H:%M"),
            Text(encoder.fingerprint) if encoder.broken is None else Text("broken", style="red"),
        )
    return Group(head, table, *(Text(each.broken) for each in encoders if each.broken))
