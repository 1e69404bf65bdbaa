"""`ragcore memory plan`: what a memory of some size will take, before it is built."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ragcore.cli.arguments import JsonOption
from ragcore.views.output import print_json

if TYPE_CHECKING:
    from ragcore.planning.layout import IndexKind
    from ragcore.planning.plan import Plan

__all__ = ["plan"]

_GB: Final = 1e9


def plan(
    passages: Annotated[int, typer.Option(min=1, help="How many passages there are.")],
    index: Annotated[
        list[str] | None,
        typer.Option(
            help="flat, sq8, ivf, ivf-pq, hnsw, bm25, pgvector, pgvector-half, pgvector-hnsw, "
            "milvus, milvus-hnsw, or all; repeat it to compare. Else flat."
        ),
    ] = None,
    dim: Annotated[int, typer.Option(min=1, help="The length of a vector.")] = 768,
    encoder: Annotated[
        str | None, typer.Option(help="Whose rate of encoding counts; an unknown one lists all.")
    ] = None,
    text_bytes: Annotated[
        float | None,
        typer.Option(
            min=1, help="Bytes of a passage, on average; else those of the rates' corpus."
        ),
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Of each machine; else as many as this one has.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="Of each machine, for encoding.")] = 0,
    workers: Annotated[
        int, typer.Option(min=1, help="Machines that build a shard each, for `memory merge`.")
    ] = 1,
    ram: Annotated[
        float | None, typer.Option(min=0, help="Memory of a machine in GB, to warn above it.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of a machine for an hour, for the cost.")
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON of your own rates, as benchmarks/scale.py writes them."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print how long a memory would take to build, and its memory and disk at each stage.

    Nothing is read or built. Each figure names its source: measured, a formula, or literature.
    """
    from ragcore.planning.plan import Task, make_plan
    from ragcore.planning.rates import load_rates
    from ragcore.process.cpus import usable_cpus
    from ragcore.views.console import print_view
    from ragcore.views.plan import plan_view, plans_view

    known = load_rates(rates)
    plans = [
        make_plan(
            Task(
                passages=passages,
                kind=kind,
                dim=dim,
                encoder=encoder,
                text_bytes=text_bytes,
                cores=cores or usable_cpus(),
                gpus=gpus,
                workers=workers,
                ram=None if ram is None else ram * _GB,
                price=price,
            ),
            known,
        )
        for kind in _kinds(index or ["flat"])
    ]
    if as_json:
        print_json({"plans": [_plan_row(each) for each in plans]})
        return
    print_view(plan_view(plans[0]) if len(plans) == 1 else plans_view(plans))


def _kinds(names: list[str]) -> list[IndexKind]:
    """Return the kinds of index of these names, each once.

    Raises:
        ConfigError: there is no such kind.
    """
    from ragcore.errors import ConfigError, nearest
    from ragcore.planning.layout import INDEX_KINDS

    if "all" in names:
        return list(INDEX_KINDS)
    kinds: dict[IndexKind, None] = {}
    for name in names:
        kind = next((each for each in INDEX_KINDS if each == name), None)
        if kind is None:
            close = nearest(name, INDEX_KINDS)
            hint = f" (did you mean {close!r}?)" if close else ""
            raise ConfigError(
                f"--index {name[:40]!r}: no kind of index that can be planned{hint}: expected "
                f"{', '.join(INDEX_KINDS)}, or all"
            )
        kinds[kind] = None
    return list(kinds)


def _plan_row(made: Plan) -> dict[str, Any]:
    """Return a plan as JSON shows it."""
    row = asdict(made)
    row["hours"] = None if made.seconds is None else made.seconds / 3600
    return row
