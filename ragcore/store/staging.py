"""Working folders in `versions`: where a version is written before it is renamed into place.

Knows how these folders come, are locked and go; knows nothing of what is written into them. The
process that works in one holds its lock, so that an unlocked one is an orphan: what a killed
process left, which never looks like a version. The next build or `gc` removes orphans.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from ragcore.contracts import Retriever, ScratchUser, supports
from ragcore.disk.atomic import files_below, locked, try_lock
from ragcore.disk.remote import pointers_below
from ragcore.errors import VersionExistsError
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.layout import BUILDING, SCRATCH, TRASH
from ragcore.store.progress import Progress
from ragcore.store.remote import Left, drop_unshared, raise_left, warn_left

__all__ = [
    "Staging",
    "VersionBusyError",
    "orphans",
    "remove_half_versions",
    "scratch_folder",
    "staging_folder",
    "unique",
]

_UNIQUE: Final = r"-[0-9a-f]{8}"
"""What `unique` adds to a name."""


class VersionBusyError(VersionExistsError):
    """A version of this name is being made by another program."""


class Staging(NamedTuple):
    """Where a version is written, and the name that it will have."""

    folder: Path
    version: str


@contextmanager
def staging_folder(
    catalog: Catalog,
    version: str | None,
    *,
    retriever: ComponentSpec[Retriever] | None,
    replaces: bool = False,
) -> Iterator[Staging]:
    """Make a folder to write a version in, locked; it is removed unless it was put in place.

    So are data in databases that only it leads to. What cannot be dropped stays, with the folder,
    for the next `gc`.

    Its name claims the version's, so that another program that begins to make the same version is
    refused before it has worked. Orphans of builds are removed first.

    Args:
        catalog: of the store, whose folders exist.
        version: the name that the version will have; where None today's date, with a number behind
            it where that is taken.
        retriever: whose settings say how to reach its databases; as versions record it where None.
        replaces: whether it takes the place of the version of this name.

    Raises:
        StoreError: the name has other characters than allowed.
        VersionExistsError: there is a version of this name.
        VersionBusyError: one is being made.
    """
    with locked(catalog.lock):
        warn_left(catalog, _remove_orphans(catalog, retriever, BUILDING))
        claimed = _claimed(catalog)
        if version is None:
            version = catalog.free_name(date.today().isoformat(), claimed)
        if not replaces:
            catalog.refuse_name(version)
        if version in claimed:
            raise VersionBusyError(
                f"store {catalog.folder}: version {version!r} is being made by another program: "
                "wait for it, or choose another name"
            )
        staging = catalog.versions / unique(f"{BUILDING}{version}")
        staging.mkdir()
        lock = try_lock(staging)
    left: list[Left] = []
    try:
        yield Staging(staging, version)
    except BaseException:
        # The error of the block is the one to raise; what cannot be removed is an orphan.
        warn_left(catalog, _remove_staging(catalog, staging, retriever, ignore_errors=True))
        raise
    else:
        left = _remove_staging(catalog, staging, retriever, ignore_errors=True)
    finally:
        if lock is not None:
            os.close(lock)
    raise_left(left)


def remove_half_versions(catalog: Catalog, retriever: ComponentSpec[Retriever] | None) -> None:
    """Remove what killed processes have left of versions: made, exchanged or removed by half.

    Args:
        catalog: of the store.
        retriever: as for `staging_folder`.

    Raises:
        StoreError: something of it stays in a database.
    """
    with locked(catalog.lock):
        left = _remove_orphans(catalog, retriever, BUILDING, TRASH)
    raise_left(left)


def _remove_staging(
    catalog: Catalog,
    staging: Path,
    retriever: ComponentSpec[Retriever] | None,
    *,
    ignore_errors: bool,
) -> list[Left]:
    """Remove a folder that was not put in place, or was replaced; return what stays of it."""
    if not staging.exists():
        return []
    with locked(catalog.lock):
        left = drop_unshared(catalog, [staging], retriever)
        if not left:
            shutil.rmtree(staging, ignore_errors=ignore_errors)
    return left


def _remove_orphans(
    catalog: Catalog, retriever: ComponentSpec[Retriever] | None, *prefixes: str
) -> list[Left]:
    """Remove orphans whose names begin so; the caller holds the store's lock.

    Returns:
        What stays, since data in a database could not be dropped.
    """
    left = []
    for orphan, lock in orphans(catalog, *prefixes):
        try:
            kept = drop_unshared(catalog, [orphan], retriever)
            if not kept:
                shutil.rmtree(orphan)
            left += kept
        finally:
            os.close(lock)
    return left


def _claimed(catalog: Catalog) -> set[str]:
    """Return the names of the versions that are being made."""
    pattern = re.compile(re.escape(BUILDING) + "(.+)" + _UNIQUE)
    names = (path.name for path in catalog.versions.glob(f"{BUILDING}*"))
    return {match[1] for name in names if (match := pattern.fullmatch(name))}


@contextmanager
def scratch_folder(
    catalog: Catalog,
    retriever: Retriever,
    *,
    spec: ComponentSpec[Retriever],
    fresh: bool,
    report: Progress,
    parent: str | None = None,
) -> Iterator[None]:
    """Let a retriever with the capability `scratch` keep what it works out until the block ends.

    If the build is interrupted the folder stays, and the next build whose retriever has the same
    fingerprint continues from it, also under another version's name. While another process builds
    with the same fingerprint, nothing is kept. Tables in databases are dropped before the block and
    after it, unless a version has a pointer to them.

    Args:
        catalog: of the store, whose folders exist.
        retriever: no passage was added to it yet.
        spec: of the retriever, whose settings say how to reach its databases.
        fresh: discard what an interrupted build has left.
        report: called with the number of passages that need not be worked out again ("kept").
        parent: the version that is updated; None for a build. What the one leaves, the other does
            not use, nor remove.
    """
    purpose = retriever.fingerprint if parent is None else f"{retriever.fingerprint}\n{parent}"
    digest = blake2b(purpose.encode(), digest_size=8).hexdigest()
    folder = catalog.versions / f"{SCRATCH}{digest}"
    if not supports(retriever, ScratchUser):
        yield
        return
    with locked(catalog.lock):
        folder.mkdir(exist_ok=True)
        lock = try_lock(folder)
    if lock is None:
        yield
        return
    try:
        if fresh:
            # The folder itself stays: the lock is on it.
            with locked(catalog.lock):
                raise_left(drop_unshared(catalog, [folder], spec))
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            _drop_tables(catalog, folder, spec)
        count = retriever.use_scratch(folder)
        # The caller may drop it before the block ends.
        del retriever
        if count:
            report("kept", count, None)
        yield
        warn_left(catalog, _remove_staging(catalog, folder, spec, ignore_errors=False))
    except BaseException:
        _drop_tables(catalog, folder, spec)
        if not any(path.stat().st_size for path in files_below(folder)):
            # While no other process can be between making and locking it.
            with locked(catalog.lock):
                shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _drop_tables(catalog: Catalog, folder: Path, spec: ComponentSpec[Retriever]) -> None:
    """Drop what a build that failed has in databases; vectors in files stay for the next one.

    A version keeps its tables: the build may have been killed when the version was in place.
    """
    with locked(catalog.lock):
        left = drop_unshared(catalog, [folder], spec)
        warn_left(catalog, left)
        if not left:
            for pointer in list(pointers_below(folder)):
                shutil.rmtree(pointer)


def orphans(catalog: Catalog, *prefixes: str) -> Iterator[tuple[Path, int]]:
    """List working folders whose processes have ended, each with its lock.

    Args:
        catalog: of the store; the caller holds its lock.
        prefixes: how the names begin; all kinds of working folders where none is given.

    Yields:
        Folder and the descriptor that locks it; the caller closes the descriptor.
    """
    for prefix in prefixes or (BUILDING, SCRATCH, TRASH):
        for folder in sorted(catalog.versions.glob(f"{prefix}*")):
            lock = try_lock(folder)
            if lock is not None:
                yield folder, lock


def unique(name: str) -> str:
    """Return a name that no other folder has, by adding random digits."""
    return f"{name}-{uuid.uuid4().hex[:8]}"
