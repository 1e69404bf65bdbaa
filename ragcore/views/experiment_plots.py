"""Figures of an experiment's figures: quality against cost, question by question, by setting.

Knows results and HTML; knows nothing of how a plot is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ragcore.views.experiment_figures import (
    drawn_systems,
    figure,
    folded,
    legend,
    one_sided_metrics,
    scores_of,
)
from ragcore.views.experiment_tables import cells, number, plain, row_numbers, table
from ragcore.views.plots import SERIES, Line, Mark, Plot, counted_marks
from ragcore.views.tables import counted

if TYPE_CHECKING:
    from ragcore.evaluation.prediction import Prediction
    from ragcore.experiments.results import Results, SystemResult

__all__ = ["cost_section", "factor_section", "question_section"]

_MOST_QUESTIONS: Final = 20
"""Questions of a system's table of those that differ most."""

_NUMBERED: Final = (
    "Points have the numbers of the table, the best first where there is no room for all. "
)
_MOST_TICKS: Final = 7

_BY_DEPTH: Final = ("exact_match", "hit", "recall", "R@", "Success@", "f1")
"""Beginnings of the names of metrics that are shown first where `rag.k` varies."""


def cost_section(results: Results) -> Iterator[str]:
    """Yield a plot of quality against seconds a question, for each of the first metrics."""
    priced = [row for row in results.systems if row.run.cost is not None]
    if not priced:
        return
    numbers = row_numbers(results)
    by_name = len(priced) <= SERIES
    lines: list[str] = []
    for index, metric in enumerate(one_sided_metrics(results)):
        marks, seconds = [], []
        for row in priced:
            value = row.figures.get(metric)
            if value is None or value.value is None or row.run.cost is None:
                continue
            name = row.run.system.name
            label = name if by_name else str(numbers[name])
            x = row.run.cost.seconds
            seconds.append(x)
            series = 0 if row is results.baseline else 1
            # Many intervals would hide each other; the table has them.
            low, high = (value.low, value.high) if by_name else (None, None)
            marks.append(Mark(x, value.value, label, low, high, series=series))
        if not marks:
            continue
        # Where labels have no room, those of the baseline and of the best stay.
        sign = 1.0 if results.better.get(metric) == "lower" else -1.0
        marks.sort(key=lambda mark: (mark.series, sign * mark.y))
        caption = (
            f"{plain(metric)}{' with its 95 % interval' if by_name else ''} against the median "
            f"seconds a question. {'' if by_name else _NUMBERED}"
            f"{_undominated(results, metric, priced)}"
        )
        plot = Plot(
            f"cost-{index}",
            f"{metric} against seconds a question; the table of results has the numbers",
            "seconds a question (median)",
            metric,
            marks=tuple(marks),
            logarithmic=min(seconds) > 0 and max(seconds) > 10 * min(seconds),
        )
        lines += figure(plot, caption, legend(("baseline", "others")))
    if lines:
        yield '<div class="figures">'
        yield from lines
        yield "</div>"


def _undominated(results: Results, metric: str, priced: list[SystemResult]) -> str:
    """Name the systems that no other beats in both quality and cost (the Pareto front)."""
    sign = -1.0 if results.better.get(metric, "higher") == "lower" else 1.0
    points = [
        (row.run.cost.seconds, -sign * row.figures[metric].value, row.run.system.name)  # type: ignore[union-attr,operator]
        for row in priced
        if metric in row.figures and row.figures[metric].value is not None
    ]
    front, best = [], float("inf")
    for _, loss, name in sorted(points):
        if loss < best:
            front.append(name)
            best = loss
    names = "; ".join(plain(name, 60) for name in front[:SERIES])
    more = f" and {len(front) - SERIES} more" if len(front) > SERIES else ""
    return f"No other system is both better and faster than: {names}{more}."


def question_section(results: Results) -> Iterator[str]:
    """Yield for each system its scores against the baseline's, and where they differ most."""
    for metric in results.metrics:
        base = _scores(results.baseline, metric)
        if base is None:
            continue
        rows = [row for row in results.systems if row is not results.baseline]
        pairs = {id(row): _paired(base, _scores(row, metric)) for row in rows}
        rows = [row for row in rows if pairs[id(row)]]
        if not rows:
            continue
        shown, note = drawn_systems(results, rows, metric)
        yield (
            f"<p>Each question's {plain(metric)} by the system and by the baseline, "
            f"{plain(results.experiment.baseline)}. On the dashed line both are equal; larger "
            f"points are more questions. {note}</p>"
        )
        yield '<div class="figures">'
        for row in shown:
            yield from _against_baseline(results, row, metric, pairs[id(row)])
        yield "</div>"
        return


def _scores(row: SystemResult, metric: str) -> dict[str, tuple[float, Prediction]] | None:
    """Return the score of each question by id, with the prediction."""
    if metric not in row.figures:
        return None
    scores = scores_of(row.figures[metric])
    if scores is None:
        return None
    return {
        prediction.id: (score, prediction)
        for score, prediction in zip(scores, row.run.report.predictions, strict=True)
        if score is not None
    }


_Pair = tuple[float, float, "Prediction", "Prediction"]
"""The baseline's score of a question and the system's, and the two predictions."""


def _paired(
    base: Mapping[str, tuple[float, Prediction]],
    other: Mapping[str, tuple[float, Prediction]] | None,
) -> list[_Pair]:
    if other is None:
        return []
    return [
        (score, other[name][0], prediction, other[name][1])
        for name, (score, prediction) in base.items()
        if name in other
    ]


