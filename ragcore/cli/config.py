"""`ragcore check`, `fill` and `schema`: inspect a pipeline file.

No component is built, unless `check --speed` asks for what only a loaded model knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from ragcore.cli.arguments import PipelineArgument
from ragcore.config import MemoryConfig, config_schema, fill_config, load_config
from ragcore.errors import UnknownVersionError, nearest
from ragcore.registry.components import ComponentSpec, yaml_key
from ragcore.registry.conformance import check_class
from ragcore.registry.discovery import registry
from ragcore.registry.source import check_source
from ragcore.views.output import print_json, print_text

__all__ = ["check_app", "fill_app", "schema_app"]

check_app = typer.Typer(add_completion=False)
fill_app = typer.Typer(add_completion=False)
schema_app = typer.Typer(add_completion=False)

_Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the file: rag.k=10 generator.use=t5"),
]


@check_app.command()
def check(
    pipeline: PipelineArgument,
    overrides: _Overrides = None,
    load: Annotated[
        bool, typer.Option("--load", help="Import each component's class too, which takes longer.")
    ] = False,
    speed: Annotated[
        bool,
        typer.Option(
            "--speed",
            help="Load the models too, and print which types of weights and kernels they use here.",
        ),
    ] = False,
) -> None:
    """Check a pipeline file: list its components, or every error with its line."""
    config = load_config(pipeline, overrides or ())
    version = _version(config.memory, pipeline)
    for _, spec in _specs(config, ""):
        target = registry().target(spec.kind, spec.use)
        if load:
            check_class(spec.kind, spec.use, spec.component)
        elif target is not None:
            check_source(spec.kind, spec.use, target)
    print_text(f"{pipeline}: ok")
    rows = [
        ("memory.store", str(config.memory.store)),
        ("memory.version", version),
        *((path, f"{spec.use} ({_package(spec)})") for path, spec in _specs(config, "")),
        ("rag", _rag(config.rag)),
    ]
    if config.generator is None:
        rows.append(("generator", "none: this pipeline can build and search, but not answer"))
    width = max(len(path) for path, _ in rows)
    for path, description in rows:
        print_text(f"  {path:<{width}}  {description}")
    if speed:
        _print_speed(config)


def _print_speed(config: BaseModel) -> None:
    """Load every component that can report on its speed, one after the other."""
    reports = False
    for path, spec in _specs(config, ""):
        if not callable(getattr(spec.component, "speed_report", None)):
            continue
        component: Any = spec.build()
        print_text(f"{path}: speed")
        for line in component.speed_report():
            print_text(f"  {line}")
        reports = True
    if not reports:
        print_text("no component of this pipeline reports on its speed")


@fill_app.command()
def fill(pipeline: PipelineArgument, overrides: _Overrides = None) -> None:
    """Print a pipeline file with every default; secrets stay ${env:NAME}."""
    print_text(fill_config(pipeline, overrides or ()).removesuffix("\n"))


@schema_app.command()
def schema(
    experiment: Annotated[
        bool, typer.Option("--experiment", help="Print that of experiment files instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of pipeline files, with all installed plugins."""
    if experiment:
        from ragcore.experiments.config import experiment_schema

        print_json(experiment_schema(), indent=2)
        return
    print_json(config_schema(), indent=2)


def _version(memory: MemoryConfig, pipeline: str) -> str:
    """Describe the version that the store would open.

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


def _specs(value: object, path: str) -> Iterator[tuple[str, ComponentSpec[Any]]]:
    """Yield every component of a config with its path, an outer one before those inside it."""
    match value:
        case ComponentSpec():
            yield path, value
            yield from _specs(value.config, path)
        case BaseModel():
            for name, field in type(value).model_fields.items():
                yield from _specs(getattr(value, name), _join(path, yaml_key(name, field)))
        case dict():
            for key, item in value.items():
                yield from _specs(item, _join(path, str(key)))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _specs(item, _join(path, str(index)))
        case _:
            pass


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _package(spec: ComponentSpec[Any]) -> str:
    """Return the package that provides a component, with its version."""
    for report in registry().reports:
        if spec.use in report.components.get(spec.kind, {}):
            return f"{report.package} {report.version}"
    return "no package"


def _rag(rag: BaseModel) -> str:
    fields = [(name, value) for name, value in rag if value is not None and value != ()]
    return ", ".join(f"{name} {_one_line(value)}" for name, value in fields)


def _one_line(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    return f"({_rag(value)})" if isinstance(value, BaseModel) else str(value)
