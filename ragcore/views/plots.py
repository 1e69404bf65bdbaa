"""Plots as inline SVG: points with intervals, lines, and points counted at the same coordinates.

matplotlib draws them, an optional package that is imported when the first plot is drawn. Colours
become the page's variables, so that a plot follows light and dark; text stays text, in the page's
font. Knows numbers and labels; knows nothing of experiments.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ragcore.views.output import neutral
from ragcore.views.plot_scales import set_scale
from ragcore.views.source import on_one_line
from ragcore.views.svg import page_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "GLYPHS",
    "PLOT_STYLE",
    "SERIES",
    "Line",
    "Mark",
    "Plot",
    "can_draw",
    "counted_marks",
    "draw",
    "shortened",
    "thinned",
]

SERIES: Final = 8
"""Lines of one plot that can be told apart, by marker and colour."""

GLYPHS: Final = "●■◆▲▼✚✖★"
"""The markers of the series as characters, for legends."""

_MARKERS: Final = "osD^vPX*"
_DASHES: Final = ("-", "--", "-.", ":")

MOST_MARKS: Final = 600
"""Distinct points of a plot that are drawn as they are; more are counted in cells."""
_CELLS: Final = 32
"""Cells along each axis."""
_SIZES: Final = 8
"""Classes of sizes of counted points."""

# Inches of 72 units; a phone shows about five.
_WIDTH, _HEIGHT, _SQUARE = 5.0, 3.5, 3.6
_LEFT, _BOTTOM, _RIGHT, _TOP = 0.8, 0.6, 0.2, 0.15
_FONT: Final = 10.5
"""In units."""

# Stand for the page's variables while matplotlib draws; no other colour is drawn with.
_INK, _SOFT, _LINE = "#010201", "#010202", "#010203"
_COLOURS: Final = tuple(f"#01030{index}" for index in range(SERIES))
_VARIABLES: Final = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _LINE: "var(--line)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_COLOURS)},
}

# The contrast with the page's ground is at least 4.5.
_LIGHT: Final = (
    *("#0068a8", "#c44e00", "#007d5a", "#a83a8c"),
    *("#7a6000", "#4f5b66", "#6f3fd6", "#8f3b1b"),
)
_DARK: Final = (
    *("#4aa8e8", "#ff8a4a", "#2fc79a", "#e58cc8"),
    *("#e0b83a", "#a9b1ba", "#b79bff", "#e0a080"),
)


def _variables(colours: Iterable[str]) -> str:
    return " ".join(f"--series-{index}: {colour};" for index, colour in enumerate(colours))


PLOT_STYLE: Final = f"""
:root {{ {_variables(_LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(_DARK)} }} }}
svg.plot {{ display: block; width: 100%; height: auto; max-width: 30rem; }}
svg.plot * {{ stroke-linejoin: round; stroke-linecap: butt; }}
svg.plot text {{ font-family: system-ui, sans-serif; font-variant-numeric: tabular-nums;
  paint-order: stroke; stroke: var(--ground); stroke-width: 3px; }}
