"""Show a verified answer in a terminal: served and recomputed log p, and each passage's share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.views.source import on_one_line
from ragcore.views.tables import plain_table

if TYPE_CHECKING:
    from ragcore.evaluation.verification import Verification

__all__ = ["verification_view"]


def verification_view(verification: Verification, tolerance: float) -> RenderableType:
    """Show both log-probabilities, log p(y|x,z) of each passage, and whether the gap is small.

    Args:
        verification: the answer and its recomputed log p.
        tolerance: the largest gap that passes.
    """
    answer = verification.answer
    head = Text()
    head.append(answer.question, style="bold")
    head.append("\n  ")
    head.append(answer.text or "(an empty answer)", style="bold green")
    head.append(f"   memory {answer.memory}", style="dim")
    head.append(f"\n  log p served      {answer.log_prob:.6f}")
    head.append(f"\n  log p recomputed  {verification.log_prob:.6f}")
    numbers = ("log p(y|x,z)", "prior", "posterior")
    table = plain_table("", *numbers, numbers=numbers)
    table.columns[0].width = 1
    table.add_column("passage", overflow="ellipsis", no_wrap=True)
    for reading in verification.readings:
        passage = reading.passage
        name = "none: the generator alone"
        if passage is not None:
            name = on_one_line(passage.title) or on_one_line(passage.id)
        table.add_row(
            "",
            f"{reading.log_prob:.4f}",
            f"{reading.prior:.4f}",
            f"{reading.posterior:.4f}",
            # As text, so that brackets in a title are not markup.
            Text(name),
        )
    holds = verification.holds(tolerance)
    verdict = Text(
        f"  gap {verification.gap:.2e}, {'within' if holds else 'NOT within'} {tolerance:g}",
        style="green" if holds else "bold red",
    )
    return Group(head, table, verdict)
