"""`ragcore train`: fine-tune question encoder and generator through the marginal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from ragcore.config.training import QuestionsConfig
    from ragcore.training import DevScores, TrainingStep

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def train(
    pipeline: Annotated[
        str, typer.Argument(help="The pipeline's YAML file, with a section 'train'.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the file: train.steps=2000 rag.marginalize=sequence"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in train.output.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, and remove what is in train.output.")
    ] = False,
) -> None:
    """Train through the marginal; what comes out is a folder that `ragcore ask` takes."""
    from rich.console import Console

    from ragcore.config import load_config
    from ragcore.errors import ConfigError
    from ragcore.training import train as fine_tune

    if resume and fresh:
        raise ConfigError("--resume goes on and --fresh begins anew: give one of them")
    config = load_config(pipeline, overrides or ())
    console = Console(stderr=True)
    with _shown(console) as report:
        done = fine_tune(config, resume=resume, fresh=fresh, report=report)
    if not done.first:
        return
    best = done.best
    said = f"{done.steps} steps"
    if done.stopped_early:
        said += ", stopped early"
    if best is not None:
        said += f"; best after {best.step}: exact match {best.exact_match:.1%}"
        said += f", recall {best.recall:.1%}"
    if config.train is not None and config.train.dev is not None:
        _evaluate(done.folder, config.train.dev)
        said += f"\nits answers to dev: {done.folder / 'evaluation'} (ragcore replay {done.folder})"
    console.print(f"{said}\nask it: ragcore ask {done.folder} …", highlight=False, markup=False)


def _evaluate(folder: Path, questions: QuestionsConfig) -> None:
    """Answer `dev` with what was kept, loaded from the folder, so that it can be replayed."""
    from ragcore.evaluation.running import evaluate
    from ragcore.questions import read_questions, spread_over
    from ragcore.rag import load

    asked = read_questions(questions.path, format=questions.format)
    with load(folder) as rag:
        report = evaluate(rag, spread_over(asked, questions.limit))
    report.write(folder / "evaluation", folder, (), questions)


@contextmanager
def _shown(console: object) -> Iterator[Callable[[TrainingStep | DevScores], None]]:
    """A bar with what the last step and the last look at `dev` said; looks stay as lines."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from ragcore.training import DevScores

    assert isinstance(console, Console)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=None, said="")
        looked = ""

        def report(event: TrainingStep | DevScores) -> None:
            nonlocal looked
            if isinstance(event, DevScores):
                looked = f" · exact match {event.exact_match:.1%}"
                progress.console.print(
                    f"step {event.step}: exact match {event.exact_match:.1%}, recall "
                    f"{event.recall:.1%}{', the best so far' if event.best else ''}",
                    highlight=False,
                )
                return
            said = f"loss {event.loss:.3f} · recall {event.recall:.0%}{looked}"
            progress.update(bar, total=event.steps, completed=event.step, said=said)

        yield report
