"""Show a comparison of two versions in a terminal: changed answers first, then a summary.

Knows a comparison and `rich`; knows nothing of how the answers were obtained. Texts from questions,
answers and passages are `Text`, never a string in which `rich` would look for markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragcore.views.console import Fitted
from ragcore.views.source import on_one_line
from ragcore.views.tables import figure_text

if TYPE_CHECKING:
    from ragcore.evaluation.comparison import ComparedQuestion, Comparison, Side, Tally

__all__ = ["comparison_view", "share"]


def comparison_view(comparison: Comparison) -> RenderableType:
    """Show every question whose answer changes, and how often each version is right."""
    return Group(*_blocks(comparison))


def share(part: int, whole: int) -> str:
    """Write a share as a percentage with its counts; a dash where there is nothing to divide."""
    return f"{part / whole:.1%} ({part}/{whole})" if whole else "–"


def _blocks(comparison: Comparison) -> Iterator[RenderableType]:
    for compared in comparison.changed:
        yield _question(comparison, compared)
        yield ""
    yield _summary(comparison)


def _question(comparison: Comparison, compared: ComparedQuestion) -> RenderableType:
    """Show one question whose answer changes, a row for each version."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1)
    table.add_column("version", no_wrap=True)
    table.add_column("answer", ratio=2)
    table.add_column("log p", justify="right", no_wrap=True)
    table.add_column("of other", justify="right", no_wrap=True)
    table.add_column("passage of highest posterior", ratio=3, overflow="ellipsis", no_wrap=True)
    for version, side in ((comparison.old, compared.old), (comparison.new, compared.new)):
        table.add_row(
            "",
            Text(version),
            _answer(side),
            figure_text(side.log_prob, 3),
            figure_text(side.other_log_prob, 3),
            _best(side),
        )
    return Group(Text(compared.question, style="bold"), Fitted(table))


def _answer(side: Side) -> Text:
    style = {None: "bold", True: "bold green", False: "bold red"}[side.correct]
    return Text(on_one_line(side.text) or "(an empty answer)", style=style)


def _best(side: Side) -> Text:
    """Show the passage of the highest posterior, and how many only this version retrieved."""
    best = side.best
    if best is None:
        return Text("none: the generator alone", style="yellow")
    line = Text(f"{figure_text(best.posterior, 2)} ", style="dim")
    line.append(on_one_line(best.title) or on_one_line(best.id), style="cyan")
    only_here = sum(passage.alone for passage in side.passages)
    line.append(f"  {only_here}/{len(side.passages)} only here", style="dim")
    return line


def _summary(comparison: Comparison) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("version")
    for name in ("exact match", f"hit@{comparison.k}"):
        table.add_column(name, justify="right")
    for version, tally in (
        (comparison.old, comparison.old_tally),
        (comparison.new, comparison.new_tally),
    ):
        table.add_row(Text(version), *_shares(tally))
    changed = share(len(comparison.changed), len(comparison.pairs))
    return Group(Text(f"{changed} of the answers change", style="bold"), table)


def _shares(tally: Tally) -> tuple[str, str]:
    return share(tally.correct, tally.with_answers), share(tally.recalled, tally.with_gold)
