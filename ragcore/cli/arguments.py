"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["JsonOption", "OverridesArgument", "PipelineArgument", "StoreArgument"]

PipelineArgument = Annotated[str, typer.Argument(help="The pipeline's YAML file.")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the file: rag.k=10 rag.marginalize=sequence"),
]
StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", help="The store's folder, or a pipeline's YAML file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
