"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from ragcore.contracts import Runner

__all__ = [
    "JsonOption",
    "OnOption",
    "OnSettingsOption",
    "OverridesArgument",
    "PipelineArgument",
    "StoreArgument",
    "is_override",
    "runner_on",
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


def runner_on(on: str | None, settings: Sequence[str] | None) -> Runner | None:
    """Return the runner that `--on` names, or None where it names none.

    Raises:
        ConfigError: there are settings of none, or one is wrong.
        UnknownComponentError: no plugin provides it.
    """
    if on is None:
        if settings:
            from ragcore.errors import ConfigError

            raise ConfigError(
                f"--on-option {settings[0]} without --on: say of what it is a setting, such as "
                "--on processes"
            )
        return None
    from ragcore.distributed import load_runner

    return load_runner(on, *(settings or ()))


_OVERRIDE: Final = re.compile(r"[\w-]+(\.[\w-]+)+=|[\w-]+=[{\[]")


def is_override(argument: str) -> bool:
    """Return whether an argument begins as a change to the file: rag.k= or generator={."""
    return _OVERRIDE.match(argument) is not None
