"""`ragcore verify`: compare a served answer's log p with the one that the definition gives."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from ragcore.cli.arguments import JsonOption, OverridesArgument, PipelineArgument
from ragcore.views.output import print_json

__all__ = ["app"]

_FINE: Final = 1e-3
_COARSE: Final = 0.05
"""Sums in another order are rounded to other neighbours, in each layer."""

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    pipeline: PipelineArgument,
    question: Annotated[str, typer.Argument(help="The question to answer and to check.")],
    overrides: OverridesArgument = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="The largest gap in log p that passes: 0.001, or 0.05 where the generator's "
            "weights are coarser than float32.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer, then recompute log p passage by passage by the definition; exit code 1 for a gap."""
    from ragcore.evaluation.verification import verify_answer
    from ragcore.rag import load
    from ragcore.views.console import print_view
    from ragcore.views.verification import verification_view

    with load(pipeline, *(overrides or ())) as rag:
        verification = verify_answer(rag, question)
    if tolerance is None:
        exact = verification.answer.dtype in (None, "float32", "float64")
        tolerance = _FINE if exact else _COARSE
    holds = verification.holds(tolerance)
    if as_json:
        row = {**verification.to_dict(), "tolerance": tolerance, "holds": holds}
        print_json(row)
    else:
        print_view(verification_view(verification, tolerance))
    if not holds:
        raise typer.Exit(1)
