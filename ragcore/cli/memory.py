"""`ragcore memory`: what makes versions of a memory and searches them; versions.py has the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragcore.cli import versions
from ragcore.cli.compare import compare
from ragcore.cli.stores import StoreArgument, bars, size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ragcore.evaluation.calibration import Calibration

__all__ = ["app"]

app = typer.Typer(
    help="Build versions of a memory, update, switch, compare, move, search, calibrate them."
)

for command in (compare, *versions.COMMANDS):
    app.command(command.__name__.rstrip("_"))(command)

_Pipeline = Annotated[str, typer.Argument(help="The pipeline's YAML file.")]
_Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the file: memory.retriever.index.use=exact"),
]


@app.command()
def build(
    pipeline: _Pipeline,
    overrides: _Overrides = None,
    version: Annotated[
        str | None,
        typer.Option(help="The new version's name; else memory.version, else today's date."),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Encode all, also what a build that was killed has encoded."),
    ] = False,
) -> None:
    """Read the pipeline's corpus into a new version, and make it the current one."""
    from rich.console import Console

    from ragcore.build import build_memory

    with bars() as progress:
        built = build_memory(
            pipeline, *(overrides or ()), version=version, fresh=fresh, progress=progress
        )
    Console(highlight=False).print(
        f"built version {built.name}: {built.passages:,} passages, {size(built.bytes)}; it is the "
        "current one",
        markup=False,
    )


@app.command()
def update(
    place: StoreArgument,
    changes: Annotated[
        Path | None,
        typer.Argument(
            help='JSON lines: passages to put in, and {"id": …, "delete": true}; else what the '
            "pipeline's corpus has become."
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="The new version's name; else today's date.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="The version that is updated; else the current one.")
    ] = None,
) -> None:
    """Make the current version out of another, by what is new, changed or gone."""
    from rich.console import Console

    from ragcore.build import update_memory

    with bars() as progress:
        made = update_memory(place, changes, version=version, parent=parent, progress=progress)
    Console(highlight=False).print(
        f"made version {made.name}: {made.passages:,} passages, {size(made.bytes)}; it is the "
        "current one",
        markup=False,
    )


@app.command()
def search(
    pipeline: _Pipeline,
    question: Annotated[str, typer.Argument(help="What to look for.")],
    overrides: _Overrides = None,
    k: Annotated[int | None, typer.Option(min=1, help="How many passages; else rag.k.")] = None,
    where: Annotated[
        str | None, typer.Option(help="""Only such passages, as JSON: '{"country": "Chad"}'.""")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a passage and line.")
    ] = False,
) -> None:
    """The passages that are found for a question, best first."""
    from rich.console import Console
    from rich.text import Text

    from ragcore.build import open_memory
    from ragcore.config import load_config
    from ragcore.errors import QuestionError
    from ragcore.filters.expressions import both, read_where, where_from_json
    from ragcore.types import MISSING_ROW

    if not question.strip():
        raise QuestionError("the question is empty: ask one")
    config = load_config(pipeline, overrides or ())
    said = [config.rag.where, None if where is None else where_from_json(where)]
    allowed = both(*(None if one is None else read_where(one) for one in said))
    with open_memory(config) as memory:
        hits = memory.search([question], k or config.rag.k, where=allowed)
        exists = hits.rows[0] != MISSING_ROW
        passages = memory.passages.take(hits.rows[0][exists].tolist())
        found = list(zip(hits.scores[0][exists].tolist(), passages, strict=True))
    if as_json:
        for score, passage in found:
            row: dict[str, Any] = {"score": score, "id": passage.id, "title": passage.title}
            row |= {"text": passage.text, "metadata": dict(passage.metadata)}
            print(json.dumps({**row, "memory": memory.version}, ensure_ascii=False))
        return
    console = Console()
    for score, passage in found:
        head = Text(f"{score:10.4f}  ", style="dim")
        head.append(passage.title or passage.id, style="bold cyan")
        head.append(f"  {passage.id}", style="dim")
        console.print(head)
        console.print(Text(passage.text), "")
    console.print(Text(f"{len(found)} passages from memory {memory.version}", style="dim"))


@app.command()
def calibrate(
    pipeline: _Pipeline,
    questions: Annotated[
        str, typer.Argument(help="JSON lines, each with question and answer or answers.")
    ],
    overrides: _Overrides = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the temperature into the pipeline's file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Fit memory.temperature, so that right answers are as probable as it can make them."""
    from rich.console import Console

    from ragcore.config.edit import write_temperature
    from ragcore.errors import ConfigError
    from ragcore.evaluation.calibration import calibrate as fit
    from ragcore.evaluation.calibration import read_answered_questions
    from ragcore.rag import load

    if write and overrides:
        raise ConfigError(
            "--write with changes to the file: the temperature would be fitted to another pipeline "
            "than the file's; change the file first, or leave --write out"
        )
    asked, wanted = read_answered_questions(questions)
    with load(pipeline, *(overrides or ())) as rag:
        found = fit(rag, asked, wanted)
    temperature = found.fitted.temperature
    if write:
        write_temperature(pipeline, temperature)
    if as_json:
        print(json.dumps({**found.to_dict(), "written": write}, ensure_ascii=False))
        return
    Console().print(_calibration(found))
    if write:
        print(f"\nwritten into {pipeline}: temperature: {temperature!r}")
    else:
        print(f"\nmemory:\n  temperature: {temperature!r}")


def _calibration(found: Calibration) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "temperature", "mean log p", "prior of first"):
        table.add_column(name, justify="left" if not name else "right")
    rows = {"fitted": found.fitted, "one": found.one, "in the file": found.current}
    for name, fit in rows.items():
        table.add_row(name, f"{fit.temperature:g}", f"{fit.log_prob:.6f}", f"{fit.top_prior:.4f}")
    told = (
        f"{found.questions:,} questions with {found.answers:,} answers, passages found for "
        f"{found.found:,}, memory {found.memory}; the first passage makes the answer most probable "
        f"in {found.top_best:.4f} of them"
    )
    return Group(table, Text(told, style="dim"))
