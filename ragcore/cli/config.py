"""`ragcore check`, `fill` and `schema`: what a pipeline file says; nothing of it is built."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from ragcore.config import MemoryConfig, config_schema, fill_config, load_config
from ragcore.errors import UnknownVersionError, nearest
from ragcore.registry.components import ComponentSpec, yaml_key
from ragcore.registry.discovery import registry

__all__ = ["check_app", "fill_app", "schema_app"]

check_app = typer.Typer(add_completion=False)
fill_app = typer.Typer(add_completion=False)
schema_app = typer.Typer(add_completion=False)

Pipeline = Annotated[str, typer.Argument(help="The pipeline's YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the file: rag.k=10 generator.use=t5"),
]


@check_app.command()
def check(pipeline: Pipeline, overrides: Overrides = None) -> None:
    """Check a pipeline file: say what each part is, or every fault with its line."""
    config = load_config(pipeline, overrides or ())
    version = _version(config.memory, pipeline)
    print(f"{pipeline}: ok")
    rows = [
        ("memory.store", str(config.memory.store)),
        ("memory.version", version),
        *((path, f"{part.use} ({_giver(part)})") for path, part in _parts(config, "")),
        ("rag", _rag(config.rag)),
    ]
    if config.generator is None:
        rows.append(("generator", "none: this pipeline can build and search, but not answer"))
    width = max(len(path) for path, _ in rows)
    for path, what in rows:
        print(f"  {path:<{width}}  {what}")


@fill_app.command()
def fill(pipeline: Pipeline, overrides: Overrides = None) -> None:
    """Print a pipeline file with every default written out; secrets stay ${env:NAME}."""
    sys.stdout.write(fill_config(pipeline, overrides or ()))


@schema_app.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, from the plugins that are installed."""
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))


def _version(memory: MemoryConfig, pipeline: str) -> str:
    """Which version the store would open.

    Raises:
        UnknownVersionError: the store has versions, but not the one that the file names.
    """
    from ragcore.store.store import Store

    store = Store(memory.store)
    names = [info.name for info in store.versions()]
    if not names:
        return f"not built yet: ragcore memory build {pipeline}"
    if memory.version is None:
        return f"{store.current()}, the store's current one"
    if memory.version not in names:
        close = nearest(memory.version, names)
        hint = f"did you mean {close!r}? " if close else ""
        raise UnknownVersionError(
            f"{pipeline}: memory.version is {memory.version!r}, which the store {memory.store} "
            f"does not have: {hint}versions: {', '.join(names)}; choose one of them, or build it"
        )
    return memory.version


def _parts(value: object, path: str) -> Iterator[tuple[str, ComponentSpec[Any]]]:
    """Every part in a config with its path, an owner before what it owns."""
    match value:
        case ComponentSpec():
            yield path, value
            yield from _parts(value.config, path)
        case BaseModel():
            for name, field in type(value).model_fields.items():
                yield from _parts(getattr(value, name), _join(path, yaml_key(name, field)))
        case dict():
            for key, item in value.items():
                yield from _parts(item, _join(path, str(key)))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _parts(item, _join(path, str(index)))
        case _:
            pass


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _giver(part: ComponentSpec[Any]) -> str:
    """The package that brings a part, with its version."""
    for report in registry().reports:
        if part.use in report.components.get(part.kind, {}):
            return f"{report.package} {report.version}"
    return "of no package"


def _rag(rag: BaseModel) -> str:
    said = [(name, value) for name, value in rag if value is not None]
    return ", ".join(f"{name} {_one_line(value)}" for name, value in said)


def _one_line(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"({_rag(value)})" if isinstance(value, BaseModel) else str(value)
