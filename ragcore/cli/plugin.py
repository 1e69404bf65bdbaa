"""`ragcore plugin`: hold an installed component to its contract, or begin a new plugin."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ragcore.errors import ConfigError, PluginError, UnknownComponentError
from ragcore.registry.installation import DISTRIBUTION, install_hint

if TYPE_CHECKING:
    from ragcore.testing import Verdict

__all__ = ["app"]

app = typer.Typer(help="Hold a component to its contract, or begin a plugin of your own.")

_KINDS: Final = ("retriever", "index", "encoder", "scorer", "generator", "corpus")
_STYLES: Final = {"passed": "green", "failed": "red", "skipped": "dim"}


@app.command("test")
def examine_(
    name: Annotated[str, typer.Argument(help="A registered name, as after `use:`.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Its settings: factory=HNSW32 index.use=exact")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Its kind, where several have the name.")] = None,
    count: Annotated[
        int | None, typer.Option(min=24, help="Items that the laws add to an index or retriever.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="The recall that it declares; else 0.9.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, one object a law.")] = False,
) -> None:
    """Run the laws of a component's kind on it; no file is written."""
    if importlib.util.find_spec("hypothesis") is None:
        raise PluginError(
            "the laws need the package hypothesis, which is not installed: "
            f"{install_hint(DISTRIBUTION, 'testing')}"
        )
    from ragcore.registry.components import spec_from_dict
    from ragcore.testing import examine
    from ragcore.testing.runner import suite_of

    kind = _kind_of(name, kind)
    suite = suite_of(kind)
    if suite is None:
        raise PluginError(f"there are no laws for kind {kind!r}: expected {', '.join(_KINDS)}")
    part = spec_from_dict(kind, {"use": name, **_nested(settings or [])})
    limits = {"count": count, "recall": recall}
    asked = {key: value for key, value in limits.items() if value is not None}
    for key in asked:
        if not hasattr(suite, key):
            raise ConfigError(f"--{key} is of indexes and retrievers, but {name!r} is a {kind}")
    verdicts = list(examine(type("Examined", (suite,), {"__module__": __name__, **asked}), part))
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in verdicts], indent=2))
    else:
        _print(kind, name, verdicts)
    if any(one.outcome == "failed" for one in verdicts):
        raise typer.Exit(1)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="retriever, index, encoder, scorer or corpus.")],
    name: Annotated[str, typer.Argument(help="What pipeline files will say: my-memory.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where the package goes; else ragcore-NAME.")
    ] = None,
) -> None:
    """Write the package of a plugin, with its class, its test and a workflow that runs it."""
    from ragcore.testing.scaffold import write_plugin

    place = folder or Path(f"ragcore-{name}")
    for path in write_plugin(kind, name, place):
        print(path)
    target = str(place) if place.is_absolute() else f"./{place}"
    print(f"now: pip install -e '{target}[test]' && pytest {target}")


def _kind_of(name: str, kind: str | None) -> str:
    from ragcore.registry.discovery import registry

    found = [one for one in _KINDS if name in registry().names(one)]
    if kind is not None:
        if kind not in found and kind in _KINDS:
            raise UnknownComponentError(registry().unknown(kind, name))
        return kind
    if not found:
        known = sorted({each for one in _KINDS for each in registry().names(one)})
        raise UnknownComponentError(
            f"no plugin gives a component {name!r}: installed: {', '.join(known)}"
        )
    if len(found) > 1:
        raise PluginError(f"{name!r} is a name of {' and '.join(found)}: say which by --kind")
    return found[0]


def _nested(settings: list[str]) -> dict[str, Any]:
    """`index.use=exact` as {"index": {"use": "exact"}}; values as YAML has them."""
    import yaml

    said: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        *outer, last = path.split(".")
        if not equals or not all([*outer, last]):
            raise ConfigError(f"{setting!r} is no setting: write KEY=VALUE, as in index.use=exact")
        inner = said
        for key in outer:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{setting!r}: {key!r} has a value already, so no keys in it")
        try:
            inner[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{setting!r}: not YAML after '=': {error}") from None
    return said


def _print(kind: str, name: str, verdicts: list[Verdict]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("law", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("what was found, and how to mend it", overflow="fold")
    for one in verdicts:
        said = Text(one.reason)
        if one.outcome == "failed":
            said.append(f"\n{one.fix}", style="dim")
        law = one.law.removeprefix("test_").replace("_", " ")
        table.add_row(law, Text(one.outcome, style=_STYLES[one.outcome]), said)
    console = Console(highlight=False)
    console.print(table)
    counts = {outcome: sum(one.outcome == outcome for one in verdicts) for outcome in _STYLES}
    summed = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    console.print(f"{kind} {name!r}: {summed}", markup=False)
