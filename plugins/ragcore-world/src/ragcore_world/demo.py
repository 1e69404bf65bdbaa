"""`ragcore world demo`: from nothing to answers, and to other answers from an older memory.

Uses ragcore as any program would: `build_memory`, `load`, `answer`, `swap`. Holds the questions and
the output; the pipeline is `world.yaml`, copied next to the memory so that it can be used and
changed afterwards.
"""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, track
from rich.table import Table
from rich.text import Text

import ragcore
from ragcore.errors import ConfigError, MemoryMismatchError, VersionExistsError
from ragcore_world.models import settings_of

__all__ = ["app", "cell"]

NOW: Final = "2026-01"
THEN: Final = "2018-12"

QUESTIONS: Final = (
    "Who is the prime minister of Ethiopia?",
    "What is the capital of Chad?",
    "Who is the king of Norway?",
    "What is the highest point of Tanzania?",
    "Who is the chancellor of Germany?",
    "Who is the prime minister of the United Kingdom?",
    "Who is the prime minister of Japan?",
    "Who is the president of Brazil?",
)

app = typer.Typer(no_args_is_help=True)


@app.callback()
def world() -> None:
    """Show the World Factbook: passages, a reader, and a demo of both."""


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="Folder of the pipeline and its memory; kept for the next run.")
    ] = Path("demo"),
    html: Annotated[Path, typer.Option(help="HTML file for the answers.")] = Path("demo.html"),
    model: Annotated[
        str | None,
        typer.Option(
            help="Read with a model of yours: a folder, a .gguf file, a name on a hub, or the "
            "address of a server with OpenAI's API."
        ),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The name that the server of --model has for it."),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What reads with --model, where it is not what is recognised."
        ),
    ] = None,
) -> None:
    """Ask the World Factbook of 2026, swap the memory for that of 2018, and ask again."""
    console = ragcore.TerminalConsole()
    overrides = _overrides(model, model_name, generator)
    pipeline = _pipeline(folder)
    # The version built last becomes the store's current one.
    for version in (THEN, NOW):
        _build(pipeline, version, console)
    if pipeline.read_text(encoding="utf-8") != _shipped():
        console.print(
            Text(
                f"{pipeline} differs from what this version of ragcore-world writes there: you "
                f"have changed it, or an earlier version wrote it. {_afresh(folder)}"
            )
        )
    try:
        with console.status("Loading the reader …"):
            rag = ragcore.load(pipeline, f"memory.version={NOW}", *overrides)
    except MemoryMismatchError as error:
        raise MemoryMismatchError(f"{error}. {_afresh(folder)}") from error
    with rag:
        before = _ask(rag, console)
        for answer in before:
            console.print(ragcore.answer_view(answer), "")
        console.rule(f"The live memory is swapped: {NOW} → {THEN}")
        with console.status("Verifying the older memory …"):
            rag.swap(THEN)
        after = _ask(rag, console)
        withouts = [rag.without_each(answer) for answer in (*before, *after)]
    changed = [
        number
        for number, (new, old) in enumerate(zip(before, after, strict=True))
        if not _same(new.text, old.text)
    ]
    _print_changes([(before[number], after[number]) for number in changed], console)
    pairs = [(number, len(before) + number) for number in changed]
    ragcore.write_page([*before, *after], html, withouts, changed=pairs)
    console.print(
        f"Written: {html} shows the swap and these answers, and the passage each word rests on."
    )
    arguments = shlex.join([str(pipeline), *overrides])
    console.print(f"Go on: ragcore chat {arguments}", soft_wrap=True)


def _overrides(model: str | None, name: str | None, generator: str | None) -> list[str]:
    """Return the changes to the pipeline that another model needs.

    Raises:
        ConfigError: options that need --model, or a model that cannot read.
    """
    if model is not None:
        return settings_of(model, generator=generator, name=name).overrides()
    if name is not None or generator is not None:
        raise ConfigError("--model-name and --generator say more of a --model: name that, too")
    return []


def _pipeline(folder: Path) -> Path:
    """Return the pipeline's file in the folder; write it if it is not there yet."""
    path = folder / "world.yaml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(_shipped(), encoding="utf-8")
    return path


def _shipped() -> str:
    """Return the text of the pipeline's file as this version writes it."""
    return (files("ragcore_world") / "world.yaml").read_text(encoding="utf-8")


def _afresh(folder: Path) -> str:
    """Say how to start the demo without what an earlier run has left."""
    return f"To begin with a new pipeline and memory, delete the folder {folder}."


def _build(pipeline: Path, version: str, console: ragcore.TerminalConsole) -> None:
    """Build one version of the memory, unless the store has it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(f"Memory {version}", total=None)

        def show(stage: str, done: int, total: int | None) -> None:
            bars.update(
                task,
                description=f"Memory {version}: {stage} {done:,}",
                completed=done,
                total=total,
            )

        try:
            built = ragcore.build_memory(
                pipeline, f"memory.corpus.edition={version}", version=version, progress=show
            )
        except VersionExistsError:
            console.print(f"Memory {version}: already built.")
            return
    console.print(f"Memory {version}: {built.passages:,} passages.")


def _ask(rag: ragcore.Rag, console: ragcore.TerminalConsole) -> list[ragcore.Answer]:
    questions = track(QUESTIONS, "Reading", console=console, transient=True)
    return [answer for question in questions for answer in rag.answer(question)]


def _print_changes(
    changed: list[tuple[ragcore.Answer, ragcore.Answer]], console: ragcore.TerminalConsole
) -> None:
    """Print the answers that differ, before and after the swap, side by side."""
    console.print(f"{len(changed)} of {len(QUESTIONS)} questions have another answer now.\n")
    table = Table(expand=True)
    for heading in ("question", f"memory {NOW}", f"memory {THEN}"):
        table.add_column(heading, ratio=1)
    for new, old in changed:
        table.add_row(new.question, cell(new), cell(old))
    if changed:
        console.print(table, "")


def cell(answer: ragcore.Answer) -> Text:
    """Show an answer in a cell of the table, with the passage that it rests on most."""
    known = answer.log_prob is not None
    log_p = f"log p = {answer.log_prob:.3f}" if known else "log p not known"
    cell = Text.assemble((answer.text, "bold green"), (f"\n{log_p}", "dim"))
    if answer.evidence and not answer.abstains:
        best = max(answer.evidence, key=lambda evidence: evidence.posterior or 0.0)
        share = "" if best.posterior is None else f", posterior {best.posterior:.2f}"
        cell.append(f"\n{best.passage.title}{share}", "cyan")
    return cell


def _same(new: str, old: str) -> bool:
    """Return whether one answer is a longer form of the other ("Abiy Ahmed", "ABIY Ahmed Ali")."""
    words, others = (set(re.findall(r"\w+", text.casefold())) for text in (new, old))
    return new == old or (bool(words and others) and (words <= others or others <= words))
