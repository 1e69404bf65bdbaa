"""`ragcore memory compare`: which answers another version of the memory changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from rich.text import Text

    from ragcore.evaluation.comparison import Comparison, Pair, Side, Tally

__all__ = ["compare", "share"]


def compare(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's YAML file.")],
    questions: Annotated[
        str, typer.Argument(help="JSON lines, each with question, and answers if they are known.")
    ],
    old: Annotated[str, typer.Argument(help="A version's name.")],
    new: Annotated[str, typer.Argument(help="Another's.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the file: rag.k=10 rag.marginalize=sequence"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as a page that stands alone.")
    ] = None,
) -> None:
    """Ask two versions the same questions: what changes, on what, and which is right more often."""
    from rich.console import Console

    from ragcore.config import load_config
    from ragcore.errors import ConfigError
    from ragcore.evaluation.comparison import compare as ask_both
    from ragcore.questions import read_asked
    from ragcore.views.comparison_html import comparison_html

    if html is not None and not html.parent.is_dir():
        # Told before the generator is loaded and all questions are asked.
        raise ConfigError(f"--html {html}: there is no folder {html.parent}: make it first")
    asked = read_asked(questions)
    config = load_config(pipeline, overrides or ())
    with _bar() as progress:
        found = ask_both(config, asked, old, new, progress=progress)
    if html is not None:
        html.write_text(comparison_html(found), encoding="utf-8")
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    console = Console()
    for pair in found.changed:
        console.print(_pair(found, pair))
        console.print()
    console.print(_summary(found))
    if html is not None:
        console.print(f"\nwritten to {html}", highlight=False, markup=False, soft_wrap=True)


def share(part: int, whole: int) -> str:
    """A share as people read it, with its counts; a dash where there is nothing to divide."""
    return f"{part / whole:.1%} ({part}/{whole})" if whole else "–"


def _pair(found: Comparison, pair: Pair) -> RenderableType:
    """One question whose answer changes."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    table.add_column("", width=1)
    table.add_column("version", no_wrap=True)
    table.add_column("answer", ratio=2)
    table.add_column("log p", justify="right", no_wrap=True)
    table.add_column("of other", justify="right", no_wrap=True)
    table.add_column("passage of highest posterior", ratio=3, overflow="ellipsis", no_wrap=True)
    for version, side in ((found.old, pair.old), (found.new, pair.new)):
        table.add_row(
            "",
            Text(version),
            _answer(side),
            f"{side.log_prob:.3f}",
            f"{side.other_log_prob:.3f}",
            _best(side),
        )
    return Group(Text(pair.question, style="bold"), table)


def _answer(side: Side) -> Text:
    from rich.text import Text

    style = {None: "bold", True: "bold green", False: "bold red"}[side.correct]
    return Text(side.text or "(an empty answer)", style=style)


def _best(side: Side) -> Text:
    """The passage that says most for an answer, and how many only this version found."""
    from rich.text import Text

    best = side.best
    if best is None:
        return Text("none: the generator alone", style="yellow")
    line = Text(f"{best.posterior:.2f} ", style="dim")
    line.append(best.title or best.id, style="cyan")
    alone = sum(one.alone for one in side.passages)
    line.append(f"  {alone}/{len(side.passages)} only here", style="dim")
    return line


def _summary(found: Comparison) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("version")
    for name in ("exact match", f"recall@{found.k}"):
        table.add_column(name, justify="right")
    for version, tally in ((found.old, found.old_tally), (found.new, found.new_tally)):
        table.add_row(Text(version), *_shares(tally))
    count = len(found.pairs)
    told = f"{share(len(found.changed), count)} of the answers change"
    return Group(Text(told, style="bold"), table)


def _shares(tally: Tally) -> tuple[str, str]:
    return share(tally.correct, tally.with_answers), share(tally.recalled, tally.with_gold)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("asking", total=None)

        def report(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield report
