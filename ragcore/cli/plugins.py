"""`ragcore plugins`: list what is installed and what to do where a plugin fails."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from ragcore.registry.discovery import registry
from ragcore.views.output import print_json

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def plugins(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, one object per plugin.")
    ] = False,
) -> None:
    """List the plugins: name, package, version, status, and the names that each provides."""
    reports = registry().reports
    if as_json:
        rows = [dataclasses.asdict(report) for report in reports]
        print_json(rows, indent=2)
        return
    from ragcore.views.console import print_view
    from ragcore.views.plugins import plugins_view

    print_view(plugins_view(reports))
