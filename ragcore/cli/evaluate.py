"""`ragcore eval` and `ragcore replay`: how good answers are, and whether they come out the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from ragcore.evaluation.figures import Difference, Figure
    from ragcore.evaluation.running import Replayed

__all__ = ["app", "replay_app"]

app = typer.Typer(add_completion=False)
replay_app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    pipeline: Annotated[
        str, typer.Argument(help="The pipeline's YAML file, or a folder that training left.")
    ],
    questions: Annotated[Path, typer.Argument(help="A file of questions with their answers.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the file: rag.k=10 rag.marginalize=sequence"),
    ] = None,
    format: Annotated[  # noqa: A002 (what the option is called)
        str, typer.Option(help="Whose form the file has; auto tells it by its keys.")
    ] = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many questions, spread over the file.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric, as recall@10; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep figures and answers there, to be replayed."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Compare with a run that was kept: a paired test."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Answer a file of questions: each metric with its 95 % interval; exit code 1 if one failed."""
    from rich.console import Console

    from ragcore.config.training import QuestionsConfig
    from ragcore.evaluation.running import DEFAULT_METRICS, make_metrics
    from ragcore.evaluation.running import compare_with_run
    from ragcore.evaluation.running import evaluate as run
    from ragcore.questions import read_questions, spread_over
    from ragcore.rag import load

    metrics = make_metrics(metric or DEFAULT_METRICS)
    asked = spread_over(read_questions(questions, format=format), limit)
    with load(pipeline, *(overrides or ())) as rag, _bar() as progress:
        report = run(rag, asked, metrics, progress=progress)
    differences = compare_with_run(against, report) if against is not None else []
    if output is not None:
        said = QuestionsConfig.model_validate(
            {"path": questions.absolute(), "format": format, "limit": limit}
        )
        report.write(output, pipeline, overrides or (), said)
    if as_json:
        row = report.to_dict()
        if against is not None:
            row["against"] = [one.to_dict() for one in differences]
        print(json.dumps(row, ensure_ascii=False))
    else:
        console = Console()
        console.print(f"{len(asked)} questions, memory {report.memory}", highlight=False)
        console.print(_figures(report.figures))
        if against is not None:
            console.print(f"\nbeside {against}", highlight=False, markup=False)
            console.print(_differences(differences))
        if output is not None:
            console.print(f"\nwritten to {output}", highlight=False, markup=False, soft_wrap=True)
    if report.failed:
        raise typer.Exit(1)


@replay_app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="A folder that `eval --output` or training left.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Answer the questions of a run again; exit code 1 if an answer is another."""
    from ragcore.evaluation.running import RUN
    from ragcore.evaluation.running import replay as repeat

    folder = run if (run / RUN).exists() else run / "evaluation"
    with _bar() as progress:
        found = repeat(folder, progress=progress)
    if as_json:
        row = {
            "questions": found.questions,
            "changed": [
                dict(zip(("question", "kept", "now"), one, strict=True)) for one in found.changed
            ],
            "versions": {name: list(pair) for name, pair in found.versions.items()},
        }
        print(json.dumps(row, ensure_ascii=False))
    else:
        _show(found)
    if found.changed:
        raise typer.Exit(1)


def _show(found: Replayed) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    same = found.questions - len(found.changed)
    console.print(f"{same} of {found.questions} answers are the same")
    for question, kept, now in found.changed:
        console.print(Text(question, style="bold"))
        console.print(Text(f"  kept  {kept}"))
        console.print(Text(f"  now   {now}"))
    for name, (then, now_) in found.versions.items():
        console.print(
            Text(f"{name}: {then or 'not installed'} then, {now_ or 'not now'}", "yellow")
        )


def _figures(figures: tuple[Figure, ...]) -> Table:
    table = _table("metric", "value", "95 %", "questions")
    for one in figures:
        if one.error is not None:
            table.add_row(one.metric, "[red]failed[/]", _plain(one.error), "")
        elif one.value is None:
            table.add_row(one.metric, "–", "applies to no question", "0")
        else:
            interval = f"{one.low:.4f} to {one.high:.4f}" if one.low is not None else "none"
            table.add_row(one.metric, f"{one.value:.4f}", interval, str(one.questions))
    return table


def _differences(found: list[Difference]) -> Table:
    table = _table("metric", "there", "here", "difference, 95 %", "p", "questions")
    for one in found:
        if one.p is None:
            said = _plain(one.error or "no test for this metric")
            table.add_row(one.metric, _number(one.one), _number(one.other), said, "", "")
        else:
            interval = f"{one.low:+.4f} to {one.high:+.4f}"
            values = (_number(one.one), _number(one.other))
            table.add_row(one.metric, *values, interval, f"{one.p:.4f}", str(one.questions))
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, no_wrap=name == "metric")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while questions are answered."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("answering", total=None)
        yield lambda done, of: progress.update(bar, completed=done, total=of)
