"""Show the passages that were found for a question in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.types import SearchResult
from ragcore.views.source import on_one_line, source_line
from ragcore.views.tables import counted

__all__ = ["search_view"]


def search_view(result: SearchResult, *, with_question: bool = False) -> RenderableType:
    """Show each passage with its rank, score, prior and id, and name the memory's version."""
    return Group(*_lines(result, with_question))


def _lines(result: SearchResult, with_question: bool) -> Iterator[RenderableType]:
    if with_question:
        yield Text(on_one_line(result.question), style="bold")
    hits = zip(result.scores, result.prior, result.passages, result.sources, strict=True)
    for rank, (score, prior, passage, source) in enumerate(hits, 1):
        if rank > 1:
            yield ""
        head = Text(f"{rank:>3}{score:12.4f}  {prior:.3f}  ", style="dim")
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
    count = counted(len(result.passages), "passage")
    yield Text(f"{count} from memory {result.memory}", style="dim")
