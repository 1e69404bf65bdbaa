"""Show in a terminal what tuning chose: the trials, and the figures on the test questions.

Knows the values of tuning and `rich`; knows nothing of how they are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragcore.config.source import dump_line
from ragcore.views.console import Neutral
from ragcore.views.source import on_one_line
from ragcore.views.tables import NONE, counted, figure_text, plain_table

if TYPE_CHECKING:
    from ragcore.evaluation.figures import Figure
    from ragcore.experiments.tuned import Trial, Tuned

__all__ = ["settings_lines", "tuned_view"]

_SHOWN: Final = 10
_AS_IT_IS: Final = "as it is"


def tuned_view(tuned: Tuned) -> RenderableType:
    """Show the best trials on the dev questions, then both figures on the test questions."""
    return Neutral(Group(*_blocks(tuned)))


def settings_lines(tuned: Tuned) -> str:
    """Write the chosen settings as overrides, one a line."""
    return "\n".join(f"{key}={dump_line(value)}" for key, value in tuned.settings.items())


def _blocks(tuned: Tuned) -> Iterator[RenderableType]:
    yield Text("chosen on the dev questions", style="bold").append(
        f"  {counted(len(tuned.trials), 'trial')}, {counted(tuned.dev_questions, 'question')}, "
        f"{tuned.better} is better",
        style="not bold dim",
    )
    from ragcore.experiments.tuned import RECORD

    ordered = _ordered(tuned)
    table = _table(tuned.metric)
    for trial in ordered[:_SHOWN]:
        table.add_row(_settings(trial, tuned), figure_text(trial.value), _interval(trial))
    yield table
    if len(ordered) > _SHOWN:
        yield Text(f"{len(ordered) - _SHOWN} more in {tuned.output / RECORD}", style="dim")
    yield ""
    questions = len(tuned.results.systems[0].run.report.predictions)
    yield Text("reported on the test questions", style="bold").append(
        f"  {counted(questions, 'question')}", style="not bold dim"
    )
    table = _table(tuned.metric)
    figures = [(tuned.original, tuned.original_figure)]
    if tuned.chosen is not tuned.original:
        figures.append((tuned.chosen, tuned.chosen_figure))
    for trial, figure in figures:
        table.add_row(_settings(trial, tuned), figure_text(figure.value), _interval(figure))
    yield table
    yield Text(_difference(tuned))
    for warning in tuned.warnings:
        yield Text(f"warning: {on_one_line(warning)}", style="yellow")


def _ordered(tuned: Tuned) -> list[Trial]:
    """Return the trials, the chosen one first, then from the best to those without a figure."""
    sign = -1 if tuned.better == "higher" else 1

    def rank(trial: Trial) -> tuple[bool, bool, float, int]:
        value = trial.value
        return trial is not tuned.chosen, value is None, sign * (value or 0.0), len(trial.changes)

    return sorted(tuned.trials, key=rank)


def _difference(tuned: Tuned) -> str:
    if tuned.chosen is tuned.original:
        return "the pipeline as it is was the best on the dev questions: nothing changes"
    comparison = tuned.comparison
    if comparison is None:
        return "no comparison: the metric applies to no test question in both"
    text = f"difference {comparison.difference:+.4f}"
    if comparison.low is not None and comparison.high is not None:
        text += f" [{comparison.low:+.4f}, {comparison.high:+.4f}]"
    if comparison.p is not None:
        text += f", p = {comparison.p:.4f}"
        text += "" if comparison.significant else ", not significant"
    return text


def _table(metric: str) -> Table:
    table = plain_table()
    table.add_column("settings", overflow="fold")
    table.add_column(Text(on_one_line(metric)), justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    return table


def _settings(trial: Trial, tuned: Tuned) -> Text:
    written = " ".join(f"{key}={dump_line(value)}" for key, value in trial.settings.items())
    text = Text(on_one_line(written or _AS_IT_IS), overflow="fold")
    if trial is tuned.chosen:
        text.stylize("bold")
    return text


def _interval(figure: Trial | Figure) -> str:
    if figure.low is None or figure.high is None:
        return NONE
    return f"{figure.low:.4f}–{figure.high:.4f}"
