"""`ragcore plugin`: test an installed component against its contract, or scaffold a plugin."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ragcore.errors import ConfigError, PluginError, UnknownComponentError
from ragcore.registry.installation import DISTRIBUTION, install_hint
from ragcore.views.output import print_json, print_text

if TYPE_CHECKING:
    from ragcore.testing import Verdict

__all__ = ["app"]

app = typer.Typer(
    help="Test a component against its contract, or scaffold a plugin.", add_completion=False
)

_KINDS: Final = ("retriever", "index", "encoder", "scorer", "generator", "corpus", "passages")
_STYLES: Final = {"passed": "green", "failed": "red", "skipped": "dim"}


@app.command("test")
def examine_(
    name: Annotated[str, typer.Argument(help="A registered name, as after `use:` in a pipeline.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Its settings: factory=HNSW32 index.use=exact")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Its kind, if several kinds have the name.")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=24, help="How many items the laws add to an index or retriever."),
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="The recall that it must reach; else 0.9.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, one object per law.")
    ] = False,
) -> None:
    """Test a component with the laws of its kind; exit code 1 if one fails."""
    if importlib.util.find_spec("hypothesis") is None:
        raise PluginError(
            "the laws need the package hypothesis, which is not installed: "
            f"{install_hint(DISTRIBUTION, 'testing')}"
        )
    from ragcore.config import load_component
    from ragcore.testing import examine
    from ragcore.testing.runner import suite_of

    kind = _kind_of(name, kind)
    if suite_of(kind) is None:
        raise PluginError(_without_suite(kind))
    for setting in settings or ():
        if "=" not in setting:
            raise ConfigError(
                f"{setting!r} is not a setting: write KEY=VALUE, as in index.use=exact"
            )
    spec = load_component(kind, name, settings or ())
    suite = suite_of(kind, spec)
    assert suite is not None, "the kind has a suite"
    options = {"count": count, "recall": recall}
    limits = {key: value for key, value in options.items() if value is not None}
    for key in limits:
        if not hasattr(suite, key):
            raise ConfigError(
                f"--{key} applies to indexes and retrievers, but {name!r} is a {kind}"
            )
    verdicts = list(examine(type("Examined", (suite,), {"__module__": __name__, **limits}), spec))
    if as_json:
        print_json([dataclasses.asdict(verdict) for verdict in verdicts], indent=2)
    else:
        _print(kind, name, verdicts)
    if any(verdict.outcome == "failed" for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def new(
    kind: Annotated[
        str,
        typer.Argument(
            help="retriever, index, encoder, scorer, generator, text-generator, corpus, passages, "
            "metric or command."
        ),
    ],
    name: Annotated[
        str, typer.Argument(help="The name in pipeline files, or of the command: my-memory.")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="The package's folder; else ragcore-NAME.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take the name even if an installed package has it.")
    ] = False,
) -> None:
    """Write the package of a plugin: code that works, its tests, and a CI workflow."""
    from ragcore.testing.scaffold import write_plugin

    package = folder or Path(f"ragcore-{name}")
    for path in write_plugin(kind, name, package, force=force):
        print_text(path)
    target = str(package) if package.is_absolute() else f"./{package}"
    print_text(f"next: pip install -e '{target}[test]' && pytest {target}")


def _kind_of(name: str, kind: str | None) -> str:
    from ragcore.registry.discovery import HOOKS, registry

    kinds = [kind_ for kind_ in _KINDS if name in registry().names(kind_)]
    if kind is not None:
        if kind not in kinds and kind in _KINDS:
            raise UnknownComponentError(registry().unknown(kind, name))
        return kind
    others = [kind_ for kind_ in HOOKS if name in registry().names(kind_)]
    if not kinds and others:
        raise PluginError(f"{name!r} is a {others[0]}: {_without_suite(others[0])}")
    if not kinds:
        raise UnknownComponentError(registry().unknown_everywhere(name, _KINDS))
    if len(kinds) > 1:
        raise PluginError(f"{name!r} names {' and '.join(kinds)}: choose one with --kind")
    return kinds[0]


def _without_suite(kind: str) -> str:
    return f"there are no laws for kind {kind!r}: expected {', '.join(_KINDS)}"


def _print(kind: str, name: str, verdicts: list[Verdict]) -> None:
    from rich.text import Text

    from ragcore.views.console import print_view
    from ragcore.views.tables import plain_table

    table = plain_table()
    table.add_column("law", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("what was found, and how to fix it", overflow="fold")
    for verdict in verdicts:
        details = Text(verdict.reason)
        if verdict.outcome == "failed":
            details.append(f"\n{verdict.fix}", style="dim")
        law = verdict.law.removeprefix("test_").replace("_", " ")
        table.add_row(law, Text(verdict.outcome, style=_STYLES[verdict.outcome]), details)
    print_view(table)
    counts = {
        outcome: sum(verdict.outcome == outcome for verdict in verdicts) for outcome in _STYLES
    }
    summary = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    print_view(f"{kind} {name!r}: {summary}")
