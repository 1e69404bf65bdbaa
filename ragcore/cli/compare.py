"""`ragcore memory compare`: show which answers change with another version of the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragcore.cli.arguments import JsonOption, OverridesArgument, PipelineArgument
from ragcore.cli.outputs import check_file
from ragcore.cli.progress import question_bar
from ragcore.views.output import print_json

__all__ = ["compare"]


def compare(
    pipeline: PipelineArgument,
    questions: Annotated[
        str, typer.Argument(help="JSON lines, each with question, and answers where known.")
    ],
    old: Annotated[str, typer.Argument(help="The name of a version.")],
    new: Annotated[str, typer.Argument(help="The name of the version to compare it with.")],
    overrides: OverridesArgument = None,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a self-contained HTML page.")
    ] = None,
) -> None:
    """Ask two versions the same questions; show changed answers and which is right more often."""
    from ragcore.config import load_config
    from ragcore.disk.replacing import write_file
    from ragcore.evaluation.comparison import compare as ask_both
    from ragcore.questions import read_questions
    from ragcore.views.comparison import comparison_view
    from ragcore.views.comparison_html import comparison_html
    from ragcore.views.console import print_view

    if html is not None:
        # Checked before the generator is loaded and all questions are answered.
        check_file("--html", html)
    labelled = read_questions(questions)
    config = load_config(pipeline, overrides or ())
    with question_bar() as progress:
        comparison = ask_both(config, labelled, old, new, progress=progress)
    if html is not None:
        write_file(html, comparison_html(comparison))
    if as_json:
        print_json(comparison.to_dict())
        return
    print_view(comparison_view(comparison))
    if html is not None:
        print_view(f"\nwritten to {html}", soft_wrap=True)
