"""`ragcore memory`: build versions of a memory, update, list, verify, activate, search them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragcore.cli.compare import compare

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ragcore.calibration import Calibration
    from ragcore.memory.store import Progress, Store

__all__ = ["app"]

app = typer.Typer(
    help="Build versions of a memory, update, list, verify, activate, search, calibrate them."
)

app.command()(compare)

_Pipeline = Annotated[str, typer.Argument(help="The pipeline's YAML file.")]
_Place = Annotated[
    str, typer.Argument(metavar="STORE", help="The store's folder, or a pipeline's YAML file.")
]
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

    from ragcore.building import build_memory

    with _bars() as progress:
        built = build_memory(
            pipeline, *(overrides or ()), version=version, fresh=fresh, progress=progress
        )
    Console(highlight=False).print(
        f"built version {built.name}: {built.passages:,} passages, {_size(built.bytes)}; it is the "
        "current one",
        markup=False,
    )


@app.command()
def update(
    place: _Place,
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

    from ragcore.building import update_memory

    with _bars() as progress:
        made = update_memory(place, changes, version=version, parent=parent, progress=progress)
    Console(highlight=False).print(
        f"made version {made.name}: {made.passages:,} passages, {_size(made.bytes)}; it is the "
        "current one",
        markup=False,
    )


@app.command("list")
def list_(
    place: _Place,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """The versions of a store; * marks the current one."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    store, _ = _store(place)
    versions = store.versions()
    if as_json:
        print(json.dumps([asdict(version) for version in versions], ensure_ascii=False))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "version", "passages", "retriever", "size", "created"):
        table.add_column(name, justify="right" if name in ("passages", "size") else "left")
    for one in versions:
        table.add_row(
            "*" if one.current else "",
            Text(one.name, style="bold" if one.current else ""),
            f"{one.passages:,}",
            Text(one.retriever),
            _size(one.bytes),
            one.created,
        )
    Console().print(table if versions else Text(f"{store.folder} has no version yet"))


@app.command()
def verify(
    place: _Place,
    version: Annotated[
        str | None, typer.Argument(help="Its name; else the pipeline's, else the current one.")
    ] = None,
) -> None:
    """Compare every file of a version with the sha256 that its manifest gives."""
    store, preferred = _store(place)
    checked = store.verify(version or preferred)
    print(f"version {checked.name} is whole: {checked.passages:,} passages, {_size(checked.bytes)}")


@app.command()
def activate(
    place: _Place, version: Annotated[str, typer.Argument(help="The version's name.")]
) -> None:
    """Make a version the current one."""
    store, _ = _store(place)
    store.activate(version)
    print(f"version {version} is the current one")


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

    from ragcore.config import load_config
    from ragcore.errors import QuestionError
    from ragcore.memory.store import Store
    from ragcore.memory.where import both, read_where, where_from_json
    from ragcore.types import MISSING_ROW

    if not question.strip():
        raise QuestionError("the question is empty: ask one")
    config = load_config(pipeline, overrides or ())
    said = [config.rag.where, None if where is None else where_from_json(where)]
    allowed = both(*(None if one is None else read_where(one) for one in said))
    section = config.memory
    memory = Store(section.store).open(
        section.version, retriever=section.retriever, temperature=section.temperature
    )
    try:
        hits = memory.search([question], k or config.rag.k, where=allowed)
        exists = hits.rows[0] != MISSING_ROW
        passages = memory.passages.take(hits.rows[0][exists].tolist())
        found = list(zip(hits.scores[0][exists].tolist(), passages, strict=True))
    finally:
        memory.close()
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

    from ragcore.calibration import calibrate as fit
    from ragcore.calibration import read_questions
    from ragcore.config.edit import write_temperature
    from ragcore.errors import ConfigError
    from ragcore.rag import load

    if write and overrides:
        raise ConfigError(
            "--write with changes to the file: the temperature would be fitted to another pipeline "
            "than the file's; change the file first, or leave --write out"
        )
    asked, wanted = read_questions(questions)
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


def _store(place: str) -> tuple[Store, str | None]:
    """The store that a folder is or a pipeline file names, and the version that the file names."""
    from ragcore.config import load_config
    from ragcore.errors import StoreError
    from ragcore.memory.store import Store

    version = None
    folder = Path(place)
    if folder.is_file() or folder.suffix in (".yaml", ".yml"):
        section = load_config(place).memory
        folder, version = section.store, section.version
    if not folder.is_dir():
        raise StoreError(
            f"{folder}: there is no such store: build a version with `ragcore memory build`"
        )
    return Store(folder), version


@contextmanager
def _bars() -> Iterator[Progress]:
    """A progress bar for each stage, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        stages: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage == "kept":
                bars.console.print(f"going on: {done:,} passages were encoded before")
                return
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total, count="")
            count = _size(done) if stage == "files" else f"{done:,}"
            bars.update(stages[stage], completed=done, total=total, count=count)

        yield report


def _size(count: int) -> str:
    """A number of bytes as people read it."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"
