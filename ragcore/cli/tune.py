"""`ragcore tune`: choose settings on dev questions, and report them on test questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragcore.cli.arguments import JsonOption, OverridesArgument, PipelineArgument
from ragcore.cli.outputs import check_file, check_folder
from ragcore.cli.progress import question_bar
from ragcore.errors import ConfigError
from ragcore.views.output import print_json, print_text

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def tune(
    pipeline: PipelineArgument,
    dev: Annotated[
        str,
        typer.Option(metavar="FILE", help="Questions on which settings are chosen."),
    ],
    test: Annotated[
        str,
        typer.Option(metavar="FILE", help="Other questions, on which they are reported."),
    ],
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="The metric to choose by, such as nDCG@10.")
    ],
    overrides: OverridesArgument = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUES", help="Values to try: rag.k=1,5,10; may be repeated."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="KEY=LOW:HIGH",
            help="Numbers to try, proposed by optuna: memory.retriever.b=0:1; may be repeated.",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many proposals, with --range; 30.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the proposals; 0.")] = None,
    format: Annotated[  # noqa: A002 (the option's name)
        str, typer.Option(help="The format of both files; auto detects it by their keys.")
    ] = "auto",
    dev_qrels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Grades of passages for the dev questions."),
    ] = None,
    test_qrels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Grades of passages for the test questions."),
    ] = None,
    retrieval: Annotated[
        bool, typer.Option("--retrieval", help="Measure retrieval alone; nothing is answered.")
    ] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Build missing memories, in the output folder.")
    ] = False,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where runs and tuned.json go.")
    ] = Path("tuning"),
    processes: Annotated[int, typer.Option(min=1, help="How many processes share the work.")] = 1,
    write: Annotated[
        bool, typer.Option("--write", help="Write the chosen settings into the pipeline's file.")
    ] = False,
    write_to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the pipeline with the chosen settings there."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose the best settings on dev questions, and report them on test questions, once.

    The pipeline as it is is one of the trials. Runs that are there already are reused.
    """
    from ragcore.config.rewriting import write_settings
    from ragcore.evaluation.report import QuestionSource
    from ragcore.experiments.tuning import DEFAULT_TRIALS
    from ragcore.experiments.tuning import tune as choose
    from ragcore.views.console import print_view
    from ragcore.views.tuning import settings_lines, tuned_view

    # Checked before anything is computed.
    if write and write_to is not None:
        raise ConfigError("--write and --write-to: name one of the two")
    if (write or write_to is not None) and overrides:
        raise ConfigError(
            "--write with changes to the file: the settings would be chosen for another pipeline "
            "than the file's; change the file first, or leave --write out"
        )
    if not ranges and (trials is not None or seed is not None):
        raise ConfigError(
            "--trials and --seed are of proposals between the ends of a --range: name one"
        )
    check_folder("--output", output)
    if write_to is not None:
        check_file("--write-to", write_to)
    with question_bar("tuning") as progress:
        tuned = choose(
            pipeline,
            *(overrides or ()),
            dev=QuestionSource(dev, format, qrels=dev_qrels),
            test=QuestionSource(test, format, qrels=test_qrels),
            metric=metric,
            sweep=sweep or (),
            ranges=ranges or (),
            trials=DEFAULT_TRIALS if trials is None else trials,
            seed=seed or 0,
            retrieval=retrieval,
            build=build,
            output=output,
            processes=processes,
            progress=progress,
        )
    target = write_to if write_to is not None else Path(pipeline) if write else None
    if not tuned.settings and write_to is None:
        target = None
    if not as_json:
        # Before writing, which may fail: what was computed is not lost with it.
        print_view(tuned_view(tuned))
    if target is not None:
        write_settings(pipeline, tuned.settings, write_to)
    if as_json:
        print_json({**tuned.to_dict(), "written": None if target is None else str(target)})
    elif target is not None:
        print_text(f"\nwritten into {target}")
    elif tuned.settings:
        print_text("\n" + settings_lines(tuned))
