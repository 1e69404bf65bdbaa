"""`ragcore memory compare`: show which answers change with another version of the memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ragcore.cli.arguments import JsonOption, OverridesArgument, PipelineArgument
from ragcore.cli.progress import question_bar

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
    from rich.console import Console

    from ragcore.config import load_config
    from ragcore.errors import ConfigError
    from ragcore.evaluation.comparison import compare as ask_both
    from ragcore.questions import read_questions
    from ragcore.views.comparison import comparison_view
    from ragcore.views.comparison_html import comparison_html

    if html is not None and not html.parent.is_dir():
        # Checked before the generator is loaded and all questions are answered.
        raise ConfigError(f"--html {html}: there is no folder {html.parent}: create it first")
    labelled = read_questions(questions)
    config = load_config(pipeline, overrides or ())
    with question_bar() as progress:
        comparison = ask_both(config, labelled, old, new, progress=progress)
    if html is not None:
        html.write_text(comparison_html(comparison), encoding="utf-8")
    if as_json:
        print(json.dumps(comparison.to_dict(), ensure_ascii=False))
        return
    console = Console()
    console.print(comparison_view(comparison))
    if html is not None:
        console.print(f"\nwritten to {html}", highlight=False, markup=False, soft_wrap=True)
