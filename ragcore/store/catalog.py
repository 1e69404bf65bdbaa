"""The catalog of a store: which versions there are, which is the current one, how that changes.

    stores/world/
      CURRENT                     one line: the current version
      HISTORY                     those that were current before it, the latest last
      .lock                       locked while one of these, or the list of versions, changes
      versions/…                  see layout.py

Knows names, manifests and locks; knows nothing of passages and retrievers. Every change is one
rename, so that a process killed at any moment leaves the old state or the new one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final, Self

from ragcore.contracts import PassageStore
from ragcore.disk.atomic import (
    exchange,
    is_open_at,
    lock_shared,
    locked,
    replace_text,
    staging_path,
    sync,
    sync_tree,
)
from ragcore.disk.paths import usable_path
from ragcore.errors import (
    StoreCorruptError,
    StoreError,
    UnknownVersionError,
    VersionExistsError,
)
from ragcore.registry.components import ComponentSpec
from ragcore.store.change_log import log_activated
from ragcore.store.layout import VersionFolder
from ragcore.store.manifest import MANIFEST, Manifest

__all__ = ["Catalog", "LeasedVersion"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_LONGEST_HISTORY: Final = 100


class LeasedVersion(VersionFolder):
    """A version that is not collected until the lease ends; a context manager that ends it.

    with catalog.lease("2018-12") as version:
        version.check_files(digests=True)
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        lease: int | None,
        *,
        store: Path | None = None,
        passage_store: ComponentSpec[PassageStore] | None = None,
    ) -> None:
        """Take over a lease.

        Args:
            path: of the version's folder.
            manifest: of the version.
            lease: descriptor of the folder, which is locked as long as it is open; None where the
                file system cannot lock folders.
            store: the folder of the store; see `VersionFolder`.
            passage_store: see `VersionFolder`.
        """
        super().__init__(path, manifest, store=store, passage_store=passage_store)
        self._lease = lease

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        lease = self.detach()
        if lease is not None:
            os.close(lease)

    def detach(self) -> int | None:
        """Return the lease, whose descriptor it is now the caller's to close."""
        lease, self._lease = self._lease, None
        return lease


