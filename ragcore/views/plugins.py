"""Show the installed plugins in a terminal: what each provides, or what to do where one fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import RenderableType
from rich.text import Text

from ragcore.views.tables import plain_table

if TYPE_CHECKING:
    from ragcore.registry.discovery import PluginReport

__all__ = ["plugins_view"]

_STYLES: Final = {"ok": "green", "slow": "yellow", "conflicting": "yellow", "broken": "red"}


def plugins_view(reports: Sequence[PluginReport]) -> RenderableType:
    """Show each plugin with its package, version, status, and the names that it provides."""
    table = plain_table("plugin", "package", "version", "status")
    for column in table.columns:
        column.no_wrap = True
    table.add_column("provides, or what to do", overflow="fold")
    for report in reports:
        style = _STYLES[report.status]
        details = Text(report.detail, style=style)
        names = [f"{kind} {', '.join(names)}" for kind, names in report.components.items()]
        if report.detail and names:
            details.append("\n")
        details.append("\n".join(names), style="default")
        status = Text(report.status, style=style)
        table.add_row(report.name, report.package, report.version, status, details)
    return table
