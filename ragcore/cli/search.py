"""`ragcore search`: find passages for questions; no generator is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from ragcore.cli.arguments import OverridesArgument, PipelineArgument, is_override
from ragcore.cli.asking import Questions, check_one_question, filter_notes_unlogged
from ragcore.errors import ConfigError, QuestionError
from ragcore.views.output import neutral, print_json, print_text, terminal_stream

if TYPE_CHECKING:
    from ragcore.questions import LabelledQuestion
    from ragcore.types import SearchResult

__all__ = ["app", "search"]

app = typer.Typer(add_completion=False)

_BATCH: Final = 64
"""Questions of a file that are searched for together; bounds the passages in memory."""


class _Question(NamedTuple):
    """A question with the id that results name it by."""

    id: str
    text: str


@app.command()
def search(
    pipeline: PipelineArgument,
    question: Annotated[
        str | None,
        typer.Argument(
            help="What to look for, or - to read questions from standard input, by line."
        ),
    ] = None,
    overrides: OverridesArgument = None,
    k: Annotated[
        int | None, typer.Option("-k", "--k", min=1, help="How many passages; else rag.k.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="""Only matching passages; JSON: '{"country": "Chad"}'.""")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Search for all questions of a file.")
    ] = None,
    format: Annotated[  # noqa: A002 (the option's name)
        str | None, typer.Option(help="The format of FILE; else detected by its keys.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The most questions of FILE, spread over it.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per passage, one a line.")
    ] = False,
    trec: Annotated[bool, typer.Option("--trec", help="Print a run for TREC's tools.")] = False,
    tag: Annotated[
        str | None, typer.Option(metavar="NAME", help="The run's name; else ragcore.")
    ] = None,
) -> None:
    """Print the passages that are retrieved for each question, best first.

    A line of standard input that cannot be searched for is named on standard error, and the next
    one is read; the exit code is then 2.
    """
    from ragcore.answering.searching import search as run
    from ragcore.build import open_memory
    from ragcore.config import load_config
    from ragcore.filters.expressions import where_from_json

    settings = list(overrides or ())
    if questions is not None and question is not None and is_override(question):
        settings.insert(0, question)
        question = None
    check_one_question(settings)
    _check_options(question, questions, format, limit, as_json, trec, tag)
    config = load_config(pipeline, settings)
    allowed = None if where is None else where_from_json(where)
    several = questions is not None or question == "-"
    show = _json if as_json else _run(tag or "ragcore") if trec else _view(several)
    lines = Questions(question or "")
    if questions is not None:
        batches = _of_file(questions, format or "auto", limit, trec)
    else:
        # Each line is answered before the next one is read.
        batches = ([_Question(str(lines.read), text)] for text in lines)
    printed = nullcontext() if as_json or trec else filter_notes_unlogged()
    with printed, open_memory(config) as memory:
        for batch in batches:
            with lines.errors_printed():
                texts = [asked.text for asked in batch]
                for asked, result in zip(
                    batch, run(memory, texts, config.rag, allowed, k=k), strict=True
                ):
                    show(asked.id, result)
            # Programs that ask through a pipe wait for the results of one line.
            terminal_stream().flush()
    if lines.failed:
        raise typer.Exit(QuestionError.exit_code)


def _check_options(
    question: str | None,
    questions: Path | None,
    format_name: str | None,
    limit: int | None,
    as_json: bool,
    trec: bool,
    tag: str | None,
) -> None:
    """Refuse options that contradict each other, and those without an effect.

    Raises:
        ConfigError: says which.
    """
    from ragcore.questions.trec_run import check_field

    if question is None and questions is None:
        raise ConfigError("nothing to search for: give a question, - or --questions FILE")
    if question is not None and questions is not None:
        raise ConfigError(
            f"the question {question!r} with --questions {questions}: give one of them; an "
            "override is written as section.key=value"
        )
    if as_json and trec:
        raise ConfigError("--json with --trec: choose one form of output")
    if questions is None and (format_name is not None or limit is not None):
        option = "--limit" if format_name is None else "--format"
        raise ConfigError(f"{option} without --questions: it is about a file of questions")
    if tag is not None:
        if not trec:
            raise ConfigError("--tag without --trec: only a TREC run has a tag")
        check_field("tag", tag)
        _check_shown("tag", tag)


def _of_file(
    path: Path, format_name: str, limit: int | None, trec: bool
) -> Iterator[list[_Question]]:
    """Read the questions of a file, in batches.

    Raises:
        QuestionError: the file cannot be read or has faults, or ids that a TREC run cannot have.
    """
    from ragcore.questions import read_questions, spread_over

    chosen = spread_over(read_questions(path, format=format_name), limit)
    if trec:
        _check_topics(path, chosen)
    rest = iter(chosen)
    return iter(
        lambda: [_Question(each.id, each.question) for each in islice(rest, _BATCH)],
        [],
    )


def _check_topics(path: Path, questions: Sequence[LabelledQuestion]) -> None:
    """Check the ids of questions before any is searched for.

    Raises:
        QuestionError: an id has white space, or two questions have the same.
    """
    from ragcore.questions.trec_run import check_field

    lines: dict[str, int] = {}
    for question in questions:
        try:
            check_field("question id", question.id)
            _check_shown("question id", question.id)
        except QuestionError as error:
            raise QuestionError(f"{path}:{question.line}: {error}") from None
        if question.id in lines:
            raise QuestionError(
                f"{path}:{question.line}: the question has the id {question.id!r}, as the one of "
                f"line {lines[question.id]}: a TREC run needs an id of its own for each question"
            )
        lines[question.id] = question.line


def _check_shown(name: str, value: str) -> None:
    """Check that an id is printed as it is.

    Raises:
        QuestionError: it has a character that a terminal would obey.
    """
    if neutral(value) != value:
        raise QuestionError(
            f"{name} {value!r} has a control character: it cannot be printed in a TREC run; use "
            "another id, or write the result as JSON"
        )


def _json(question_id: str, result: SearchResult) -> None:
    row = result.to_dict()
    asked = {"question_id": question_id, "question": result.question}
    for passage in row["passages"]:
        print_json({**asked, **passage, "memory": result.memory})


def _run(tag: str) -> Callable[[str, SearchResult], None]:
    from ragcore.questions.trec_run import run_lines

    def show(question_id: str, result: SearchResult) -> None:
        ids = [passage.id for passage in result.passages]
        for passage_id in ids:
            _check_shown("passage id", passage_id)
        for line in run_lines(question_id, ids, result.scores, tag):
            print_text(line)

    return show


def _view(several: bool) -> Callable[[str, SearchResult], None]:
    from ragcore.views.console import print_view
    from ragcore.views.search import search_view

    def show(_: str, result: SearchResult) -> None:
        print_view(search_view(result, with_question=several), *([""] if several else []))

    return show
