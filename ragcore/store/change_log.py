"""Log what happens to the versions of a store, at level INFO of `ragcore.store`.

Knows what a message says, and its values by name; knows nothing of how versions are made.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ragcore.process.log_fields import fields

if TYPE_CHECKING:
    from ragcore.store.info import BuildInfo, CompactInfo, UpdateInfo, VersionInfo

__all__ = [
    "log_activated",
    "log_built",
    "log_collected",
    "log_compacted",
    "log_imported",
    "log_updated",
]

_LOG: Final = logging.getLogger("ragcore.store")


def log_activated(store: Path, old: str | None, new: str) -> None:
    """Log that a version became the current one."""
    _LOG.info(
        "store %s: version %r is the current one, before it %r",
        store,
        new,
        old,
        extra=fields(event="activate", store=str(store), old=old, new=new),
    )


def log_built(store: Path, info: BuildInfo, seconds: float) -> None:
    """Log that a version was built, and how long that took."""
    _LOG.info(
        "store %s: built version %r, %d passages, %d bytes, %.2f s",
        store,
        info.name,
        info.passages,
        info.bytes,
        seconds,
        extra=fields(
            event="build",
            store=str(store),
            version=info.name,
            passages=info.passages,
            bytes=info.bytes,
            seconds=seconds,
        ),
    )


def log_updated(store: Path, info: UpdateInfo) -> None:
    """Log that a version was derived from another, or that nothing changed."""
    _LOG.info(
        "store %s: updated version %r to %r, %d added, %d changed, %d removed, %.2f s",
        store,
        info.parent,
        info.name,
        info.added,
        info.changed,
        info.removed,
        info.seconds,
        extra=fields(
            event="update",
            store=str(store),
            parent=info.parent,
            version=info.name,
            added=info.added,
            changed=info.changed,
            removed=info.removed,
            seconds=info.seconds,
        ),
    )


def log_compacted(store: Path, info: CompactInfo) -> None:
    """Log that a compact version was derived from another, or that there was nothing to do."""
    _LOG.info(
        "store %s: compacted version %r to %r, %d segments of %d, %d removed rows of %d, %.2f s",
        store,
        info.parent,
        info.name,
        info.segments,
        info.parent_segments,
        info.removed,
        info.parent_removed,
        info.seconds,
        extra=fields(
            event="compact",
            store=str(store),
            parent=info.parent,
            version=info.name,
            segments=info.segments,
            removed=info.removed,
            seconds=info.seconds,
        ),
    )


def log_imported(store: Path, info: VersionInfo) -> None:
    """Log that a version was added from a file."""
    _LOG.info(
        "store %s: imported version %r, %d passages",
        store,
        info.name,
        info.passages,
        extra=fields(event="import", store=str(store), version=info.name, passages=info.passages),
    )


def log_collected(store: Path, removed: tuple[str, ...], orphans: int, freed: int) -> None:
    """Log which versions were deleted.

    Args:
        store: its folder.
        removed: names of the versions.
        orphans: how many leftovers of interrupted builds went with them.
        freed: bytes.
    """
    _LOG.info(
        "store %s: deleted versions %s and %d leftovers, %d bytes",
        store,
        ", ".join(removed) or "none",
        orphans,
        freed,
        extra=fields(
            event="gc", store=str(store), removed=list(removed), orphans=orphans, bytes=freed
        ),
    )
