"""Remove versions that are no longer needed, and orphans of killed processes.

Knows which versions stay; knows nothing of what they hold. A version is renamed before its files
are removed, so that a process killed meanwhile leaves no half version: the next run removes the
rest.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ragcore.contracts import Retriever
from ragcore.disk.atomic import files_below, locked, sync, try_lock, writing
from ragcore.errors import StoreCorruptError, StoreError
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.layout import TRASH
from ragcore.store.remote import Left, drop_data, uncertain
from ragcore.store.shared_tables import check_deleted, note_deleted, note_moved, unshared
from ragcore.store.staging import orphans, unique

__all__ = ["Collected", "collect"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed; with `dry_run`, what would be.

    Attributes:
        removed: names of versions, sorted.
        in_use: names of versions that stay only because a program has them open.
        kept: names of all versions that stay, those in use among them.
        orphans: how many things killed processes have left: unfinished versions, vectors worked
            out for them, versions that were being removed, files that were to replace others.
        bytes: how much disk space that frees; files that other versions share are not counted.
        broken: names of the removed versions whose manifest is broken.
        remote: how many tables in databases were dropped with them.
        left: what stays of them in databases, and why; the next `collect` tries again.
    """

    removed: tuple[str, ...]
    in_use: tuple[str, ...]
    kept: tuple[str, ...]
    orphans: int
    bytes: int
    broken: tuple[str, ...] = ()
    remote: int = 0
    left: tuple[Left, ...] = ()


def collect(
    catalog: Catalog,
    keep: int,
    *,
    retriever: ComponentSpec[Retriever] | None,
    dry_run: bool,
    deleted: Sequence[Path] = (),
) -> Collected:
    """Remove all versions but `keep`, and orphans; see `Store.gc`."""
    if keep < 1:
        raise StoreError(f"gc was to keep {keep} versions: keep one or more")
    if not catalog.versions.is_dir():
        return Collected((), (), (), 0, 0)
    if dry_run:
        check_deleted(catalog, deleted)
    doomed: list[Path] = []
    removed, in_use = [], []
    # A lock belongs to the folder, not to its name, and lasts until the files are removed.
    with writing(catalog.folder), ExitStack() as locks:
        if not dry_run:
            note_deleted(catalog, deleted)
            note_moved(catalog)
        with locked(catalog.lock):
            for orphan, lock in orphans(catalog):
                locks.callback(os.close, lock)
                doomed.append(orphan)
            half_written = catalog.half_written()
            orphan_count = len(doomed) + len(half_written)
            names = catalog.names()
            unneeded, broken = _unneeded(catalog, names, keep)
            for name in unneeded:
                version_lock = try_lock(catalog.versions / name)
                if version_lock is None:
                    in_use.append(name)
                    continue
                locks.callback(os.close, version_lock)
                removed.append(name)
                doomed.append(catalog.versions / name)
            if not dry_run:
                doomed = [_move_to_trash(folder) for folder in doomed]
                sync(catalog.versions)
                for path in half_written:
                    path.unlink()
            # No other folder can come to use them: each pointer is copied from one that stays.
            remote = unshared(catalog, doomed, deleted)
        left = uncertain(remote) if dry_run else drop_data(catalog, remote, retriever)
        staying = {each.root for each in left}
        doomed = [folder for folder in doomed if folder not in staying]
        freed = _freed_bytes(doomed)
        if not dry_run:
            for folder in doomed:
                shutil.rmtree(folder)
    return Collected(
        removed=tuple(removed),
        in_use=tuple(in_use),
        kept=tuple(name for name in names if name not in removed),
        orphans=orphan_count,
        bytes=freed,
        broken=tuple(name for name in removed if name in broken),
        remote=len(remote) - len(left),
        left=tuple(left),
    )


def _unneeded(catalog: Catalog, names: list[str], keep: int) -> tuple[list[str], set[str]]:
    """List the versions that need not stay: not current, not `rollback`'s, not among the newest.

    Returns:
        These versions, and those of them whose manifest is broken.
    """
    finished, broken, unknown = {}, set(), set()
    for name in names:
        try:
            finished[name] = catalog.manifest(name).finished
        except StoreCorruptError:
            broken.add(name)
        except StoreError:
            # Of a later release, which knows what it holds.
            unknown.add(name)
    newest = sorted(finished, key=lambda name: (finished[name], name), reverse=True)
    current = catalog.current()
    by_need = dict.fromkeys([current, catalog.previous(), *newest])
    needed = set([name for name in by_need if name in names][:keep])
    # The current version stays whatever its state: only an activation takes it out of use.
    broken.discard(current or "")
    return [name for name in names if name not in needed | unknown], broken


def _move_to_trash(folder: Path) -> Path:
    """Rename a version's folder to a name that no version has; return the new path."""
    if folder.name.startswith("."):
        return folder
    trash = folder.with_name(unique(f"{TRASH}{folder.name}"))
    os.rename(folder, trash)
    return trash


def _freed_bytes(folders: Iterable[Path]) -> int:
    """Add up the sizes of files that have no name outside these folders."""
    links: Counter[tuple[int, int]] = Counter()
    status_of = {}
    for folder in folders:
        for path in files_below(folder):
            status = path.stat()
            inode = (status.st_dev, status.st_ino)
            links[inode] += 1
            status_of[inode] = status
    return sum(
        status.st_size for inode, status in status_of.items() if links[inode] >= status.st_nlink
    )
