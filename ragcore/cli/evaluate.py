"""`ragcore eval` and `ragcore replay`: measure answers, and check that a run can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragcore.cli.arguments import JsonOption, OverridesArgument
from ragcore.cli.outputs import check_folder
from ragcore.cli.progress import question_bar
from ragcore.views.output import print_json

__all__ = ["app", "replay_app"]

app = typer.Typer(add_completion=False)
replay_app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    pipeline: Annotated[
        str, typer.Argument(help="The pipeline's YAML file, or a folder that training wrote.")
    ],
    questions: Annotated[Path, typer.Argument(help="A file of questions with their answers.")],
    overrides: OverridesArgument = None,
    format: Annotated[  # noqa: A002 (the option's name)
        str, typer.Option(help="The format of the file; auto detects it by its keys.")
    ] = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most questions to ask, spread over the file.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric, such as recall@10; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write results and answers there, for `replay`."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Compare with the run in a folder: a paired test."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a file of questions: each metric with its 95 % interval; exit code 1 if one failed."""
    from ragcore.config.training import QuestionsConfig
    from ragcore.evaluation.running import compare_with_run, default_metrics, make_metrics
    from ragcore.evaluation.running import evaluate as run
    from ragcore.evaluation.runs import read_run
    from ragcore.questions import read_questions, spread_over
    from ragcore.rag import load
    from ragcore.views.console import print_view
    from ragcore.views.evaluation import differences_view, figures_view

    # Checked before the generator is loaded and all questions are answered.
    if output is not None:
        check_folder("--output", output)
    if against is not None:
        read_run(against)
    metrics = make_metrics(metric or ())
    labelled = spread_over(read_questions(questions, format=format), limit)
    metrics = metrics or make_metrics(default_metrics(labelled))
    with load(pipeline, *(overrides or ())) as rag, question_bar() as progress:
        report = run(rag, labelled, metrics, progress=progress)
    differences = compare_with_run(against, report) if against is not None else []
    if output is not None:
        source = QuestionsConfig.model_validate(
            {"path": questions.absolute(), "format": format, "limit": limit}
        )
        report.write(output, pipeline, overrides or (), source)
    if as_json:
        row = report.to_dict()
        if against is not None:
            row["against"] = [difference.to_dict() for difference in differences]
        print_json(row)
    else:
        print_view(
            f"{len(labelled)} questions, memory {report.memory}", figures_view(report.figures)
        )
        if against is not None:
            print_view(f"\ncompared with {against}", differences_view(differences))
        if output is not None:
            print_view(f"\nwritten to {output}", soft_wrap=True)
    if report.failed:
        raise typer.Exit(1)


@replay_app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="A folder that `eval --output` or training wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Answer the questions of a run again; exit code 1 if an answer differs."""
    from ragcore.evaluation.running import replay as repeat
    from ragcore.evaluation.runs import RUN
    from ragcore.views.console import print_view
    from ragcore.views.evaluation import replayed_view

    folder = run if (run / RUN).exists() else run / "evaluation"
    with question_bar() as progress:
        replayed = repeat(folder, progress=progress)
    if as_json:
        row = {
            "questions": replayed.questions,
            "changed": [
                {"question": question, "kept": before, "now": now}
                for question, before, now in replayed.changed
            ],
            "versions": {name: list(pair) for name, pair in replayed.versions.items()},
        }
        print_json(row)
    else:
        print_view(replayed_view(replayed))
    if replayed.changed:
        raise typer.Exit(1)
