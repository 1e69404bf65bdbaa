"""Show the passages that were found for a question in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.types import SearchResult
from ragcore.views.source import on_one_line, source_line

__all__ = ["search_view"]


def search_view(result: SearchResult, *, with_question: bool = False) -> RenderableType:
    """Show each passage with its score, prior and id, best first, and name the memory's version."""
    return Group(*_lines(result, with_question))


def _lines(result: SearchResult, with_question: bool) -> Iterator[RenderableType]:
    if with_question:
        yield Text(on_one_line(result.question), style="bold")
    for score, prior, passage, source in zip(
        result.scores, result.prior, result.passages, result.sources, strict=True
    ):
        head = Text(f"{score:10.4f}  {prior:.3f}  ", style="dim")
        head.append(on_one_line(passage.title) or on_one_line(passage.id), style="bold cyan")
        head.append(f"  {on_one_line(passage.id)}", style="dim")
        yield head
        line = source_line(source)
        if line is not None:
            line.stylize("dim")
            yield line
        yield Text(passage.text)
    for note in result.filter_notes:
        yield Text(note, style="yellow")
    yield Text(f"{len(result.passages)} passages from memory {result.memory}", style="dim")
