"""`ragcore plugins`: what is installed, what each plugin gives, and what to do where one fails."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from ragcore.registry.discovery import PluginReport, registry

__all__ = ["app"]

app = typer.Typer(add_completion=False)

_STYLES = {"ok": "green", "slow": "yellow", "conflicting": "yellow", "broken": "red"}


@app.command()
def plugins(
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON list, one object a plugin.")
    ] = False,
) -> None:
    """List the plugins: name, package, version, status, and the names that each gives."""
    reports = registry().reports
    if as_json:
        said = [dataclasses.asdict(report) for report in reports]
        print(json.dumps(said, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("plugin", "package", "version", "status"):
        table.add_column(column, no_wrap=True)
    table.add_column("gives, or what to do", overflow="fold")
    for report in reports:
        status = Text(report.status, style=_STYLES[report.status])
        gives = Text(_gives(report))
        if report.detail:
            gives = Text(report.detail, style=_STYLES[report.status]).append(
                f"\n{gives}" if gives else "", style="default"
            )
        table.add_row(report.name, report.package, report.version, status, gives)
    Console(highlight=False).print(table)


def _gives(report: PluginReport) -> str:
    return "\n".join(f"{kind} {', '.join(names)}" for kind, names in report.components.items())
