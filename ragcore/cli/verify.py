"""`ragcore verify`: whether a served answer's log p is the one that the definition gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ragcore.evaluation.verification import Verification

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's YAML file.")],
    question: Annotated[str, typer.Argument(help="The question to answer and to check.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the file: rag.k=10 rag.marginalize=sequence"),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="The largest gap in log p that is let pass.")
    ] = 1e-3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Answer, then recompute log p passage by passage by the definition; exit code 1 for a gap."""
    from rich.console import Console

    from ragcore.evaluation.verification import verify_answer
    from ragcore.rag import load

    with load(pipeline, *(overrides or ())) as rag:
        found = verify_answer(rag, question)
    holds = found.holds(tolerance)
    if as_json:
        row = {**found.to_dict(), "tolerance": tolerance, "holds": holds}
        print(json.dumps(row, ensure_ascii=False))
    else:
        Console().print(_view(found, tolerance))
    if not holds:
        raise typer.Exit(1)


def _view(found: Verification, tolerance: float) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    answer = found.answer
    head = Text()
    head.append(answer.question, style="bold")
    head.append("\n  ")
    head.append(answer.text or "(an empty answer)", style="bold green")
    head.append(f"   memory {answer.memory}", style="dim")
    head.append(f"\n  log p served      {answer.log_prob:.6f}")
    head.append(f"\n  log p recomputed  {found.log_prob:.6f}")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1)
    table.add_column("log p(y|x,z)", justify="right")
    table.add_column("prior", justify="right")
    table.add_column("posterior", justify="right")
    table.add_column("passage", overflow="ellipsis", no_wrap=True)
    for one in found.readings:
        passage = one.passage
        table.add_row(
            "",
            f"{one.log_prob:.4f}",
            f"{one.prior:.4f}",
            f"{one.posterior:.4f}",
            # As text, so that brackets in a title are not markup.
            Text("none: the generator alone" if passage is None else passage.title or passage.id),
        )
    holds = found.holds(tolerance)
    verdict = Text(
        f"  gap {found.gap:.2e}, {'within' if holds else 'NOT within'} {tolerance:g}",
        style="green" if holds else "bold red",
    )
    return Group(head, table, verdict)
