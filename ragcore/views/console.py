"""The console of all commands: styles and tables for people, from text made neutral.

Knows `rich`; knows nothing of what is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Final, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from ragcore.views.output import neutral, terminal_stream

__all__ = [
    "ColumnsInParts",
    "FirstFitting",
    "Fitted",
    "Neutral",
    "TerminalConsole",
    "output_console",
    "print_view",
]

_UNWRAPPED: Final = 1_000_000
"""Columns of an output that is no terminal."""


class TerminalConsole(Console):
    """A console that prints text as text: no markup, no emoji codes, no control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        """Write to standard output, or to standard error."""
        stream = cast(IO[str], terminal_stream(stderr=stderr))
        super().__init__(file=stream, markup=False, highlight=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Lay something out; the text of each segment is neutral."""
        return _neutral_segments(super().render(renderable, options))


class Neutral:
    """Something to show, without control characters in any console."""

    def __init__(self, renderable: RenderableType) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        return _neutral_segments(console.render(self.renderable, options))


class Fitted:
    """A table as wide as the console; where lines are not wrapped, as wide as its content."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        self.table.expand = options.max_width < _UNWRAPPED
        return console.render(self.table, options)


class ColumnsInParts:
    """A table with a column for each of some names, in as many tables as the width asks for."""

    def __init__(self, names: Sequence[str], table: Callable[[Sequence[str]], Table]) -> None:
        """Show `table` of all names, or else of as many after one another as fit."""
        self.names = names
        self.table = table

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        names = list(self.names)
        while names:
            count = len(names)
            while count > 1 and not _fits(self.table(names[:count]), console, options):
                count -= 1
            yield self.table(names[:count])
            names = names[count:]
            if names:
                yield ""


class FirstFitting:
    """The first of two tables if the console is wide enough for it, or else the second."""

    def __init__(self, wide: Table, narrow: Table) -> None:
        self.wide = wide
        self.narrow = narrow

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield self.wide if _fits(self.wide, console, options) else self.narrow


def _fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    # As wide as it would like to be, so that no name is wrapped without need.
    wide = options.update(max_width=max(options.max_width, 10_000))
    return Measurement.get(console, wide, table).maximum <= options.max_width


def output_console() -> TerminalConsole:
    """Return a console on standard output; what is no terminal has lines as long as they come."""
    console = TerminalConsole()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNWRAPPED
    return console


def print_view(*renderables: RenderableType, soft_wrap: bool = False) -> None:
    """Print on standard output, each on lines of its own.

    Lines for a file or a program are not wrapped, unless `COLUMNS` says how long they may be.

    Args:
        renderables: views, texts or strings.
        soft_wrap: leave the wrapping of long lines to the terminal, so that paths can be copied.
    """
    console = output_console()
    for renderable in renderables:
        console.print(renderable, soft_wrap=soft_wrap)


def _neutral_segments(segments: Iterable[Segment]) -> Iterable[Segment]:
    for segment in segments:
        if segment.control:
            # Cursor movements of a progress bar: the library's own.
            yield segment
        else:
            yield Segment(neutral(segment.text), segment.style)
