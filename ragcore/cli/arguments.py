"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

__all__ = [
    "JsonOption",
    "OnOption",
    "OnSettingsOption",
    "OverridesArgument",
    "PipelineArgument",
    "StoreArgument",
    "is_override",
]

PipelineArgument = Annotated[str, typer.Argument(help="The pipeline's YAML file.")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the file: rag.k=10 rag.marginalize=sequence"),
]
StoreArgument = Annotated[
    str, typer.Argument(metavar="STORE", help="The store's folder, or a pipeline's YAML file.")
]
OnOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Where to work: processes, or what a plugin provides, such as ray; else in this "
        "process.",
    ),
]
OnSettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE", help="A setting of --on, such as workers=4; may be repeated."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_OVERRIDE: Final = re.compile(r"[\w-]+(\.[\w-]+)+=|[\w-]+=[{\[]")


def is_override(argument: str) -> bool:
    """Return whether an argument begins as a change to the file: rag.k= or generator={."""
    return _OVERRIDE.match(argument) is not None
