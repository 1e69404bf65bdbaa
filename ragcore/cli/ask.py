"""`ragcore ask`: answer questions on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from ragcore.cli.arguments import OverridesArgument, PipelineArgument

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def ask(
    pipeline: PipelineArgument,
    question: Annotated[
        str, typer.Argument(help="A question, or - to read questions from standard input, by line.")
    ],
    overrides: OverridesArgument = None,
    where: Annotated[
        str | None,
        typer.Option(help="""Read only matching passages; JSON: '{"country": "Chad"}'."""),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PASSAGE_ID",
            help="Also show how the answer changes without this passage; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, with all evidence.")
    ] = False,
) -> None:
    """Answer questions: print the answer, log p, and the passages it is based on."""
    from rich.console import Console

    from ragcore.filters.expressions import where_from_json
    from ragcore.rag import load
    from ragcore.views.answer import answer_view, without_view

    console = Console()
    allowed = None if where is None else where_from_json(where)
    with load(pipeline, *(overrides or ())) as rag:
        for text in _questions(question):
            (answer,) = rag.answer(text, where=allowed)
            left_out = rag.without(answer, without) if without else None
            if as_json:
                row = answer.to_dict()
                if left_out is not None:
                    row["without"] = left_out.to_dict()
                print(json.dumps(row, ensure_ascii=False), flush=True)
                continue
            console.print(answer_view(answer))
            if left_out is not None:
                console.print(without_view(answer, left_out))
            console.print()


def _questions(argument: str) -> Iterator[str]:
    """Yield the question itself, or the lines of standard input that are not empty."""
    if argument != "-":
        yield argument
        return
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
