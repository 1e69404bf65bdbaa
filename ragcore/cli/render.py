"""How answers look in a terminal: the answer, its probability, and the evidence as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ragcore.types import Answer

__all__ = ["answer_view", "snippet"]


def answer_view(answer: Answer) -> RenderableType:
    """An answer with its question, log-probability, memory and evidence table."""
    head = Text()
    head.append(answer.question, style="bold")
    head.append("\n  ")
    head.append(answer.text or "(an empty answer)", style="bold green")
    head.append(
        f"   log p = {answer.log_prob:.3f} (p = {math.exp(answer.log_prob):.2f}), "
        f"memory {answer.memory}",
        style="dim",
    )
    if answer.closed_book:
        head.append("\n  no passage was found: the generator answered alone", style="yellow")
        return head
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("", width=1)
    table.add_column("prior", justify="right")
    table.add_column("posterior", justify="right")
    table.add_column("passage", ratio=1, overflow="ellipsis", no_wrap=True)
    for one in answer.evidence:
        line = Text(one.passage.title or one.passage.id, style="cyan")
        line.append("  " + snippet(one.passage.text, answer.text), style="default")
        table.add_row("", f"{one.prior:.3f}", f"{one.posterior:.3f}", line)
    return Group(head, table)


def snippet(text: str, answer: str, width: int = 80) -> str:
    """About `width` characters of a passage, around the answer where it holds it."""
    text = " ".join(text.split())
    place = text.casefold().find(answer.casefold()) if answer else -1
    start = max(0, place - (width - len(answer)) // 2) if place > 0 else 0
    start = text.rfind(" ", 0, start) + 1 if start else 0
    cut = text[start : start + width]
    return ("…" if start else "") + cut + ("…" if start + width < len(text) else "")
