"""`ragcore calibrate`: fit temperature, confidence and threshold on questions with answers."""

from __future__ import annotations

from typing import Annotated

import typer

from ragcore.cli.arguments import JsonOption, OverridesArgument, PipelineArgument
from ragcore.cli.progress import question_bar
from ragcore.views.output import print_error, print_json, print_text

__all__ = ["app", "calibrate_temperature"]

app = typer.Typer(add_completion=False)

_QuestionsArgument = Annotated[
    str,
    typer.Argument(
        help="A file of questions with right answers, a folder of BEIR, or ir_datasets:NAME."
    ),
]


@app.command()
def calibrate(
    pipeline: PipelineArgument,
    questions: _QuestionsArgument,
    overrides: OverridesArgument = None,
    format: Annotated[  # noqa: A002 (the option's name)
        str, typer.Option(help="The format of the file; auto detects it by its keys.")
    ] = "auto",
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most questions to ask, spread over the file.")
    ] = None,
    risk: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Also choose a threshold: the share of given answers that may be wrong.",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write what is fitted into the pipeline's file.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the memory's temperature, the answers' confidence, and the threshold to withhold them.

    All questions are answered twice: as the file is, and by the fitted temperature.
    """
    from ragcore.config.rewriting import write_settings
    from ragcore.evaluation.calibrating import calibrate_pipeline
    from ragcore.evaluation.report import QuestionSource
    from ragcore.rag import load
    from ragcore.views.calibration import pipeline_calibration_view, settings_text
    from ragcore.views.console import print_view

    _check_written(write, overrides)
    asked = QuestionSource(questions, format, limit).read()
    with load(pipeline, *(overrides or ())) as rag, question_bar() as progress:
        calibration = calibrate_pipeline(rag, asked, risk=risk, progress=progress)
    if write:
        write_settings(pipeline, calibration.settings)
    if as_json:
        print_json({**calibration.to_dict(), "written": write})
        return
    print_view(pipeline_calibration_view(calibration))
    print_text(f"\nwritten into {pipeline}:" if write else "")
    print_text(settings_text(calibration))


def calibrate_temperature(
    pipeline: PipelineArgument,
    questions: Annotated[
        str, typer.Argument(help="JSON lines, each with question and answer or answers.")
    ],
    overrides: OverridesArgument = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the temperature into the pipeline's file.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit memory.temperature alone, as `ragcore memory calibrate` did: see `ragcore calibrate`."""
    from ragcore.config.rewriting import write_settings
    from ragcore.evaluation.calibration import calibrate as fit
    from ragcore.evaluation.calibration import read_answered_questions
    from ragcore.rag import load
    from ragcore.views.calibration import calibration_view
    from ragcore.views.console import print_view

    print_error(
        "`ragcore memory calibrate` will be removed in the next release: use `ragcore calibrate`, "
        "which also fits the confidence"
    )
    _check_written(write, overrides)
    texts, answers = read_answered_questions(questions)
    with load(pipeline, *(overrides or ())) as rag:
        calibration = fit(rag, texts, answers)
    temperature = calibration.fitted.temperature
    if write:
        write_settings(pipeline, {"memory.temperature": temperature})
    if as_json:
        print_json({**calibration.to_dict(), "written": write})
        return
    print_view(calibration_view(calibration))
    if write:
        print_text(f"\nwritten into {pipeline}: temperature: {temperature!r}")
    else:
        print_text(f"\nmemory:\n  temperature: {temperature!r}")


def _check_written(write: bool, overrides: list[str] | None) -> None:
    """Refuse to write into a file what is fitted to another pipeline than the file's.

    Raises:
        ConfigError: both are asked for.
    """
    from ragcore.errors import ConfigError

    if write and overrides:
        raise ConfigError(
            "--write with changes to the file: the numbers would be fitted to another pipeline "
            "than the file's; change the file first, or leave --write out"
        )
