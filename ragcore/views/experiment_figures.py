"""What all figures of an experiment's page share: which systems are drawn, frames, legends.

Knows results, HTML and plots; knows nothing of what a figure shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ragcore.views.experiment_tables import plain
from ragcore.views.plots import GLYPHS, SERIES, Plot, can_draw, draw

if TYPE_CHECKING:
    from ragcore.evaluation.figures import Figure
    from ragcore.experiments.results import Results, SystemResult

__all__ = ["drawn_systems", "figure", "folded", "legend", "one_sided_metrics", "scores_of"]


def figure(plot: Plot | None, caption: str, *more: str) -> Iterator[str]:
    """Yield a figure; without matplotlib it has its caption and what follows alone.

    Args:
        plot: None where there is nothing to draw.
        caption: HTML; says what the plot shows, with its main numbers.
        more: HTML after the caption, such as a legend and a table of the numbers.
    """
    yield "<figure>"
    if plot is not None and can_draw():
        yield draw(plot)
    yield f"<figcaption>{caption}</figcaption>"
    yield from more
    yield "</figure>"


def folded(summary: str, lines: Iterable[str]) -> str:
    """Return lines behind a heading that opens them; all of it HTML."""
    return "\n".join((f"<details>\n<summary>{summary}</summary>", *lines, "</details>"))


def legend(names: Sequence[str]) -> str:
    """Return the marker of each series with its name, in the order of the series."""
    items = (
        f'<li><span style="color: var(--series-{index})" aria-hidden="true">{GLYPHS[index]}</span> '
        f"{plain(name, 80)}</li>"
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def one_sided_metrics(results: Results, most: int = 4) -> list[str]:
    """Return the first metrics of which one direction is better; all, where there is none."""
    names = [name for name in results.metrics if results.better.get(name, "higher") != "neither"]
    return (names or list(results.metrics))[:most]


def drawn_systems(
    results: Results, rows: Sequence[SystemResult], metric: str | None
) -> tuple[list[SystemResult], str]:
    """Choose the systems that a figure shows, as many as can be told apart.

    Args:
        results: of all systems.
        rows: the systems that the figure could show.
        metric: the best in it are chosen, and the baseline; None chooses the first.

    Returns:
        The systems, in the table's order; and a sentence that says which are left out, as HTML,
        empty where none is.
    """
    if len(rows) <= SERIES:
        return list(rows), ""
    if metric is None:
        return list(rows[:SERIES]), f"Shown are the first {SERIES} of {len(rows)} systems."
    sign = -1.0 if results.better.get(metric, "higher") == "lower" else 1.0

    def merit(row: SystemResult) -> tuple[bool, float]:
        value = row.figures[metric].value if metric in row.figures else None
        return row is results.baseline, float("-inf") if value is None else sign * value

    chosen = {id(row) for row in sorted(rows, key=merit, reverse=True)[:SERIES]}
    with_baseline = any(row is results.baseline for row in rows)
    words = "the baseline and the best others" if with_baseline else "the best"
    note = f"Shown are {SERIES} of {len(rows)} systems: {words} in {plain(metric)}."
    return [row for row in rows if id(row) in chosen], note


def scores_of(figure: Figure) -> list[float | None] | None:
    """Return the score of each question; None where the metric is no mean of such scores."""
    scores: list[float | None] = []
    for numbers in figure.by_question:
        if numbers is None:
            scores.append(None)
        elif len(numbers) == 2 and numbers[1] == 1:
            scores.append(numbers[0])
        else:
            return None
    return scores if any(score is not None for score in scores) else None
