"""Draw recall against queries a second: a line for each kind, a colour for each family.

Needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from vectors.records import Built, Log, Point

__all__ = ["draw"]

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS: Final = {
    "exact": "#000000",
    "codes": "#E69F00",
    "refined": "#D55E00",
    "IVF": "#0072B2",
    "IVF, refined": "#56B4E9",
    "HNSW": "#009E73",
    "hnswlib": "#CC79A7",
}
MARKERS: Final = "osD^vPX"
TICKS: Final = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
CLOSEST: Final = 0.01
"""The scale of recall is the logarithm of 1 - recall plus this number."""

LEFT: Final = 0.8
"""Lines that end below this recall have their names on the left, where there is space."""


def draw(log: Log, path: Path) -> None:
    """Draw two panels, 64 queries together and one by one, in the format that the suffix names."""
    # Letters are drawn as shapes, and the same figures give the same file.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "ragcore", "font.size": 9}):
        figure = Figure(figsize=(9, 12), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        for panel, title, field in zip(
            panels, ("64 queries at once", "one query at a time"), ("batch", "single"), strict=True
        ):
            _panel(panel, log, field)
            panel.set_title(title, loc="left", fontweight="bold")
        panels[-1].set_xlabel("recall@10")
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(panel: Any, log: Log, field: str) -> None:
    panel.set_xscale("function", functions=(_to_scale, _from_scale))
    panel.set_yscale("log")
    panel.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    # Room for the names to the left.
    panel.set_xlim(_from_scale(-0.14), _from_scale(_to_scale(1.0) + 0.1))
    panel.minorticks_off()
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_ylabel("queries a second")
    ends: list[tuple[float, float, str, str]] = []
    markers: dict[str, int] = {}
    for built in log.of(Built):
        points = [point for point in log.of(Point) if point.kind == built.kind]
        recalls = [point.recall for point in points]
        rates = [getattr(point, field) for point in points]
        number = markers[built.family] = markers.get(built.family, -1) + 1
        colour = COLOURS[built.family]
        panel.plot(recalls, rates, color=colour, marker=MARKERS[number], markersize=4.5)
        ends.append((recalls[-1], rates[-1], built.kind, colour))
    _labels(panel, [end for end in ends if end[0] < LEFT], "right")
    _labels(panel, [end for end in ends if end[0] >= LEFT], "left")


def _labels(panel: Any, ends: list[tuple[float, float, str, str]], aligned: str) -> None:
    """Write a column of names next to the lines' ends, far enough apart to read them."""
    if not ends:
        return
    ends = sorted(ends, key=lambda end: end[1])
    bottom, top = np.log10(panel.get_ylim())
    step = (top - bottom) / 30
    heights = [float(np.log10(end[1])) for end in ends]
    # Names are moved up until they fit; then the column is moved down by the mean of these moves.
    spread: list[float] = []
    for height in heights:
        spread.append(max(height, spread[-1] + step) if spread else height)
    lift = np.mean(np.subtract(spread, heights))
    outermost = (max if aligned == "left" else min)(end[0] for end in ends)
    side = _from_scale(_to_scale(outermost) + (0.12 if aligned == "left" else -0.05))
    for (recall, rate, name, colour), height in zip(ends, spread, strict=True):
        panel.annotate(
            name,
            (recall, rate),
            (side, 10 ** (height - lift)),
            color=colour,
            va="center",
            ha=aligned,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0},
        )


def _to_scale(recall: Any) -> Any:
    return -np.log10(np.maximum(1 + CLOSEST - np.asarray(recall), 1e-6))


def _from_scale(position: Any) -> Any:
    return 1 + CLOSEST - 10.0 ** -np.asarray(position)
