"""`ragcore train`: fine-tune question encoder and generator through the marginal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragcore.cli.progress import training_bar

if TYPE_CHECKING:
    from pathlib import Path

    from ragcore.config.training import QuestionsConfig

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
        bool, typer.Option("--resume", help="Continue from the last checkpoint in train.output.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what is in train.output, and start over.")
    ] = False,
) -> None:
    """Train through the marginal, and write a pipeline's folder for `ragcore ask`."""
    from ragcore.config import load_config
    from ragcore.errors import ConfigError
    from ragcore.evaluation.choosing import make_metrics
    from ragcore.training import train as fine_tune
    from ragcore.views.console import TerminalConsole

    if resume and fresh:
        raise ConfigError("--resume continues and --fresh starts over: give one of them")
    config = load_config(pipeline, overrides or ())
    if config.train is not None and config.train.dev is not None:
        # What measuring `dev` lacks is known before hours of training.
        make_metrics()
    console = TerminalConsole(stderr=True)
    with training_bar(console) as report:
        trained = fine_tune(config, resume=resume, fresh=fresh, report=report)
    if not trained.first:
        return
    summary = f"{trained.steps} steps"
    if trained.stopped_early:
        summary += ", stopped early"
    if trained.best is not None:
        summary += f"; best after {trained.best.step}: exact match {trained.best.exact_match:.1%}"
        summary += f", recall {trained.best.recall:.1%}"
    if config.train is not None and config.train.dev is not None:
        _evaluate(trained.folder, config.train.dev)
        folder = trained.folder / "evaluation"
        summary += f"\nits answers to dev: {folder} (ragcore replay {trained.folder})"
    console.print(f"{summary}\nask it: ragcore ask {trained.folder} …")


def _evaluate(folder: Path, questions: QuestionsConfig) -> None:
    """Answer `dev` with the pipeline in the folder, as `ragcore replay` will load it."""
    from ragcore.evaluation.running import evaluate
    from ragcore.questions import read_questions, spread_over
    from ragcore.rag import load

    labelled = read_questions(questions.path, format=questions.format)
    with load(folder) as rag:
        report = evaluate(rag, spread_over(labelled, questions.limit))
    report.write(folder / "evaluation", folder, (), questions)
