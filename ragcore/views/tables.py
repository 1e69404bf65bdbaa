"""Build the plain tables that all views share: no lines, dim heads, numbers to the right."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from rich.table import Table

__all__ = ["NONE", "byte_size", "counted", "figure_text", "plain_table"]

NONE: Final = "–"
"""Stands where there is no number."""


def plain_table(*columns: str, numbers: Collection[str] = ()) -> Table:
    """Return an empty table without lines.

    Args:
        columns: the heads, from left to right.
        numbers: heads of the columns that are aligned to the right.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table


def counted(count: int, noun: str) -> str:
    """Say how many there are: `1 passage`, `1,200 passages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def figure_text(value: float | None) -> str:
    """Write a figure with four digits after the point; a dash where there is none."""
    return NONE if value is None else f"{value:.4f}"


def byte_size(count: int) -> str:
    """Format a number of bytes for people, with decimal units: 1234 is 1.2 kB."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"
