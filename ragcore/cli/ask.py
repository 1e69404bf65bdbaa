"""`ragcore ask`: answer questions on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from ragcore.cli.arguments import OverridesArgument, PipelineArgument
from ragcore.cli.asking import questions_of
from ragcore.views.output import print_json

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
    from ragcore.filters.expressions import where_from_json
    from ragcore.rag import load
    from ragcore.views.answer import answer_view, without_view
    from ragcore.views.console import print_view

    allowed = None if where is None else where_from_json(where)
    with load(pipeline, *(overrides or ())) as rag:
        for text in questions_of(question):
            (answer,) = rag.answer(text, where=allowed)
            left_out = rag.without(answer, without) if without else None
            if as_json:
                row = answer.to_dict()
                if left_out is not None:
                    row["without"] = left_out.to_dict()
                print_json(row)
                continue
            print_view(answer_view(answer))
            if left_out is not None:
                print_view(without_view(answer, left_out))
            print_view("")
