"""Show plans of memories in a terminal: the stages of one, or a row for each of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.text import Text

from ragcore.planning.layout import DATABASE_KINDS
from ragcore.planning.notes import notes_of
from ragcore.views.tables import NONE, byte_size, counted, plain_table, time_text

if TYPE_CHECKING:
    from ragcore.planning.plan import Figure, Plan, Stage

__all__ = ["plan_view", "plans_view"]

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_UNTIMED: Final = "the time of the whole is not known"
_COMPARED: Final = ("encode", "train", "build", "merge", "search")
"""The stages that a comparison shows: `built in` and `memory` are of all but the last."""

_LEGEND: Final = (
    "memory: the most that a stage of building needs; search: the median of one question; mapped: "
    "what a search reads, which should be in memory; at peak: the disk while it is built"
)


def plan_view(plan: Plan) -> RenderableType:
    """Show a plan: what is planned, its stages with numbered sources, its sums, and the sources."""
    sources: dict[str, int] = {}
    table = plain_table(
        "stage", "time", "memory", "disk", "from", numbers=("time", "memory", "disk")
    )
    for stage in plan.stages:
        table.add_row(
            stage.name,
            _time_of(stage),
            _size(stage.ram),
            _size(stage.disk),
            _marks(stage, sources),
        )
    cost = "" if plan.cost is None else f", cost {plan.cost:,.2f}"
    built = "built in " + _duration(plan.seconds) if plan.seconds is not None else _UNTIMED
    sums = (
        f"{built}{cost}; {_bytes(plan.ram)} of memory; "
        f"{byte_size(round(plan.disk))} on disk, {byte_size(round(plan.peak_disk))} while building"
    )
    lines = [f"[{number}] {source}" for source, number in sources.items()]
    return Group(
        Text(_heading(plan)),
        table,
        Text(sums),
        *(Text(f"note: {note}", style="yellow") for note in plan.notes),
        *(Text(line, style="dim") for line in lines),
    )


def plans_view(plans: Sequence[Plan]) -> RenderableType:
    """Show several plans, a row each, what the columns are, and notes on what they show."""
    numbers = ("built in", "cost", "memory", "search", "mapped", "disk", "at peak")
    priced = any(plan.cost is not None for plan in plans)
    columns = [name for name in ("index", *numbers) if priced or name != "cost"]
    table = plain_table(*columns, numbers=numbers)
    # The names of kinds have room in 80 columns only without the space behind the last column.
    table.pad_edge = False
    for plan in plans:
        search = plan.stage("search")
        cells = {
            "index": plan.task.kind,
            "built in": NONE if plan.seconds is None else _duration(plan.seconds),
            "cost": NONE if plan.cost is None else _cost(plan.cost),
            "memory": _bytes(plan.ram),
            "search": NONE if not (search and search.seconds) else time_text(search.seconds.value),
            "mapped": _size(search.ram if search else None),
            "disk": byte_size(round(plan.disk)),
            "at peak": byte_size(round(plan.peak_disk)),
        }
        table.add_row(*(cells[name] for name in columns))
    notes = dict.fromkeys(
        f"{plan.task.kind}: {note}"
        for plan in plans
        for note in notes_of(plan.task, [stage for stage in plan.stages if stage.name in _COMPARED])
    )
    return Group(
        table,
        Text(_LEGEND, style="dim"),
        *(Text(f"note: {note}", style="yellow") for note in notes),
    )


def _heading(plan: Plan) -> str:
    task = plan.task
    vectors = "" if task.kind == "bm25" else f", {task.dim} dimensions, encoder {task.encoder}"
    index = plan.factory or DATABASE_KINDS.get(task.kind, "BM25")
    gpus = f" and {counted(task.gpus, 'GPU')}" if task.gpus else ""
    machines = f"{counted(task.workers, 'machine')} with {counted(task.cores, 'core')}{gpus}"
    return f"{counted(task.passages, 'passage')}, {index}{vectors}; {machines}"


def _time_of(stage: Stage) -> str:
    if stage.seconds is None:
        return NONE
    if stage.p99 is None:
        return _duration(stage.seconds.value)
    return f"{time_text(stage.seconds.value)}, p99 {time_text(stage.p99.value)}"


def _size(figure: Figure | None) -> str:
    return _bytes(None if figure is None else figure.value)


def _bytes(count: float | None) -> str:
    return NONE if count is None else byte_size(round(count))


def _duration(seconds: float) -> str:
    """Write a time for people: in hours from two hours on, in minutes from two minutes on."""
    if seconds >= 2 * _HOUR:
        return f"{seconds / _HOUR:,.1f} h"
    return f"{seconds / _MINUTE:,.0f} min" if seconds >= 2 * _MINUTE else time_text(seconds)


def _cost(cost: float) -> str:
    """Write a price for people, without hundredths where it has three digits before them."""
    return f"{cost:,.2f}" if cost < 100 else f"{cost:,.0f}"


def _marks(stage: Stage, sources: dict[str, int]) -> str:
    """Return the numbers of a stage's sources, each source numbered where it first occurs."""
    figures = (stage.seconds, stage.p99, stage.ram, stage.disk)
    cited = dict.fromkeys(source for figure in figures if figure for source in figure.sources)
    numbers = [sources.setdefault(source, len(sources) + 1) for source in cited]
    return ", ".join(map(str, numbers))
