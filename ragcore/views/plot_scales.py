"""The horizontal scale of a plot: linear or logarithmic, with ticks whose labels have room.

Knows matplotlib's axes and units of time; knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ragcore.views.tables import time_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["set_scale"]

_MOST_TICKS: Final = 5
"""Of an axis whose labels may be long."""


def set_scale(axes: Axes, values: Sequence[float], *, logarithmic: bool, times: bool) -> None:
    """Set the scale of x and its ticks.

    Args:
        axes: of the plot.
        values: all x that are drawn; on a logarithmic scale they are positive.
        logarithmic: whether ticks are at powers of ten, and between them where these are few.
        times: whether values are in seconds: ticks have a unit then.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if logarithmic:
        axes.set_xscale("log")
        # Over several decades there is room for their ends alone.
        subs = (1,) if max(values) > 100 * min(values) else (1, 2, 5)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=_MOST_TICKS))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif times:
        axes.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS - 1))
    if times:
        # Ticks in steps have one unit, that of the largest; those by powers have each their own.
        common = None if logarithmic else time_unit(max(values))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _time(value, common)))
    elif logarithmic:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _time(seconds: float, unit: tuple[float, str] | None) -> str:
    # Six digits tell neighbouring ticks apart, and hide the error of the division.
    length, name = unit or time_unit(seconds * (1 + 1e-9))
    return f"{seconds / length:g} {name}"
