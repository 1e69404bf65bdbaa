"""Show in a terminal what calibration fitted, and what it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.views.tables import plain_table

if TYPE_CHECKING:
    from ragcore.evaluation.calibrating import PipelineCalibration
    from ragcore.evaluation.calibration import Calibration
    from ragcore.evaluation.confidence_fits import ConfidenceFit, ThresholdFit

__all__ = ["calibration_view", "pipeline_calibration_view", "settings_text"]


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


def pipeline_calibration_view(calibration: PipelineCalibration) -> RenderableType:
    """Show the temperature, what the pipeline does before and after, and the threshold."""
    before, after = calibration.before, calibration.after
    table = plain_table("", "before", "after", numbers=("before", "after"))
    table.add_row("exact match", f"{before.exact_match:.4f}", f"{after.exact_match:.4f}")
    table.add_row(
        "passages with 99 % of the prior", f"{before.passages_99:.2f}", f"{after.passages_99:.2f}"
    )
    table.add_row("passages with 99.9 %", f"{before.passages_999:.2f}", f"{after.passages_999:.2f}")
    fit = calibration.confidence
    if fit is not None:
        table.add_row("calibration error", f"{fit.ece_before:.4f}", f"{fit.ece:.4f}")
        table.add_row("Brier score", f"{fit.brier_before:.4f}", f"{fit.brier:.4f}")
    lines = [calibration_view(calibration.temperature), Text(), table]
    if fit is None:
        lines.append(Text(f"\nno confidence fitted: {calibration.reason}", style="yellow"))
        return Group(*lines)
    lines.append(
        Text(
            f"{fit.answers:,} answers of {calibration.questions:,} questions, {fit.right:,} of "
            "them right; calibration error and Brier score after are by five-fold cross-validation",
            style="dim",
        )
    )
    lines += map(Text, _idle_terms(fit))
    if calibration.threshold is not None:
        lines.append(_threshold_text(calibration.threshold))
    return Group(*lines)


def settings_text(calibration: PipelineCalibration) -> str:
    """Return the settings as a pipeline's file has them."""
    settings = calibration.settings
    text = f"memory:\n  temperature: {settings['memory.temperature']!r}"
    confidence = settings.get("rag.confidence")
    if confidence is None:
        return text
    numbers = "".join(f"\n    {key}: {value!r}" for key, value in confidence.items())
    return f"{text}\nrag:\n  confidence:{numbers}"


def _idle_terms(fit: ConfidenceFit) -> list[str]:
    """Say which of the numbers that a confidence is made of tell nothing of correctness."""
    if fit.slope:
        return ["p(unknown) tells no more than log p"] if fit.answering == 0 else []
    if fit.answering:
        return ["log p tells no more than p(unknown)"]
    what = "log p does" if fit.answering is None else "log p and p(unknown) do"
    return [f"the confidence is the same for all: {what} not tell right answers from wrong"]


def _threshold_text(fit: ThresholdFit) -> Text:
    """Say which answers are withheld, and how many of the others are wrong."""
    if fit.threshold is None or fit.risk is None:
        return Text(
            f"\nno threshold keeps to a risk of {fit.target:g}: the answers of highest confidence "
            "are wrong more often; choose a higher risk",
            style="yellow",
        )
    held_out = "" if fit.held_out_risk is None else f"risk {fit.held_out_risk:.4f}, "
    return Text(
        f"\nanswers of a confidence below {fit.threshold:g} are withheld: risk {fit.risk:.4f}, "
        f"coverage {fit.coverage:.4f} on these questions\n"
        f"({held_out}coverage {fit.held_out_coverage:.4f} by five-fold cross-validation)"
    )
