"""`ragcore ask`: answer questions on the command line."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from ragcore.cli.arguments import OverridesArgument, PipelineArgument
from ragcore.cli.asking import check_one_question, filter_notes_unlogged, questions_of
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
    sources: Annotated[
        bool, typer.Option("--sources", help="Print the numbered sources of the answer alone.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, with all evidence.")
    ] = False,
) -> None:
    """Answer questions: print the answer, log p, and the numbered passages it is based on."""
    from ragcore.errors import QuestionError
    from ragcore.filters.expressions import where_from_json
    from ragcore.rag import load
    from ragcore.views.answer import answer_view, sources_view, without_view
    from ragcore.views.console import print_view

    check_one_question(overrides or ())
    if sources and without:
        raise QuestionError(
            "--sources with --without: sources alone show no probabilities; leave one of them out"
        )
    allowed = None if where is None else where_from_json(where)
    # A list of sources has no room for notes on the filter.
    printed = nullcontext() if sources and as_json else filter_notes_unlogged()
    with printed, load(pipeline, *(overrides or ())) as rag:
        for text in questions_of(question):
            (answer,) = rag.answer(text, where=allowed)
            if sources:
                if as_json:
                    print_json([citation.to_dict() for citation in answer.citations])
                else:
                    print_view(sources_view(answer), "")
                continue
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
