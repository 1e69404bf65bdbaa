"""Show an experiment's results in a terminal: the table, comparisons, costs, thresholds, factors.

Knows results and `rich`; knows nothing of how they are computed. Names of systems, metrics and
factors are `Text` on one line, and in no console a control character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragcore.views.console import ColumnsInParts, FirstFitting, Neutral
from ragcore.views.source import on_one_line
from ragcore.views.tables import NONE, byte_size, counted, figure_text, plain_table

if TYPE_CHECKING:
    from ragcore.experiments.results import (
        Comparison,
        FactorLevel,
        Results,
        SystemResult,
    )

__all__ = ["results_view"]

_BETTER: Final = "▲"
_WORSE: Final = "▼"
_DIFFERENT: Final = "◆"


def results_view(results: Results) -> RenderableType:
    """Show each system's figures, and how they compare with the baseline's.

    Metrics that do not fit next to each other are shown in several tables.
    """
    return Neutral(Group(*_blocks(results)))


def _blocks(results: Results) -> Iterator[RenderableType]:
    yield _head(results)
    yield ""
    yield ColumnsInParts(results.metrics, partial(_figures, results))
    yield from _errors(results)
    if len(results.systems) > 1:
        yield from _legend(results)
        for metric in results.metrics:
            yield ""
            yield from _comparisons(results, metric)
    if any(row.run.cost is not None for row in results.systems):
        yield ""
        yield _costs(results)
    if any(row.abstaining is not None for row in results.systems):
        yield ""
        yield from _abstaining(results)
    for factor in dict.fromkeys(level.factor for level in results.factors):
        levels = [level for level in results.factors if level.factor == factor]
        yield ""
        yield ColumnsInParts(results.metrics, partial(_levels, levels))
    yield ""
    yield _counters(results)
    for warning in results.warnings:
        yield Text(f"warning: {on_one_line(warning)}", style="yellow")


def _head(results: Results) -> Text:
    questions = max(len(row.run.report.predictions) for row in results.systems)
    head = Text(on_one_line(results.experiment.name), style="bold")
    head.append(
        f"  {counted(len(results.systems), 'system')}, {counted(questions, 'question')}, "
        f"baseline {on_one_line(results.experiment.baseline)}",
        style="dim",
    )
    return head


def _figures(results: Results, metrics: Sequence[str]) -> Table:
    """Show the systems with their numbers, by which narrow tables call them."""
    table = _table("system", *metrics)
    for number, row in enumerate(results.systems, 1):
        name = Text(f"{number} ", style="dim", overflow="fold")
        name.append(on_one_line(row.run.system.name), style="not dim")
        table.add_row(name, *(_figure(results, row, metric) for metric in metrics))
    return table


def _figure(results: Results, row: SystemResult, metric: str) -> Text:
    """Show a figure with a mark; columns without one have two spaces, so that numbers line up."""
    figure = row.figures[metric]
    if figure.error is not None:
        return Text("failed", style="red")
    mark, style = _mark(row.comparisons.get(metric), results.better[metric])
    return Text(figure_text(figure.value)).append(f" {mark or ' '}", style=style)


def _mark(comparison: Comparison | None, better: str) -> tuple[str, str]:
    """Return the sign of a significant difference and its style; empty where there is none."""
    if comparison is None or not comparison.significant:
        return "", ""
    if better == "neither":
        return _DIFFERENT, "bold"
    rises = comparison.difference > 0
    return (_BETTER, "green") if rises == (better == "higher") else (_WORSE, "red")


def _errors(results: Results) -> Iterator[Text]:
    for row in results.systems:
        for metric in results.metrics:
            error = row.figures[metric].error
            if error is not None:
                name = on_one_line(row.run.system.name)
                yield Text(f"{name}, {on_one_line(metric)}: {on_one_line(error)}", style="red")


def _legend(results: Results) -> Iterator[Text]:
    from ragcore.experiments.method import ALPHA, TEST

    yield Text(
        f"{_BETTER} better, {_WORSE} worse, {_DIFFERENT} different from the baseline: {TEST}, "
        f"p < {ALPHA:g} by Holm's correction over the systems",
        style="dim",
    )


def _comparisons(results: Results, metric: str) -> Iterator[RenderableType]:
    """Show how each system differs from the baseline in one metric."""
    direction = {
        "higher": "higher is better",
        "lower": "lower is better",
        "neither": "neither direction is better",
    }[results.better[metric]]
    yield Text(on_one_line(metric), style="bold").append(
        f"  against {on_one_line(results.experiment.baseline)}; {direction}", style="dim"
    )
    yield FirstFitting(
        _comparison_table(results, metric, [_name(row) for row in results.systems]),
        _comparison_table(
            results, metric, [Text(f"{n}") for n in range(1, 1 + len(results.systems))]
        ),
    )
    counts = {
        comparison.questions
        for row in results.systems
        if (comparison := row.comparisons.get(metric)) is not None
    }
    if counts:
        span = " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))
        yield Text(f"questions that both have: {span}", style="dim")


def _comparison_table(results: Results, metric: str, names: Sequence[Text]) -> Table:
    """Show one metric's comparisons, a row a system, by the names that stand for the systems."""
    table = _table("system", "difference", "95 %", "p", "p Holm", "effect", "win/tie/loss")
    for name, row in zip(names, results.systems, strict=True):
        if row is results.baseline:
            continue
        comparison = row.comparisons.get(metric)
        if comparison is None:
            table.add_row(name, "none", *[""] * 5)
            continue
        mark, style = _mark(comparison, results.better[metric])
        interval = NONE
        if comparison.low is not None and comparison.high is not None:
            interval = f"{comparison.low:+.4f} to {comparison.high:+.4f}"
        table.add_row(
            name,
            Text(f"{comparison.difference:+.4f}").append(f" {mark or ' '}", style=style),
            interval,
            figure_text(comparison.p),
            figure_text(comparison.p_holm),
            NONE if comparison.effect is None else f"{comparison.effect:+.2f}",
            "/".join(
                NONE if count is None else str(count)
                for count in (comparison.wins, comparison.ties, comparison.losses)
            ),
        )
    return table


