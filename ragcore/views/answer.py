"""Show answers in a terminal: the answer, its probability, and the evidence as a table.

Knows answers and `rich`; knows nothing of how answers are found. Texts from questions, answers and
passages are `Text`, never a string in which `rich` would look for markup.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragcore.views.console import Neutral
from ragcore.views.source import source_line

if TYPE_CHECKING:
    from ragcore.answering.ablation import Without
    from ragcore.types import Answer

__all__ = ["answer_view", "snippet", "without_view"]


def answer_view(answer: Answer) -> RenderableType:
    """Show an answer with its question, log-probability, memory and evidence by falling prior.

    Control characters in its texts are made visible in any console.
    """
    head = Text()
    head.append(answer.question, style="bold")
    head.append("\n  ")
    head.append(answer.text or "(an empty answer)", style="bold green")
    head.append(f"   {_log_p(answer.log_prob)}, memory {answer.memory}", style="dim")
    if answer.dropped_mass:
        head.append(
            "\n  passages of little weight were dropped: "
            f"log p is at most {answer.log_prob_gap:.2g} higher",
            style="dim",
        )
    if answer.missing_passages:
        asked = len(answer.evidence) + answer.missing_passages
        head.append(
            f"\n  only {len(answer.evidence)} of {asked} passages were found, though more are "
            "allowed",
            style="yellow",
        )
    if answer.abstention is not None:
        unknown = answer.abstention
        given = "" if answer.abstains else "; the answer's p is given that a passage answers"
        probability = math.exp(unknown.log_prob)
        head.append(
            f"\n  p({unknown.text or 'abstaining'}) = {probability:.2f}{given}", style="dim"
        )
    if answer.closed_book:
        alone = "" if answer.abstains else ": the generator answered alone"
        head.append(f"\n  no passage was found{alone}", style="yellow")
        return Neutral(head)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("", width=1)
    table.add_column("prior", justify="right")
    table.add_column("posterior", justify="right")
    table.add_column("passage", ratio=1, overflow="ellipsis", no_wrap=True)
    for evidence in (answer.evidence[z] for z in answer.by_prior()):
        passage = evidence.passage
        line = Text(passage.title or passage.id, style="cyan")
        line.append("  " + snippet(passage.text, answer.text), style="default")
        table.add_row("", f"{evidence.prior:.3f}", f"{evidence.posterior:.3f}", line)
        source = source_line(evidence.source)
        if source is not None:
            table.add_row("", "", "", source, style="dim")
    return Neutral(Group(head, table))


def without_view(answer: Answer, left_out: Without) -> RenderableType:
    """Show what becomes of an answer when passages are left out."""
    lines = Text(f"without {', '.join(left_out.passage_ids)}\n  ", style="dim")
    lines.append(answer.text or "(an empty answer)", style="bold")
    lines.append(f"   {_log_p(left_out.log_prob)}, instead of {_log_p(answer.log_prob)}\n  ")
    winner = left_out.winner
    among = f"of the {left_out.candidates} answers that the search reached"
    if winner is None:
        lines.append(f"none {among} could be given", style="yellow")
    elif winner.token_ids == answer.token_ids:
        lines.append(f"it would still win, {among}", style="green")
    else:
        lines.append(winner.text or "(an empty answer)", style="bold yellow")
        lines.append(f" would win, {_log_p(winner.log_prob)}, {among}")
    return lines


def _log_p(log_prob: float) -> str:
    return f"log p = {log_prob:.3f} (p = {math.exp(log_prob):.2f})"


def snippet(text: str, answer: str, width: int = 80) -> str:
    """Cut about `width` characters out of a passage, around the answer where the text holds it."""
    text = " ".join(text.split())
    position = text.casefold().find(answer.casefold()) if answer else -1
    start = max(0, position - (width - len(answer)) // 2) if position > 0 else 0
    start = text.rfind(" ", 0, start) + 1 if start else 0
    cut = text[start : start + width]
    return ("…" if start else "") + cut + ("…" if start + width < len(text) else "")