def _against_baseline(
    results: Results, row: SystemResult, metric: str, pairs: list[_Pair]
) -> Iterator[str]:
    name = row.run.system.name
    row_number = row_numbers(results)[name]
    plot = Plot(
        f"questions-{row_number}",
        f"{metric} of each question by {name} against the baseline; the caption has the counts",
        "baseline",
        f"system {row_number}",
        marks=counted_marks((base, score) for base, score, _, _ in pairs),
        diagonal=True,
        counted=True,
    )
    comparison = row.comparisons.get(metric)
    caption = f"<b>{row_number}. {plain(name)}</b><br>"
    if comparison is not None and comparison.wins is not None:
        caption += (
            f"better on {comparison.wins:,}, equal on {comparison.ties:,}, worse on "
            f"{comparison.losses:,} of {counted(comparison.questions, 'question')}"
        )
    else:
        caption += counted(len(pairs), "question")
    differing = sorted(
        (pair for pair in pairs if pair[0] != pair[1]),
        key=lambda pair: (-abs(pair[1] - pair[0]), pair[2].id),
    )[:_MOST_QUESTIONS]
    if not differing:
        yield from figure(plot, caption)
        return
    heads = ["question", "baseline", "system"]
    answers = any(each.answer is not None for pair in differing for each in pair[2:])
    heads += ["baseline's answer", "system's answer"] if answers else []
    lines = (
        f'<td class="question">{plain(one.question)}</td>{cells((number(base), number(score)))}'
        + (f"<td>{_answer(one)}</td><td>{_answer(other)}</td>" if answers else "")
        for base, score, one, other in differing
    )
    label = f"questions on which {plain(name)} differs most"
    summary = f"The {counted(len(differing), 'question')} that differ most"
    yield from figure(plot, caption, folded(summary, table(label, heads, lines)))


def _answer(prediction: Prediction) -> str:
    if prediction.answer is None:
        return "–"
    return plain(prediction.answer, 120) or "(an empty answer)"


def factor_section(results: Results) -> Iterator[str]:
    """Yield for each numeric key of the grid the metrics against its levels."""
    keys = dict.fromkeys(key for row in results.systems for key in row.run.system.factors)
    lines: list[str] = []
    for key_number, key in enumerate(keys):
        groups = _groups(results, key)
        if not groups:
            continue
        for index, metric in enumerate(_metrics_against(results, key)):
            lines += _against_levels(results, f"factor-{key_number}-{index}", key, metric, groups)
    if lines:
        yield (
            "<p>A line joins systems that differ in this setting alone. Bars: 95 % intervals.</p>"
        )
        yield '<div class="figures">'
        yield from lines
        yield "</div>"


def _metrics_against(results: Results, key: str) -> list[str]:
    if key != "rag.k":
        return one_sided_metrics(results)
    first = [name for name in results.metrics if name.startswith(_BY_DEPTH)]
    return list(dict.fromkeys((*first, *one_sided_metrics(results))))[: max(4, len(first))]


_Groups = dict[str, list[tuple[float, "SystemResult"]]]
"""Systems with their level of a factor, in rising order, by the name of the other factors."""


def _groups(results: Results, key: str) -> _Groups:
    """Group the systems that differ in one numeric factor alone; those alone are left out."""
    grouped: dict[tuple[tuple[str, str], ...], list[tuple[float, SystemResult]]] = {}
    for row in results.systems:
        level = row.run.system.factors.get(key)
        if isinstance(level, bool) or not isinstance(level, int | float):
            continue
        factors = row.run.system.factors.items()
        others = tuple((name, str(value)) for name, value in factors if name != key)
        grouped.setdefault(others, []).append((float(level), row))
    lines = {
        others: sorted(points, key=lambda point: point[0])
        for others, points in grouped.items()
        if len({level for level, _ in points}) > 1
    }
    # Factors that all lines share tell nothing.
    shared = set.intersection(*map(set, lines)) if len(lines) > 1 else set()
    return {
        ", ".join(_factor_name(*each) for each in others if each not in shared) or "all": points
        for others, points in lines.items()
    }


def _factor_name(name: str, value: str) -> str:
    return value if name == "system" else f"{name.rpartition('.')[2]}={value}"


def _against_levels(
    results: Results, name: str, key: str, metric: str, groups: _Groups
) -> Iterator[str]:
    lines: dict[str, tuple[Mark, ...]] = {}
    for group, points in groups.items():
        figures = [(level, row.figures[metric]) for level, row in points if metric in row.figures]
        marks = tuple(
            Mark(level, each.value, low=each.low, high=each.high)
            for level, each in figures
            if each.value is not None
        )
        if marks:
            lines[group] = marks
    if not lines:
        return
    drawn = dict(list(lines.items())[:SERIES])
    levels = sorted({mark.x for marks in lines.values() for mark in marks})
    plot = Plot(
        name,
        f"{metric} against {key}; the table below it has the numbers",
        key,
        metric,
        lines=tuple(Line(marks, series) for series, marks in enumerate(drawn.values())),
        logarithmic=levels[0] > 0 and levels[-1] >= 20 * levels[0],
        ticks=tuple(levels) if len(levels) <= _MOST_TICKS else (),
    )
    caption = f"{plain(metric)} against {plain(key)}"
    if len(lines) > len(drawn):
        caption += f"; the first {SERIES} of {len(lines)} lines, the table has all"
    rows = (_level_row(group, marks, levels) for group, marks in lines.items())
    heads = ("", *(f"{level:g}" for level in levels))
    numbers = folded("The numbers", table(f"{plain(metric)} by {plain(key)}", heads, rows))
    yield from figure(plot, caption, legend(list(drawn)), numbers)


def _level_row(group: str, marks: tuple[Mark, ...], levels: list[float]) -> str:
    values: dict[float, Any] = {mark.x: mark.y for mark in marks}
    return f'<th scope="row">{plain(group)}</th>{cells(number(values.get(x)) for x in levels)}'
