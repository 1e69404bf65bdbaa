"""`ragcore memory compare`: which answers another version of the memory changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compare"]


def compare(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's YAML file.")],
    questions: Annotated[
        str, typer.Argument(help="JSON lines, each with question, and answers if they are known.")
    ],
    old: Annotated[str, typer.Argument(help="A version's name.")],
    new: Annotated[str, typer.Argument(help="Another's.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the file: rag.k=10 rag.marginalize=sequence"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as a page that stands alone.")
    ] = None,
) -> None:
    """Ask two versions the same questions: what changes, on what, and which is right more often."""
    from rich.console import Console

    from ragcore.config import load_config
    from ragcore.errors import ConfigError
    from ragcore.evaluation.comparison import compare as ask_both
    from ragcore.questions import read_questions
    from ragcore.views.comparison import comparison_view
    from ragcore.views.comparison_html import comparison_html

    if html is not None and not html.parent.is_dir():
        # Told before the generator is loaded and all questions are asked.
        raise ConfigError(f"--html {html}: there is no folder {html.parent}: make it first")
    asked = read_questions(questions)
    config = load_config(pipeline, overrides or ())
    with _bar() as progress:
        found = ask_both(config, asked, old, new, progress=progress)
    if html is not None:
        html.write_text(comparison_html(found), encoding="utf-8")
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    console = Console()
    console.print(comparison_view(found))
    if html is not None:
        console.print(f"\nwritten to {html}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("asking", total=None)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield report