"""
"""CSS of plots; it uses the colours of `html_page`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One point.

    Attributes:
        x: coordinate.
        y: coordinate.
        label: written next to it; empty for none.
        low: lower end of the interval of y; None where there is none.
        high: upper end.
        count: how many points it stands for.
        series: its marker and colour, below `SERIES`.
    """

    x: float
    y: float
    label: str = ""
    low: float | None = None
    high: float | None = None
    count: int = 1
    series: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """Points joined in order.

    Attributes:
        marks: from left to right.
        series: its marker, dashes and colour, below `SERIES`.
        markers: whether its points have markers.
    """

    marks: tuple[Mark, ...]
    series: int = 0
    markers: bool = True


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn.

    Attributes:
        name: unique on the page, of letters, digits and hyphens.
        title: read aloud instead of the picture.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        marks: points.
        lines: lines.
        diagonal: whether both axes have one scale, with a line where both values are equal.
        logarithmic: whether x is on a logarithmic scale; all x are positive then.
        unit: the axes that go from 0 to 1: "", "x", "y" or "xy".
        counted: whether the size of a point shows its count.
        ticks: values of x that have a tick; empty for round numbers.
        times: whether x is in seconds; its ticks have a unit that suits them.
    """

    name: str
    title: str
    x: str
    y: str
    marks: tuple[Mark, ...] = ()
    lines: tuple[Line, ...] = ()
    diagonal: bool = False
    logarithmic: bool = False
    unit: str = ""
    counted: bool = False
    ticks: tuple[float, ...] = ()
    times: bool = False


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def shortened(text: str, longest: int) -> str:
    """Return a text on one line, without control characters, cut to a number of characters."""
    line = on_one_line(text[: 4 * longest])
    # What neither XML nor HTML may have, besides what `neutral` replaces.
    line = re.sub("[\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", neutral(line))
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def counted_marks(points: Iterable[tuple[float, float]]) -> tuple[Mark, ...]:
    """Return one mark for all points at the same coordinates, with their count.

    Where these are many, points within a cell of a grid are counted together, at its middle; those
    whose coordinates are equal are counted apart, so that a tie is drawn on the diagonal.
    """
    counts = Counter((round(x, 6), round(y, 6)) for x, y in points)
    if len(counts) > MOST_MARKS:
        ends = [end for point in counts for end in point]
        low, step = min(ends), (max(ends) - min(ends)) / _CELLS
        cells: Counter[tuple[float, float]] = Counter()
        for (x, y), count in counts.items():
            row, column = (min(_CELLS - 1, int((end - low) / step)) for end in (y, x))
            across, up = low + (column + 0.5) * step, low + (row + 0.5) * step
            if row == column and x != y:
                # Off the diagonal, on its side.
                up += step / 4 if y > x else -step / 4
                across += step / 4 if x > y else -step / 4
            cells[across, up] += count
        counts = cells
    return tuple(Mark(x, y, count=count) for (x, y), count in sorted(counts.items()))


def thinned(marks: Sequence[Mark], most: int = 200) -> tuple[Mark, ...]:
    """Return at most so many of a line's points, evenly spaced, with the first and the last."""
    if len(marks) <= most:
        return tuple(marks)
    step = (len(marks) - 1) / (most - 1)
    return tuple(marks[round(index * step)] for index in range(most))


