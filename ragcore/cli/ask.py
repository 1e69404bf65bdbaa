"""`ragcore ask`: answer questions on the command line."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragcore.cli.arguments import OverridesArgument, PipelineArgument
from ragcore.cli.asking import Questions, check_one_question, filter_notes_unlogged
from ragcore.cli.outputs import check_file
from ragcore.views.output import print_json

if TYPE_CHECKING:
    from ragcore.answering.ablation import Without
    from ragcore.types import Answer

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
    history: Annotated[
        str | None,
        typer.Option(
            help="The turns before the question, oldest first, which rag.rewrite reads; JSON: "
            """'[{"question": "…", "answer": "…"}]'."""
        ),
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Print the numbered sources of the answer alone.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, with all evidence.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the answers to an HTML page of one file."),
    ] = None,
) -> None:
    """Answer questions: print the answer, log p, and the numbered passages it is based on.

    A line of standard input that cannot be answered is named on standard error, and the others are
    answered; the exit code is then 2.
    """
    from ragcore.answering.conversation import history_from_json
    from ragcore.errors import ConfigError, QuestionError
    from ragcore.filters.expressions import where_from_json
    from ragcore.rag import load
    from ragcore.views.answer import sources_view
    from ragcore.views.console import print_view
    from ragcore.views.page import write_page

    check_one_question(overrides or ())
    if sources and without:
        raise QuestionError(
            "--sources with --without: sources alone show no probabilities; leave one of them out"
        )
    if html is not None:
        # Checked before the generator is loaded and all questions are answered.
        check_file("--html", html)
    allowed = None if where is None else where_from_json(where)
    turns = () if history is None else history_from_json(history)
    # A list of sources has no room for notes on the filter.
    printed = nullcontext() if sources and as_json else filter_notes_unlogged()
    questions = Questions(question)
    answers: list[Answer] = []
    withouts: list[list[Without]] = []
    with printed, load(pipeline, *(overrides or ())) as rag:
        if turns and rag.config.rewrite is None:
            raise ConfigError(
                "--history has no effect without rag.rewrite, by which the question is made one "
                "that stands alone: add rag.rewrite.turns=4 behind the question, or leave --history"
                " out"
            )
        for text in questions:
            with questions.errors_printed():
                (answer,) = rag.answer(text, where=allowed, history=turns)
                left_out = rag.without(answer, without) if without else None
                if html is not None:
                    withouts.append(rag.without_each(answer) + ([left_out] if left_out else []))
                    answers.append(answer)
                if not sources:
                    _print_answer(answer, left_out, as_json=as_json)
                elif as_json:
                    print_json([citation.to_dict() for citation in answer.citations])
                else:
                    print_view(sources_view(answer), "")
    if html is not None:
        write_page(answers, html, withouts)
        if not as_json:
            print_view(f"written to {html}", soft_wrap=True)
    if questions.failed:
        raise typer.Exit(QuestionError.exit_code)


def _print_answer(answer: Answer, left_out: Without | None, *, as_json: bool) -> None:
    from ragcore.views.answer import answer_view, without_view
    from ragcore.views.console import print_view

    if as_json:
        row = answer.to_dict()
        if left_out is not None:
            row["without"] = left_out.to_dict()
        print_json(row)
        return
    print_view(answer_view(answer))
    if left_out is not None:
        print_view(without_view(answer, left_out))
    print_view("")
