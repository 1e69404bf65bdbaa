"""Show the passages that were retrieved for a question in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.types import Source
from ragcore.views.source import on_one_line, source_line

if TYPE_CHECKING:
    from ragcore.answering.evidence import Retrieved

__all__ = ["retrieved_view"]


def retrieved_view(retrieved: Retrieved, version: str) -> RenderableType:
    """Show each passage with its score and id, best first, and name the memory's version."""
    return Group(*_lines(retrieved, version))


def _lines(retrieved: Retrieved, version: str) -> Iterator[RenderableType]:
    for score, passage in zip(retrieved.scores, retrieved.passages, strict=True):
        head = Text(f"{score:10.4f}  ", style="dim")
        head.append(on_one_line(passage.title) or on_one_line(passage.id), style="bold cyan")
        head.append(f"  {on_one_line(passage.id)}", style="dim")
        yield head
        source = source_line(Source.of(passage))
        if source is not None:
            source.stylize("dim")
            yield source
        yield Text(passage.text)
    for note in retrieved.filter_notes:
        yield Text(note, style="yellow")
    yield Text(f"{len(retrieved.passages)} passages from memory {version}", style="dim")
