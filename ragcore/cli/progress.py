"""Progress bars on standard error, for questions, for builds, and for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragcore.store.store import Progress
    from ragcore.training import DevScores, TrainingStep
    from ragcore.views.console import TerminalConsole

__all__ = ["question_bar", "stage_bars", "training_bar"]


@contextmanager
def question_bar(doing: str = "answering") -> Iterator[Callable[[int, int], None]]:
    """Show a bar while questions are answered; call it with how many of how many are done.

    Args:
        doing: what is done with them, in a word.
    """
    from rich.progress import Progress

    from ragcore.views.console import TerminalConsole

    with Progress(console=TerminalConsole(stderr=True), transient=True) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def stage_bars() -> Iterator[Progress]:
    """Show a bar for each stage of a build, an update, an export or an import."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from ragcore.views.console import TerminalConsole
    from ragcore.views.tables import byte_size

    columns = (TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), console=TerminalConsole(stderr=True)) as progress:
        stages: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage == "kept":
                progress.console.print(
                    f"resuming: {done:,} passages were encoded by an interrupted build"
                )
                return
            if stage not in stages:
                stages[stage] = progress.add_task(stage, total=total, count="")
            count = byte_size(done) if stage == "files" else f"{done:,}"
            progress.update(stages[stage], completed=done, total=total, count=count)

        yield report


@contextmanager
def training_bar(console: TerminalConsole) -> Iterator[Callable[[TrainingStep | DevScores], None]]:
    """Show a bar with the loss and recall of the last step, and a line for each score on `dev`."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from ragcore.training import DevScores

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[scores]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None, scores="")
        dev = ""

        def report(event: TrainingStep | DevScores) -> None:
            nonlocal dev
            if isinstance(event, DevScores):
                dev = f" · exact match {event.exact_match:.1%}"
                progress.console.print(
                    f"step {event.step}: exact match {event.exact_match:.1%}, recall "
                    f"{event.recall:.1%}{', the best so far' if event.best else ''}"
                )
                return
            scores = f"loss {event.loss:.3f} · recall {event.recall:.0%}{dev}"
            progress.update(task, total=event.steps, completed=event.step, scores=scores)

        yield report
