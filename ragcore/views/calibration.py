"""Show a fitted temperature in a terminal, next to temperature 1 and the pipeline's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.views.tables import plain_table

if TYPE_CHECKING:
    from ragcore.evaluation.calibration import Calibration

__all__ = ["calibration_view"]


def calibration_view(calibration: Calibration) -> RenderableType:
    """Show log p of the right answers and the first passage's prior at each temperature."""
    numbers = ("temperature", "mean log p", "prior of first")
    table = plain_table("", *numbers, numbers=numbers)
    rows = {
        "fitted": calibration.fitted,
        "one": calibration.one,
        "in the file": calibration.current,
    }
    for name, fit in rows.items():
        table.add_row(name, f"{fit.temperature:g}", f"{fit.log_prob:.6f}", f"{fit.top_prior:.4f}")
    summary = (
        f"{calibration.questions:,} questions with {calibration.answers:,} answers, passages found "
        f"for {calibration.found:,}, memory {calibration.memory}; the first passage makes the "
        f"answer most probable in {calibration.top_best:.4f} of them"
    )
    return Group(table, Text(summary, style="dim"))