def _costs(results: Results) -> Table:
    table = _table("cost", "s a question", "CPU s", "peak memory", "questions")
    for row in results.systems:
        cost = row.run.cost
        if cost is None:
            table.add_row(_name(row), "not measured", "", "", "")
            continue
        table.add_row(
            _name(row),
            f"{cost.seconds:.4f}",
            f"{cost.cpu_seconds:.4f}",
            NONE if cost.peak_bytes is None else byte_size(cost.peak_bytes),
            str(cost.questions),
        )
    return table


def _abstaining(results: Results) -> Iterator[RenderableType]:
    target = next(row.abstaining.target for row in results.systems if row.abstaining is not None)
    yield Text("abstaining", style="bold").append(
        f"  threshold chosen on the dev questions for a risk of {target:.0%}", style="dim"
    )
    table = _table("system", "threshold", "dev risk", "dev coverage", "risk", "coverage")
    for row in results.systems:
        chosen = row.abstaining
        if chosen is None:
            continue
        shares = (chosen.dev_risk, chosen.dev_coverage, chosen.risk, chosen.coverage)
        table.add_row(
            _name(row),
            "none keeps to it" if chosen.threshold is None else f"{chosen.threshold:.4f}",
            *(NONE if each is None else f"{each:.1%}" for each in shares),
        )
    yield table


def _levels(levels: Sequence[FactorLevel], metrics: Sequence[str]) -> Table:
    """Show the means of one factor's levels."""
    changes = any(level.changed_answers is not None for level in levels)
    table = _table(levels[0].factor, "systems", *(["changed answers"] if changes else []), *metrics)
    for level in levels:
        changed = level.changed_answers
        table.add_row(
            Text(on_one_line(str(level.level)), overflow="fold"),
            str(level.systems),
            *([NONE if changed is None else f"{changed:.1%}"] if changes else []),
            *(figure_text(level.means.get(metric)) for metric in metrics),
        )
    return table


def _counters(results: Results) -> Text:
    counters = results.counters
    parts = [
        _work(counters.searches, counters.searches_shared, "question searched for"),
        _work(counters.pairs_read, counters.pairs_shared, "pair read"),
        _work(counters.encodings, counters.encodings_shared, "text encoded"),
    ]
    if counters.questions_resumed:
        parts.append(f"{counters.questions_resumed:,} resumed")
    return Text("; ".join(part for part in parts if part), style="dim")


def _work(done: int, shared: int, noun: str) -> str:
    """Say how much was done: `120 pairs read, 40 shared`; empty where nothing was."""
    if not done and not shared:
        return ""
    first, _, rest = noun.partition(" ")
    return f"{counted(done, first)} {rest}" + (f", {shared:,} shared" if shared else "")


def _table(first: str, *numbers: str) -> Table:
    """Return a table of a column of names and columns of numbers; heads may be of plugins."""
    table = plain_table()
    # Long names fold, numbers stay whole.
    table.add_column(Text(on_one_line(first)), overflow="fold")
    for name in numbers:
        table.add_column(Text(on_one_line(name)), justify="right", no_wrap=True)
    return table


def _name(row: SystemResult) -> Text:
    return Text(on_one_line(row.run.system.name), overflow="fold")