class Catalog:
    """The names of a store's versions; the folder is made by `prepare`.

    Attributes:
        folder: the store's.
        versions: the folder of the versions.
        lock: the file that is locked while the store changes.
        passage_store: the pipeline's, which keeps the passages of new versions and reads those of
            its name; None for files, and what versions record.
    """

    def __init__(
        self, folder: str | Path, passage_store: ComponentSpec[PassageStore] | None = None
    ) -> None:
        self.passage_store = passage_store
        self.folder = usable_path(folder, StoreError)
        self.versions = self.folder / "versions"
        self.lock = self.folder / ".lock"
        self._current = self.folder / "CURRENT"
        self._history = self.folder / "HISTORY"

    def prepare(self) -> None:
        """Make the store's folders, where they do not exist."""
        self.versions.mkdir(parents=True, exist_ok=True)
        sync(self.folder.parent)
        sync(self.folder)

    def names(self) -> list[str]:
        """List the names of all versions, sorted."""
        if not self.versions.is_dir():
            return []
        folders = (path for path in self.versions.iterdir() if path.is_dir())
        return sorted(path.name for path in folders if _NAME.fullmatch(path.name))

    def free_name(self, base: str, taken: Collection[str] = ()) -> str:
        """Return a name that no version has: `base`, else `base-2`, `base-3`, and so on.

        Args:
            base: what the name begins with.
            taken: further names that are not free.
        """
        return next(
            name
            for number in count(1)
            if (name := base if number == 1 else f"{base}-{number}") not in taken
            and not (self.versions / name).exists()
        )

    def current(self) -> str | None:
        """Return the name of the current version, or None where none was ever activated.

        Raises:
            StoreCorruptError: CURRENT holds no name.
        """
        try:
            text = self._current.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        name = text.removesuffix("\n")
        if not _NAME.fullmatch(name):
            raise StoreCorruptError(
                f"{self._current} holds {name[:50]!r}, which is no version's name: activate one of "
                f"{self._known()}"
            )
        return name

    def previous(self) -> str | None:
        """Return the version that `rollback` would make current, or None."""
        history = self._existing_history()
        return history[-1] if history else None

    def activate(self, version: str) -> None:
        """Make a version the current one, and add the one before to the history.

        Raises:
            UnknownVersionError: there is no such version.
        """
        with locked(self.lock):
            self._read_manifest(version)
            current = self._readable_current()
            if current == version:
                return
            if current is not None:
                # Before CURRENT, which is what counts: one entry too many is skipped later.
                self._write_history([*self._existing_history(), current])
            replace_text(self._current, f"{version}\n")
        log_activated(self.folder, current, version)

    def rollback(self) -> tuple[str | None, str]:
        """Make the version that was current before the current one the current one again.

        Returns:
            The version that was current until now, and the one that is now.

        Raises:
            UnknownVersionError: no other version was current before, or none that still exists.
        """
        with locked(self.lock):
            current, history = self._readable_current(), self._existing_history()
            if not history:
                raise UnknownVersionError(
                    f"store {self.folder} has no version to go back to: none that still exists was "
                    f"current before {current!r}: activate one of {self._known()}"
                )
            replace_text(self._current, f"{history[-1]}\n")
            self._write_history(history[:-1])
        log_activated(self.folder, current, history[-1])
        return current, history[-1]

    def manifest(self, version: str | None) -> Manifest:
        """Read the manifest of a version; of the current one where None.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: its manifest is missing or broken.
        """
        return self._read_manifest(self._resolve(version))

    def lease(self, version: str | None) -> LeasedVersion:
        """Return a version, the current one where None, and keep it from being collected.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: its manifest is missing or broken.
        """
        name = self._resolve(version)
        folder = self._existing_folder(name)
        while True:
            try:
                lease = lock_shared(folder)
            except FileNotFoundError:
                # It was collected since the line above: this raises UnknownVersionError.
                self._existing_folder(name)
                raise
            if lease is None or is_open_at(lease, folder):
                break
            # The lock waited while the version was rewritten: it is that of the old folder.
            os.close(lease)
        try:
            # The lock may have waited while the version was collected; reading its manifest checks
            # again that the folder exists.
            return LeasedVersion(
                folder, self._read_manifest(name), lease, passage_store=self.passage_store
            )
        except BaseException:
            if lease is not None:
                os.close(lease)
            raise

    def refuse_name(self, version: str) -> None:
        """Check that a new version can have this name.

        Raises:
            StoreError: the name has other characters than allowed.
            VersionExistsError: there is a version of this name.
        """
        # A name that begins with a dash can be read, but commands would take it for an option.
        if not _NAME.fullmatch(version) or version.startswith("-"):
            raise StoreError(
                f"{version[:200]!r} cannot be a version's name: use letters, digits, '.', '_' and "
                "'-', at most 128, the first no '.' and no '-'"
            )
        if (self.versions / version).exists():
            raise VersionExistsError(
                f"store {self.folder} already has a version {version!r}, and versions never "
                "change: choose another name"
            )

    def put_in_place(
        self, staging: Path, manifest: Manifest, *, activate: bool, made_now: bool = True
    ) -> Manifest:
        """Turn a staging folder into a version by writing its manifest and renaming it.

        The lock that the builder holds on the folder stays on it, so that the version cannot be
        collected before it is activated.

        Args:
            staging: the folder that the version's files were written to.
            manifest: of the version.
            activate: whether it becomes the current version.
            made_now: whether it is newer than all versions of the store, whatever the clock says;
                an imported version keeps its time.

        Returns:
            The manifest that was written.

        Raises:
            VersionExistsError: a version of its name was made meanwhile.
        """
        sync_tree(staging)
        with locked(self.lock):
            self.refuse_name(manifest.name)
            if made_now:
                manifest = manifest.after(self._newest())
            manifest.write(staging)
            sync(staging / MANIFEST)
            sync(staging)
            os.rename(staging, self.versions / manifest.name)
            sync(self.versions)
        if activate:
            self.activate(manifest.name)
        return manifest

    def replace(self, staging: Path, manifest: Manifest) -> None:
        """Put a folder in the place of the version of its name, which gets the folder's name."""
        sync_tree(staging)
        manifest.write(staging)
        sync(staging / MANIFEST)
        sync(staging)
        with locked(self.lock):
            exchange(self.versions / manifest.name, staging)
            sync(self.versions)

    def half_written(self) -> list[Path]:
        """List files that were to replace CURRENT or HISTORY when their writer was killed.

        The caller holds the lock.
        """
        return [
            path
            for path in (staging_path(self._current), staging_path(self._history))
            if path.exists()
        ]

    def _newest(self) -> datetime:
        """Return when the newest version counts as finished, of those that can be read."""
        newest = datetime.min.replace(tzinfo=UTC)
        for name in self.names():
            with suppress(StoreError):
                newest = max(newest, self._read_manifest(name).finished)
        return newest

    def _resolve(self, version: str | None) -> str:
        """Return this name, or the current version's where it is None."""
        name = self.current() if version is None else version
        if name is None:
            raise UnknownVersionError(
                f"store {self.folder} has no current version (versions: {self._known()}): build "
                "one with `ragcore memory build`"
            )
        return name

    def _existing_folder(self, version: str) -> Path:
        """Return the folder of a version, which exists."""
        folder = self.versions / version
        if not _NAME.fullmatch(version) or not folder.is_dir():
            raise UnknownVersionError(
                f"store {self.folder} has no version {version!r}; versions: {self._known()}: "
                "choose one of them, or build it",
                version=version,
                versions=self.names(),
            )
        return folder

    def _read_manifest(self, version: str) -> Manifest:
        """Read the manifest of a version, which must carry the version's name."""
        folder = self._existing_folder(version)
        manifest = Manifest.read(folder)
        if manifest.name != version:
            raise StoreCorruptError(
                f"{folder} holds the version {manifest.name!r}: rename the folder back, as answers "
                "name their version"
            )
        return manifest

    def _existing_history(self) -> list[str]:
        """List the versions that were current before and still exist; the last is not current.

        A line that names no version is skipped: the version was collected, or the line is damaged.
        So is a version whose manifest is broken, since nothing could open it.
        """
        try:
            lines = self._history.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        names, current = set(self.names()), self._readable_current()
        history = [line for line in lines if line in names]
        while history and (history[-1] == current or self._is_broken(history[-1])):
            history.pop()
        return history

    def _is_broken(self, version: str) -> bool:
        """Return whether a version's manifest is missing, changed, or of a later format."""
        try:
            self._read_manifest(version)
        except StoreError:
            return True
        return False

    def _write_history(self, names: list[str]) -> None:
        """Replace HISTORY, without its oldest entries where it has grown too long."""
        replace_text(self._history, "".join(f"{name}\n" for name in names[-_LONGEST_HISTORY:]))

    def _readable_current(self) -> str | None:
        """Return the current version, or None where CURRENT is broken: activation replaces it."""
        try:
            return self.current()
        except StoreCorruptError:
            return None

    def _known(self) -> str:
        """List the versions for an error's text."""
        return ", ".join(self.names()) or "none"
