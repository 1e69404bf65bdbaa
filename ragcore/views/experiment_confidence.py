"""Figures of how far the systems' confidence can be trusted: reliability, risk and coverage.

Knows results and HTML; knows nothing of how confidence is computed or a plot is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ragcore.evaluation.confidence import reliability, risk_coverage
from ragcore.views.experiment_figures import drawn_systems, figure, folded, legend
from ragcore.views.experiment_tables import cells, number, plain, row_numbers, share_of, table
from ragcore.views.plots import Line, Mark, Plot, thinned
from ragcore.views.tables import counted

if TYPE_CHECKING:
    from ragcore.evaluation.confidence import ReliabilityBin, RiskPoint
    from ragcore.experiments.results import Results, SystemResult

__all__ = ["confidence_sections"]

_BINS: Final = 10
_COVERAGES: Final = tuple(tenths / 10 for tenths in range(1, 11))
"""At which the table has the risk."""


def confidence_sections(results: Results) -> dict[str, list[str]]:
    """Return the lines of both sections by heading; empty where no system has judged answers."""
    rows = [row for row in results.systems if _has_confidence(row)]
    if not rows:
        return {}
    metric = "exact_match" if "exact_match" in results.metrics else results.metrics[0]
    shown, note = drawn_systems(results, rows, metric)
    return {
        "Reliability": [*_reliability_section(results, shown, note)],
        "Risk and coverage": [*_risk_section(shown, note)],
    }


def _has_confidence(row: SystemResult) -> bool:
    judged = [each for each in row.run.report.predictions if each.correct is not None]
    return bool(judged) and all(each.confidence is not None for each in judged)


def _reliability_section(results: Results, rows: list[SystemResult], note: str) -> Iterator[str]:
    yield (
        f"<p>Are answers of confidence 0.8 right eight times in ten? Answers are in {_BINS} bins "
        "of equal width; each point is a bin, larger where it has more answers. On the dashed line "
        f"confidence and accuracy are equal; below it the system is overconfident. {note}</p>"
    )
    numbers = row_numbers(results)
    yield '<div class="figures">'
    for row in rows:
        name = row.run.system.name
        bins = reliability(row.run.report.predictions, _BINS)
        yield from _reliability_figure(numbers[name], name, bins)
    yield "</div>"


def _reliability_figure(row_number: int, name: str, bins: list[ReliabilityBin]) -> Iterator[str]:
    marks = tuple(
        Mark(each.confidence, each.accuracy, count=each.count)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    )
    answers = sum(each.count for each in bins)
    plot = Plot(
        f"reliability-{row_number}",
        f"accuracy against confidence of {name}; the table below it has the numbers",
        "mean confidence",
        "accuracy",
        marks=marks,
        lines=(Line(marks, markers=False),),
        diagonal=True,
        unit="xy",
        counted=True,
    )
    rows = (
        f'<th scope="row">{each.low:.1f} to {each.high:.1f}</th>'
        + cells((number(each.confidence), number(each.accuracy), f"{each.count:,}"))
        for each in bins
    )
    heads = ("confidence", "mean confidence", "accuracy", "answers")
    caption = f"<b>{row_number}. {plain(name)}</b><br>{counted(answers, 'answer')}"
    label = f"reliability of {plain(name)}"
    yield from figure(plot, caption, folded("The numbers", table(label, heads, rows)))


def _risk_section(rows: list[SystemResult], note: str) -> Iterator[str]:
    curves = {row.run.system.name: risk_coverage(row.run.report.predictions) for row in rows}
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return
    yield (
        "<p>If the least confident answers are withheld, how many of the others are wrong? From "
        "right to left fewer questions are answered; a confidence that tells right from wrong "
        f"makes the line fall to the left. {note}</p>"
    )
    lines = tuple(
        Line(
            thinned([Mark(point.coverage, point.risk) for point in points]),
            series,
            markers=len(points) <= 20,
        )
        for series, points in enumerate(curves.values())
    )
    plot = Plot(
        "risk-coverage",
        "risk against coverage by system; the table below it has the numbers",
        "coverage: share of questions answered",
        "risk: share of answers wrong",
        lines=lines,
        unit="x",
    )
    heads = ("system", *(f"{coverage:.0%}" for coverage in _COVERAGES))
    numbers = (
        f'<th scope="row">{plain(name)}</th>'
        + cells(share_of(_risk_at(points, coverage)) for coverage in _COVERAGES)
        for name, points in curves.items()
    )
    caption = "Risk against coverage"
    body = table(
        "risk by coverage",
        heads,
        numbers,
        caption="risk where at least this share of the questions is answered",
    )
    yield '<div class="figures">'
    yield from figure(plot, caption, legend(list(curves)), folded("The numbers", body))
    yield "</div>"


def _risk_at(points: list[RiskPoint], coverage: float) -> float | None:
    """Return the risk of the first point that answers at least such a share of the questions."""
    return next((point.risk for point in points if point.coverage >= coverage - 1e-9), None)
