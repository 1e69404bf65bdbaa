"""Show an evaluation in a terminal: metrics, differences between runs, and a replayed run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragcore.views.tables import NONE, figure_text, plain_table

if TYPE_CHECKING:
    from ragcore.evaluation.figures import Difference, Figure
    from ragcore.evaluation.repeating import Replayed

__all__ = ["differences_view", "figures_view", "replayed_view"]


def figures_view(figures: Sequence[Figure]) -> RenderableType:
    """Show the value of each metric with its 95 % interval, or why there is none."""
    table = _table("metric", "value", "95 %", "questions")
    for figure in figures:
        if figure.error is not None:
            table.add_row(figure.metric, Text("failed", style="red"), Text(figure.error), "")
        elif figure.value is None:
            table.add_row(figure.metric, NONE, "applies to no question", "0")
        else:
            interval = (
                f"{figure.low:.4f} to {figure.high:.4f}" if figure.low is not None else "none"
            )
            table.add_row(figure.metric, f"{figure.value:.4f}", interval, str(figure.questions))
    return table


def differences_view(differences: Sequence[Difference]) -> RenderableType:
    """Show each metric of an earlier run and of this one, with the paired test between them."""
    table = _table("metric", "there", "here", "difference, 95 %", "p", "questions")
    for difference in differences:
        values = (figure_text(difference.one), figure_text(difference.other))
        if difference.p is None:
            reason = Text(difference.error or "no test for this metric")
            table.add_row(difference.metric, *values, reason, "", "")
        else:
            interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
            table.add_row(
                difference.metric,
                *values,
                interval,
                f"{difference.p:.4f}",
                str(difference.questions),
            )
    return table


def replayed_view(replayed: Replayed) -> RenderableType:
    """Show how many answers are the same, each that differs, and changed versions of libraries."""
    return Group(*_replayed(replayed))


def _replayed(replayed: Replayed) -> Iterator[Text]:
    same = replayed.questions - len(replayed.changed)
    yield Text(f"{same} of {replayed.questions} answers are the same")
    for question, before, now in replayed.changed:
        yield Text(question, style="bold")
        yield Text(f"  before  {before}")
        yield Text(f"  now     {now}")
    for name, (before_version, now_version) in replayed.versions.items():
        versions = f"{before_version or 'not installed'} then, {now_version or 'not installed'} now"
        yield Text(f"{name}: {versions}", style="yellow")


def _table(*columns: str) -> Table:
    table = plain_table(*columns)
    table.columns[0].no_wrap = True
    return table
