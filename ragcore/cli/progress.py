"""Progress on standard error, for questions, builds and training: bars, or lines for a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from ragcore.cli.logs import is_quiet
from ragcore.views.output import print_error

if TYPE_CHECKING:
    from ragcore.store.store import Progress
    from ragcore.training import DevScores, TrainingStep
    from ragcore.views.console import TerminalConsole

__all__ = ["Lines", "question_bar", "stage_bars", "training_bar"]

_SECONDS: Final = 30.0
"""Between two lines of progress, where no bar is shown."""


class Lines:
    """Says how far something is in lines of text, for a log: one every 30 seconds at most."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Begin now; the clock gives seconds."""
        self._clock = clock
        self._last = clock()

    def show(self, what: str, done: int, total: int | None) -> None:
        """Say how many of how many are done, if it is time; of files, how many bytes."""
        now = self._clock()
        if now - self._last < _SECONDS:
            return
        self._last = now
        print_error(f"{_amount(what, done, total)} {what}")


@contextmanager
def question_bar(doing: str = "answering") -> Iterator[Callable[[int, int], None]]:
    """Show a bar while questions are answered; call it with how many of how many are done.

    Where standard error is no terminal, lines are shown instead.

    Args:
        doing: what is done with them, in a word.
    """
    from rich.progress import Progress

    from ragcore.views.console import TerminalConsole

    if is_quiet():
        yield lambda done, total: None
        return
    console = TerminalConsole(stderr=True)
    if not console.is_terminal:
        lines = Lines()
        yield lambda done, total: lines.show("questions", done, total)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def stage_bars() -> Iterator[Progress]:
    """Show a bar for each stage of a build, an update, an export or an import.

    Where standard error is no terminal, lines are shown instead.
    """
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from ragcore.views.console import TerminalConsole

    if is_quiet():
        yield lambda stage, done, total: None
        return
    console = TerminalConsole(stderr=True)
    if not console.is_terminal:
        lines = Lines()

        def say(stage: str, done: int, total: int | None) -> None:
            if stage == "kept":
                print_error(_resuming(done))
            else:
                lines.show(stage, done, total)

        yield say
        return
    columns = (TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        stages: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage == "kept":
                progress.console.print(_resuming(done))
                return
            if stage not in stages:
                stages[stage] = progress.add_task(stage, total=total, count="")
            count = _amount(stage, done, None)
            progress.update(stages[stage], completed=done, total=total, count=count)

        yield report


def _resuming(count: int) -> str:
    return f"resuming: {count:,} passages were encoded by an interrupted build"


def _amount(what: str, done: int, total: int | None) -> str:
    """Say how many of how many; files are counted in bytes."""
    from ragcore.views.tables import byte_size

    numbers = [number for number in (done, total) if number is not None]
    return " of ".join(byte_size(each) if what == "files" else f"{each:,}" for each in numbers)


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

    if is_quiet():
        yield lambda event: None
        return
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
