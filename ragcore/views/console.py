"""The console of all commands: styles and tables for people, from text made neutral.

Knows `rich`; knows nothing of what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ragcore.views.output import neutral, terminal_stream

__all__ = ["Neutral", "TerminalConsole", "print_view"]


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


def print_view(*renderables: RenderableType, soft_wrap: bool = False) -> None:
    """Print on standard output, each on lines of its own.

    Args:
        renderables: views, texts or strings.
        soft_wrap: leave the wrapping of long lines to the terminal, so that paths can be copied.
    """
    console = TerminalConsole()
    for renderable in renderables:
        console.print(renderable, soft_wrap=soft_wrap)


def _neutral_segments(segments: Iterable[Segment]) -> Iterable[Segment]:
    for segment in segments:
        if segment.control:
            # Cursor movements of a progress bar: the library's own.
            yield segment
        else:
            yield Segment(neutral(segment.text), segment.style)