def draw(plot: Plot) -> str:
    """Draw a plot as an SVG element to put into a page whose style has `PLOT_STYLE`.

    The same plot gives the same text.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": plot.name,
        # Labels come from outside: a dollar sign is a dollar sign.
        "text.parse_math": False,
        "text.usetex": False,
        "font.size": _FONT,
        "font.family": "DejaVu Sans",
        "text.color": _INK,
        "axes.edgecolor": _SOFT,
        "axes.labelcolor": _INK,
        "xtick.color": _SOFT,
        "ytick.color": _SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _LINE,
        "grid.linewidth": 0.6,
    }
    buffer = io.StringIO()
    # The defaults first: a user's own style would bring colours that do not follow the page.
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The font that measures a label may lack a letter; the page's font shows it.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        size = (_WIDTH, _HEIGHT)
        if plot.diagonal:
            size = (_LEFT + _SQUARE + _RIGHT, _BOTTOM + _SQUARE + _TOP)
        figure = Figure(figsize=size, dpi=72)
        # By hand, as the layout engines draw a figure several times to find these.
        across, up = _LEFT / size[0], _BOTTOM / size[1]
        width, height = 1 - across - _RIGHT / size[0], 1 - up - _TOP / size[1]
        axes = figure.add_axes((across, up, width, height))
        axes.set_xlabel(shortened(plot.x, 60))
        axes.set_ylabel(shortened(plot.y, 40))
        _draw_axes(axes, plot)
        _draw_lines(axes, plot)
        _draw_marks(axes, plot)
        _draw_labels(axes, [mark for mark in plot.marks if mark.label])
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return page_svg(buffer.getvalue(), plot.name, shortened(plot.title, 300), _VARIABLES)


def _draw_axes(axes: Axes, plot: Plot) -> None:
    """Set scales and limits, from the data and their intervals."""
    marks = [*plot.marks, *(mark for line in plot.lines for mark in line.marks)]
    across = [mark.x for mark in marks]
    set_scale(axes, across, logarithmic=plot.logarithmic, times=plot.times)
    if plot.ticks:
        axes.set_xticks(plot.ticks, [f"{tick:g}" for tick in plot.ticks])
    up = [end for mark in marks for end in (mark.y, mark.low, mark.high) if end is not None]
    if plot.diagonal:
        across = up = across + up
    axes.set_xlim(*(_unit() if "x" in plot.unit else _limits(across, plot.logarithmic)))
    axes.set_ylim(*(_unit() if "y" in plot.unit else _limits(up, False)))
    if plot.diagonal:
        axes.axline((0, 0), slope=1, color=_SOFT, linewidth=1, linestyle=(0, (4, 3)))


def _unit() -> tuple[float, float]:
    return -0.03, 1.03


def _limits(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Return limits with a margin; those of equal values too."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if logarithmic:
        margin = max((high / low) ** 0.12, 1.3)
        return low / margin, high * margin
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 0.5
    return low - margin, high + margin


def _draw_lines(axes: Axes, plot: Plot) -> None:
    for line in plot.lines:
        colour = _COLOURS[line.series]
        axes.plot(
            [mark.x for mark in line.marks],
            [mark.y for mark in line.marks],
            color=colour,
            linewidth=1.6,
            linestyle=_DASHES[line.series % len(_DASHES)],
            marker=_MARKERS[line.series] if line.markers else None,
            markersize=6,
        )
        for mark in line.marks:
            _draw_interval(axes, mark, colour)


def _draw_interval(axes: Axes, mark: Mark, colour: str) -> None:
    if mark.low is not None and mark.high is not None:
        axes.vlines(mark.x, mark.low, mark.high, color=colour, linewidth=1.2, alpha=0.7)


def _draw_marks(axes: Axes, plot: Plot) -> None:
    """Draw points, those of one size, marker and colour together."""
    most = max((mark.count for mark in plot.marks), default=1)
    classes: dict[tuple[int, int], list[Mark]] = {}
    for mark in plot.marks:
        # Areas grow with counts, and a point by itself is small.
        scale = max(most - 1, _SIZES - 1)
        size = 1 + round((_SIZES - 1) * (mark.count - 1) / scale) if plot.counted else 1
        classes.setdefault((size, mark.series), []).append(mark)
        _draw_interval(axes, mark, _COLOURS[mark.series])
    for (size, series), marks in sorted(classes.items()):
        axes.scatter(
            [mark.x for mark in marks],
            [mark.y for mark in marks],
            s=18 + 30 * (size - 1) if plot.counted else 40,
            marker=_MARKERS[series],
            color=_COLOURS[series],
            alpha=0.6 if plot.counted else 1,
            linewidth=0,
            zorder=3,
        )


def _draw_labels(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write each label near its point, off all others; one without room is left out."""
    to_display = axes.transData.transform
    (left, bottom), (right, top) = axes.transAxes.transform(((0, 0), (1, 1)))
    points = [tuple(to_display((mark.x, mark.y))) for mark in marks]
    boxes = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    for mark, (x, y) in zip(marks, points, strict=True):
        label = shortened(mark.label, 28)
        width, height = 0.62 * _FONT * len(label), 1.2 * _FONT
        options = [
            (side, up)
            for up in (0, 11, -11, 22, -22, 33, -33, 44, -44)
            for side in (1, -1)
            if left <= (x + 6 if side > 0 else x - 6 - width)
            and (x + 6 + width if side > 0 else x - 6) <= right + 8
            and bottom <= y + up - height / 2
            and y + up + height / 2 <= top
        ]

        def box(option: tuple[int, int], at: tuple[float, ...] = (x, y, width, height)) -> Any:
            side, up = option
            start = at[0] + 6 if side > 0 else at[0] - 6 - at[2]
            middle = at[1] + up
            return start, middle - at[3] / 2, start + at[2], middle + at[3] / 2

        free = (option for option in options if not any(_overlap(box(option), b) for b in boxes))
        chosen = next(free, None)
        if chosen is None:
            continue
        side, up = chosen
        boxes.append(box((side, up)))
        axes.annotate(
            label,
            (mark.x, mark.y),
            xytext=(6 * side, up),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=_FONT - 1,
            annotation_clip=False,
        )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
