"""Show answers in a terminal: the answer, its probability, and the numbered evidence as a table.

Knows answers and `rich`; knows nothing of how answers are found. Texts from questions, answers and
passages are `Text`, never a string in which `rich` would look for markup.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ragcore.views.console import Neutral
from ragcore.views.source import citation_line, on_one_line, source_line, span_text

if TYPE_CHECKING:
    from ragcore.answering.ablation import Without
    from ragcore.types import Answer

__all__ = ["answer_view", "snippet", "sources_view", "without_view"]

_SUPPORT: Final = 0.1
"""A passage of at least this posterior is named as one that the answer rests on."""
_MOST_SUPPORTS: Final = 3


def answer_view(answer: Answer) -> RenderableType:
    """Show an answer with its question, log-probability, memory and numbered evidence.

    The evidence is numbered by falling prior.

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
    for note in answer.filter_notes:
        head.append(f"\n  {note}", style="yellow")
    if answer.closed_book:
        alone = "" if answer.abstains else ": the generator answered alone"
        head.append(f"\n  no passage was found{alone}", style="yellow")
        return Neutral(head)
    if not answer.abstains:
        head.append(f"\n  rests on {_supports(answer)}", style="dim")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("prior", justify="right")
    table.add_column("posterior", justify="right")
    table.add_column("passage", ratio=1, overflow="ellipsis", no_wrap=True)
    for number, z in answer.by_number():
        evidence = answer.evidence[z]
        passage = evidence.passage
        line = Text(on_one_line(passage.title) or on_one_line(passage.id), style="cyan")
        line.append("  " + snippet(passage.text, answer.text), style="default")
        numbers = (f"[{number}]", f"{evidence.prior:.3f}", f"{evidence.posterior:.3f}")
        table.add_row(*numbers, line)
        source = source_line(evidence.source)
        if source is not None:
            table.add_row("", "", "", source, style="dim")
        if evidence.spans:
            occurrences = Text(span_text(evidence.cited_spans), no_wrap=False, overflow="fold")
            table.add_row("", "", "", occurrences, style="dim")
    return Neutral(Group(head, table))


def sources_view(answer: Answer) -> RenderableType:
    """Show the numbered sources of an answer alone, one after the other."""
    lines = [Text(note, style="yellow") for note in answer.filter_notes]
    lines += [citation_line(citation) for citation in answer.citations]
    if answer.closed_book:
        lines.append(Text("no passage was found", style="yellow"))
    return Neutral(Group(*lines))


def _supports(answer: Answer) -> str:
    """Name the passages of largest posterior by their numbers."""
    ranked = sorted(answer.citations, key=lambda citation: -citation.posterior)
    supports = [citation for citation in ranked if citation.posterior >= _SUPPORT] or ranked[:1]
    return ", ".join(
        f"[{citation.number}] ({citation.posterior:.2f})" for citation in supports[:_MOST_SUPPORTS]
    )


def without_view(answer: Answer, left_out: Without) -> RenderableType:
    """Show what becomes of an answer when passages are left out."""
    number_of = {citation.passage_id: citation.number for citation in answer.citations}
    names = [
        f"[{number_of[passage_id]}] {on_one_line(passage_id)}"
        for passage_id in left_out.passage_ids
    ]
    lines = Text(f"without {', '.join(names)}\n  ", style="dim")
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
