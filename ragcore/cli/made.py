"""Print a version that a command just made, as text or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragcore.cli.stores import version_row
from ragcore.views.output import print_text

if TYPE_CHECKING:
    from ragcore.store.info import BuildInfo, UpdateInfo

__all__ = ["made_row", "print_made", "print_summary"]


def made_row(version: BuildInfo | UpdateInfo) -> dict[str, Any]:
    """Return a version that was just made as JSON shows it."""
    row = version_row(version)
    if version.encodings is None:
        del row["encodings"]
    if not version.cut_passages:
        del row["cut_passages"]
    if not version.summary:
        del row["summary"]
    return row


def print_made(verb: str, version: BuildInfo | UpdateInfo, counts: str = "") -> None:
    """Print a version that was just made, how it was encoded, and whether it is the current one."""
    from ragcore.views.tables import byte_size, counted

    encodings = version.encodings
    encoded = (
        f"; {encodings.encoded:,} encoded, {encodings.from_cache:,} from the cache"
        if encodings is not None
        else ""
    )
    use = "it is the current one" if version.current else "it is not the current one"
    print_text(
        f"{verb} version {version.name}: {counted(version.passages, 'passage')}{counts}, "
        f"{byte_size(version.bytes)}{encoded}; {use}"
    )


def print_summary(version: BuildInfo | UpdateInfo) -> None:
    """Print what the corpus says of its files, such as which it skipped and why."""
    for line in version.summary:
        print_text(line)
