"""The tables of an experiment's page: figures, comparisons, factors, abstaining, systems.

Knows results and HTML; knows nothing of plots. Every function yields lines in which all text that
comes from outside is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from ragcore.experiments.levels import level_text
from ragcore.views.experiment_marks import LEGEND, MARKS, Direction, direction_of
from ragcore.views.plots import shortened
from ragcore.views.tables import byte_size, time_text

if TYPE_CHECKING:
    from ragcore.evaluation.figures import Figure
    from ragcore.experiments.results import Comparison, Results, SystemResult

__all__ = [
    "abstaining_table",
    "cells",
    "comparison_tables",
    "factor_tables",
    "figures_table",
    "number",
    "plain",
    "row_numbers",
    "share_of",
    "systems_table",
    "table",
]

_CLASSES: Final[dict[Direction, str]] = {"better": "right", "worse": "wrong", "different": ""}

_DASH: Final = "–"


def plain(text: object, longest: int = 300) -> str:
    """Return a text from outside as HTML: on one line, cut, control characters made visible."""
    return escape(shortened(str(text), longest))


def number(value: float | None, form: str = ".4f") -> str:
    """Format a number; a dash where there is none."""
    return _DASH if value is None else format(value, form)


def share_of(value: float | None) -> str:
    """Format a share as a percentage; a dash where there is none."""
    return number(value, ".1%")


def cells(values: Iterable[str]) -> str:
    """Return cells of numbers, aligned to the right."""
    return "".join(f'<td class="number">{value}</td>' for value in values)


def table(
    label: str, heads: Sequence[str], rows: Iterable[str], *, left: int = 1, caption: str = ""
) -> Iterator[str]:
    """Yield a table that scrolls by itself where the screen is narrow, by keyboard too.

    Args:
        label: names the region for a screen reader; HTML.
        heads: of the columns; HTML.
        rows: the cells of each row; HTML.
        left: how many of the first columns are aligned to the left.
        caption: above the table; HTML.
    """
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">\n<table>'
    if caption:
        yield f"<caption>{caption}</caption>"
    columns = "".join(
        f'<th scope="col"{"" if index < left else _RIGHT}>{head}</th>'
        for index, head in enumerate(heads)
    )
    yield f"<thead><tr>{columns}</tr></thead>\n<tbody>"
    for row in rows:
        yield f"<tr>{row}</tr>"
    yield "</tbody>\n</table>\n</div>"


_RIGHT: Final = ' class="number"'


def row_numbers(results: Results) -> dict[str, int]:
    """Return the number by which plots and tables refer to each system, from 1."""
    return {row.run.system.name: index for index, row in enumerate(results.systems, 1)}


def figures_table(results: Results) -> Iterator[str]:
    """Yield the main table: a row a system, with means, intervals, marks and cost."""
    costs = any(row.run.cost is not None for row in results.systems)
    heads = ["#", "system", *(_metric_head(results, name) for name in results.metrics)]
    if costs:
        heads += ["time a question", "CPU time", "peak memory"]
    best = {name: _best(results, name) for name in results.metrics}
    numbers = row_numbers(results)

    def rows() -> Iterator[str]:
        for row in results.systems:
            name = row.run.system.name
            mark = ' <span class="soft">baseline</span>' if row is results.baseline else ""
            line = (
                f'<td class="number">{numbers[name]}</td><th scope="row">{plain(name)}{mark}</th>'
            )
            for metric in results.metrics:
                figure = row.figures.get(metric)
                line += _figure_cell(results, row, figure, metric, best[metric])
            yield line + (_cost_cells(row) if costs else "")

    yield from table("results by system", heads, rows(), left=2)
    marks = f" {escape(LEGEND)}." if len(results.systems) > 1 else ""
    yield (
        '<p class="soft">Below each mean its 95 % interval. <b>Bold</b>: the best mean. '
        f"↑ higher values are better, ↓ lower ones.{marks}</p>"
    )


def _metric_head(results: Results, metric: str) -> str:
    better = results.better.get(metric, "higher")
    arrow = {"higher": " ↑", "lower": " ↓", "neither": ""}[better]
    return f"{plain(metric)}{arrow}"


def _best(results: Results, metric: str) -> float | None:
    """Return the best value of a metric, where one is better and not all are equal."""
    better = results.better.get(metric, "higher")
    figures = [row.figures[metric] for row in results.systems if metric in row.figures]
    values = [figure.value for figure in figures if figure.value is not None]
    if better == "neither" or len(set(values)) < 2:
        return None
    return max(values) if better == "higher" else min(values)


def _figure_cell(
    results: Results, row: SystemResult, figure: Figure | None, metric: str, best: float | None
) -> str:
    if figure is None or figure.value is None:
        failed = figure is not None and figure.error is not None
        return f'<td class="number">{"failed" if failed else _DASH}</td>'
    value = number(figure.value)
    value = f"<b>{value}</b>" if figure.value == best else value
    mark = significance(row.comparisons.get(metric), results.better.get(metric, "higher"))
    interval = ""
    if figure.low is not None:
        interval = f'<br><span class="soft">{number(figure.low)} to {number(figure.high)}</span>'
    return f'<td class="number">{value}{mark}{interval}</td>'


def significance(comparison: Comparison | None, better: str) -> str:
    """Return the mark of a significant difference, empty for any other."""
    direction = direction_of(comparison, better)
    if comparison is None or direction is None:
        return ""
    than = "from" if direction == "different" else "than"
    title = f"{direction} {than} the baseline, p = {comparison.p_holm:.3g}"
    return f' <span class="{_CLASSES[direction]}" title="{title}">{MARKS[direction]}</span>'


def _cost_cells(row: SystemResult) -> str:
    cost = row.run.cost
    if cost is None:
        return cells([_DASH] * 3)
    peak = _DASH if cost.peak_bytes is None else byte_size(cost.peak_bytes)
    return cells((time_text(cost.seconds), time_text(cost.cpu_seconds), peak))


def comparison_tables(results: Results) -> Iterator[str]:
    """Yield for each metric a table of every number of its comparisons; the first is open."""
    numbers = row_numbers(results)
    heads = (
        "#",
        "system",
        "difference",
        "95 % interval",
        "p",
        "p, Holm",
        "effect",
        "wins",
        "ties",
        "losses",
        "questions",
    )
    for index, metric in enumerate(results.metrics):
        compared = [row for row in results.systems if metric in row.comparisons]
        failed = [
            (row.run.system.name, row.figures[metric].error)
            for row in results.systems
            if metric in row.figures and row.figures[metric].error is not None
        ]
        if not compared and not failed:
            continue
        yield f"<details{'' if index else ' open'}>\n<summary>{plain(metric)}</summary>"
        for name, error in failed:
            yield f"<p>{plain(name)} failed: {plain(error, 1000)}</p>"
        if compared:
            rows = (
                f'<td class="number">{numbers[row.run.system.name]}</td>'
                f'<th scope="row">{plain(row.run.system.name)}</th>'
                + _comparison_cells(row.comparisons[metric], results.better.get(metric, "higher"))
                for row in compared
            )
            yield from table(f"differences in {plain(metric)}", heads, rows, left=2)
        yield "</details>"


def _comparison_cells(comparison: Comparison, better: str) -> str:
    interval = _DASH
    if comparison.low is not None:
        interval = f"{number(comparison.low, '+.4f')} to {number(comparison.high, '+.4f')}"
    counts = (comparison.wins, comparison.ties, comparison.losses, comparison.questions)
    return cells(
        (
            number(comparison.difference, "+.4f"),
            interval,
            number(comparison.p, ".3g"),
            number(comparison.p_holm, ".3g") + significance(comparison, better),
            number(comparison.effect, "+.3f"),
            *(_DASH if count is None else f"{count:,}" for count in counts),
        )
    )


def factor_tables(results: Results) -> Iterator[str]:
    """Yield a table of the levels of all factors, such as the versions of a memory."""
    changed = any(level.changed_answers is not None for level in results.factors)
    heads = ["factor", "level", "systems", *map(plain, results.metrics)]
    heads += ["changed answers"] if changed else []

    def rows() -> Iterator[str]:
        before = None
        for level in results.factors:
            factor = "" if level.factor == before else plain(level.factor)
            before = level.factor
            numbers = [str(level.systems)]
            numbers += [number(level.means.get(metric)) for metric in results.metrics]
            numbers += [share_of(level.changed_answers)] if changed else []
            name = plain(level_text(level.level))
            yield f'<td>{factor}</td><th scope="row">{name}</th>{cells(numbers)}'

    yield from table("levels of the factors", heads, rows(), left=2)


def abstaining_table(results: Results) -> Iterator[str]:
    """Yield what the threshold of each system does on the dev questions and on the test ones."""
    numbers = row_numbers(results)
    heads = ("#", "system", "threshold", "risk, dev", "coverage, dev", "risk, test")

    def rows() -> Iterator[str]:
        for row in results.systems:
            chosen = row.abstaining
            if chosen is None:
                continue
            values = [number(chosen.threshold) if chosen.threshold is not None else "none"]
            values += [share_of(chosen.dev_risk), share_of(chosen.dev_coverage)]
            values += [share_of(chosen.risk), share_of(chosen.coverage)]
            name = row.run.system.name
            yield (
                f'<td class="number">{numbers[name]}</td><th scope="row">{plain(name)}</th>'
                f"{cells(values)}"
            )

    yield from table("abstaining", (*heads, "coverage, test"), rows(), left=2)


def systems_table(results: Results) -> Iterator[str]:
    """Yield what each system is: its file, its settings, the memory that it read."""
    numbers = row_numbers(results)

    def rows() -> Iterator[str]:
        for row in results.systems:
            system = row.run.system
            source: Any = system.run or system.pipeline or ""
            reused = "an earlier experiment's run" if row.run.reused else "this experiment's run"
            yield (
                f'<td class="number">{numbers[system.name]}</td>'
                f'<th scope="row">{plain(system.name)}</th><td>{plain(source)}</td>'
                f"<td>{'<br>'.join(map(plain, system.overrides)) or _DASH}</td>"
                f"<td>{plain(row.run.report.memory)}</td><td>{reused}</td>"
            )

    heads = ("#", "system", "file", "changed settings", "memory", "from")
    yield from table("the systems", heads, rows(), left=6)
