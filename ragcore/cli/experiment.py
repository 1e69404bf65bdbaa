"""`ragcore experiment`: compare systems on the same questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ragcore.cli.arguments import JsonOption, OnOption, OnSettingsOption, runner_on
from ragcore.cli.outputs import check_folder
from ragcore.cli.progress import question_bar
from ragcore.views.output import print_json

if TYPE_CHECKING:
    from ragcore.experiments.options import Options

__all__ = ["app"]

app = typer.Typer(add_completion=False)

_REPORT: Final = "report.html"


@app.command()
def experiment(
    file: Annotated[
        str | None,
        typer.Argument(help="The experiment's YAML file; options override its keys."),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="A pipeline's file, or NAME=FILE; may be repeated. Replaces the file's systems.",
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="A TREC run file as a system, or NAME=FILE; may be repeated.",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="A key to vary in all pipelines: rag.k=1,5,10; may be repeated.",
        ),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Questions: a file, a folder of BEIR, or ir_datasets:NAME."
        ),
    ] = None,
    format: Annotated[  # noqa: A002 (the option's name)
        str | None, typer.Option(help="The format of the questions.")
    ] = None,
    qrels: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Grades of passages, as TREC's or BEIR's qrels."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="The most questions to ask, spread over the file.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric, such as nDCG@10; may be repeated."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The system to compare with; by default the first."),
    ] = None,
    dev: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Other questions, to choose a threshold for --risk."),
    ] = None,
    risk: Annotated[
        float | None,
        typer.Option(help="Abstain so that at most this share of the answers given is wrong."),
    ] = None,
    retrieval: Annotated[
        bool, typer.Option("--retrieval", help="Measure retrieval alone; nothing is answered.")
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option(help="Passages to search for; by default what the metrics need."),
    ] = None,
    build: Annotated[
        bool,
        typer.Option("--build", help="Build missing memories, in the output folder."),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where results go; by default results."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="How many processes share the work; 1.")
    ] = None,
    cost: Annotated[
        int | None,
        typer.Option(help="Questions by which each system's cost is measured; 20."),
    ] = None,
    on: OnOption = None,
    on_option: OnSettingsOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run all systems again, also those that have a run.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare systems: means with intervals, paired tests against a baseline, and cost.

    Exit code 1 if a metric failed. The output folder gets results.json, results.csv, results.tex
    and report.html, and each system's run; runs that are there already are reused.
    """
    from ragcore.experiments.loading import load_experiment

    options: Options = {
        "systems": system,
        "runs": run,
        "questions": questions,
        "format": format,
        "limit": limit,
        "qrels": qrels,
        "dev": dev,
        "risk": risk,
        "sweep": sweep,
        "metrics": metric or None,
        "baseline": baseline,
        # A flag that is not set leaves what the file says.
        "retrieval": retrieval or None,
        "depth": depth,
        "build": build or None,
        "output": output,
        "processes": processes,
        "cost": cost,
    }
    loaded = load_experiment(file, **options)
    check_folder("output", loaded.output)
    runner = runner_on(on, on_option)

    from ragcore.disk.replacing import write_file
    from ragcore.experiments.api import experiment as compare
    from ragcore.views.console import print_view
    from ragcore.views.experiment import results_view
    from ragcore.views.experiment_html import experiment_html

    with question_bar("running") as progress:
        results = compare(loaded, fresh=fresh, progress=progress, runner=runner)
    write_file(loaded.output / _REPORT, experiment_html(results))
    if as_json:
        print_json(results.to_dict())
    else:
        print_view(results_view(results))
        print_view(f"\nwritten to {_shown(loaded.output)}", soft_wrap=True)
    if any(row.run.report.failed for row in results.systems):
        raise typer.Exit(1)


def _shown(folder: Path) -> Path:
    """Return a path as seen from the working folder, if it is in it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
