"""Build the plain tables that all views share: no lines, dim heads, numbers to the right."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from rich.table import Table

__all__ = ["NONE", "byte_size", "counted", "figure_text", "plain_table", "time_text", "time_unit"]

NONE: Final = "–"
"""Stands where there is no number."""

_TIMES: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


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


def figure_text(value: float | None, digits: int = 4) -> str:
    """Write a figure with so many digits after the point; a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}f}"


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the unit that suits a time: its length in seconds, and its name.

    It is the largest of s, ms and µs that is not longer than the time, or else the microsecond.
    """
    return next((unit for unit in _TIMES if seconds >= unit[0]), _TIMES[-1])


def time_text(seconds: float) -> str:
    """Write a time for people, with three digits: 73.7 µs, 12.0 ms, 1.34 s, and 1,234 s."""
    if not seconds:
        return "0 s"
    # Rounded before the unit is chosen: 999.9 µs are 1.00 ms.
    rounded = float(f"{seconds:.3g}") if seconds < 1000 else seconds
    length, name = time_unit(rounded)
    count = rounded / length
    # A quotient may be a little less than the power of ten that it stands for.
    digits = max(0, 2 - math.floor(math.log10(count) + 1e-9))
    return f"{count:,.{digits}f} {name}"


def byte_size(count: int) -> str:
    """Format a number of bytes for people, with decimal units: 1234 is 1.2 kB."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"
