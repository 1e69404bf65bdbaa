"""Removing versions that nobody needs any more, and what killed processes have left.

Knows which versions are to stay. One that goes is renamed first, so that whoever is killed while
its files are removed leaves no half version: the rest of it goes the next time.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ragcore.disk.atomic import files_below, locked, sync, try_lock
from ragcore.errors import StoreError
from ragcore.store.build import TRASH, orphans
from ragcore.store.catalog import Catalog

__all__ = ["Collected", "collect"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be.

    Attributes:
        removed: names of versions, sorted.
        in_use: names of versions that would have been removed, were they not open in a program.
        kept: names of all versions that stay, those in use among them.
        orphans: what killed processes have left, and how many: builds, what they had encoded,
            versions that were being removed, files that were to replace others.
        bytes: what the disk has gained; files that other versions share are not counted.
    """

    removed: tuple[str, ...]
    in_use: tuple[str, ...]
    kept: tuple[str, ...]
    orphans: int
    bytes: int


def collect(catalog: Catalog, keep: int, *, dry_run: bool) -> Collected:
    """Remove all versions but `keep`, and orphans; see `Store.gc`."""
    if keep < 1:
        raise StoreError(f"gc was to keep {keep} versions: keep one or more")
    if not catalog.versions.is_dir():
        return Collected((), (), (), 0, 0)
    doomed: list[tuple[Path, int]] = []
    in_use, removed = [], []
    try:
        with locked(catalog.lock):
            left = list(orphans(catalog.versions))
            half = catalog.half_written()
            doomed += left
            names = catalog.names()
            for name in _unneeded(catalog, names, keep):
                folder = catalog.versions / name
                held = try_lock(folder)
                if held is None:
                    in_use.append(name)
                    continue
                removed.append(name)
                doomed.append((folder, held))
            if not dry_run:
                # The locks, held until the files are gone, are the folders' and not their names'.
                doomed = [(_thrown_away(folder), held) for folder, held in doomed]
                sync(catalog.versions)
                for path in half:
                    path.unlink()
        freed = _room([folder for folder, _ in doomed])
        if not dry_run:
            for folder, _ in doomed:
                shutil.rmtree(folder)
    finally:
        for _, held in doomed:
            os.close(held)
    return Collected(
        removed=tuple(removed),
        in_use=tuple(in_use),
        kept=tuple(name for name in names if name not in removed),
        orphans=len(left) + len(half),
        bytes=freed,
    )


def _unneeded(catalog: Catalog, names: list[str], keep: int) -> list[str]:
    """All versions but those that are to stay."""
    newest = sorted(names, key=lambda name: (catalog.manifest(name).created, name), reverse=True)
    wanted = dict.fromkeys([catalog.current(), catalog.previous(), *newest])
    stay = [name for name in wanted if name in set(names)][:keep]
    return [name for name in names if name not in stay]


def _thrown_away(folder: Path) -> Path:
    """The folder under a name that no version has."""
    if folder.name.startswith("."):
        return folder
    thrown = folder.with_name(f"{TRASH}{folder.name}-{uuid.uuid4().hex[:8]}")
    os.rename(folder, thrown)
    return thrown


def _room(folders: Iterable[Path]) -> int:
    """The bytes that are free when these folders are gone: files with no names elsewhere."""
    names: Counter[tuple[int, int]] = Counter()
    about = {}
    for folder in folders:
        for path in files_below(folder):
            found = path.stat()
            key = (found.st_dev, found.st_ino)
            names[key] += 1
            about[key] = found
    return sum(found.st_size for key, found in about.items() if names[key] >= found.st_nlink)
