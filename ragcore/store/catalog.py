"""A store's folder: which versions are in it, which is the current one, and how that changes.

    stores/world/
      CURRENT                     one line: the active version
      HISTORY                     those that were active before it, the latest last
      .lock                       held while one of these, or the list of versions, changes
      versions/2018-12/           see store.py

Knows names, manifests and digests; what a retriever's files say it does not. Every change is one
rename, so that whoever is killed leaves the old state or the new.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from ragcore.disk.atomic import (
    lock_shared,
    locked,
    replace_text,
    sha256,
    staging_path,
    sync,
    sync_tree,
)
from ragcore.errors import (
    StoreCorruptError,
    StoreError,
    UnknownVersionError,
    VersionExistsError,
)
from ragcore.store.manifest import FileRecord, Manifest

__all__ = ["Catalog"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_REMEMBERED: Final = 100


class Catalog:
    """The names of a store; the folder is made by `prepare`.

    Attributes:
        folder: the store's.
        versions: the folder of the versions.
        lock: the file whose lock is held while the store changes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.versions = self.folder / "versions"
        self.lock = self.folder / ".lock"
        self._current = self.folder / "CURRENT"
        self._history = self.folder / "HISTORY"

    def prepare(self) -> None:
        """Make the folders, where they are not there."""
        self.versions.mkdir(parents=True, exist_ok=True)
        sync(self.folder.parent)
        sync(self.folder)

    def names(self) -> list[str]:
        """The names of all versions, sorted."""
        if not self.versions.is_dir():
            return []
        return sorted(path.name for path in self.versions.iterdir() if _NAME.fullmatch(path.name))

    def current(self) -> str | None:
        """The name of the active version, or None where none was ever activated.

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
        """The version that was active before the current one and is still there, or None."""
        before = self._before()
        return before[-1] if before else None

    def activate(self, version: str) -> None:
        """Make a version the current one, and remember which was.

        Raises:
            UnknownVersionError: there is none of this name.
        """
        with locked(self.lock):
            self.manifest(version)
            old = self._readable_current()
            if old == version:
                return
            if old is not None:
                # Before CURRENT, which is what counts: one entry too many is passed over.
                self._remember([*self._before(), old])
            replace_text(self._current, f"{version}\n")

    def rollback(self) -> tuple[str | None, str]:
        """Make the version that was active before the current one the current one again.

        Returns:
            The version that was active until now, and that which is now.

        Raises:
            UnknownVersionError: no other version was active before, or it is gone.
        """
        with locked(self.lock):
            old, before = self._readable_current(), self._before()
            if not before:
                raise UnknownVersionError(
                    f"store {self.folder} has no version to go back to: none that is still there "
                    f"was active before {old!r}; activate one of {self._known()}"
                )
            replace_text(self._current, f"{before[-1]}\n")
            self._remember(before[:-1])
            return old, before[-1]

    def chosen(self, version: str | None) -> str:
        """This name, or the current version's where it is None.

        Raises:
            UnknownVersionError: there is no current one.
        """
        name = self.current() if version is None else version
        if name is None:
            raise UnknownVersionError(
                f"store {self.folder} has no current version (versions: {self._known()}): build "
                "one with `ragcore memory build`"
            )
        return name

    def manifest(self, version: str) -> Manifest:
        """What a version is made of.

        Raises:
            UnknownVersionError: there is none of this name.
            StoreCorruptError: its manifest is missing or broken.
        """
        folder = self._folder(version)
        manifest = Manifest.read(folder)
        if manifest.name != version:
            raise StoreCorruptError(
                f"{folder} holds the version {manifest.name!r}: rename the folder back, as answers "
                "name their version"
            )
        return manifest

    def lease(self, version: str) -> int | None:
        """Keep a version from being collected for as long as the descriptor is open.

        Returns:
            The descriptor; None where the file system cannot lock folders.

        Raises:
            UnknownVersionError: there is none of this name.
        """
        folder = self._folder(version)
        try:
            return lock_shared(folder)
        except FileNotFoundError:
            # It was collected since the line above, and this says so.
            self._folder(version)
            raise

    def records(self, manifest: Manifest) -> dict[tuple[int, int], FileRecord]:
        """Size and digest of a version's files, by device and inode: what others may share."""
        known = {}
        for name, record in manifest.files.items():
            about = (self.versions / manifest.name / name).stat()
            known[about.st_dev, about.st_ino] = record
        return known

    def check_files(self, manifest: Manifest, *, digests: bool, low_priority: bool = False) -> None:
        """Compare the files of a version with its manifest: their sizes, and their sha256 if asked.

        Args:
            manifest: of the version.
            digests: whether all files are read.
            low_priority: whether that gives way to others: see `sha256`.

        Raises:
            StoreCorruptError: names every file that is missing or differs.
        """
        folder = self.versions / manifest.name
        problems = []
        for name, record in manifest.files.items():
            path = folder / name
            if not path.is_file():
                problems.append(f"{path} is missing")
            elif path.stat().st_size != record.bytes:
                problems.append(f"{path} has {path.stat().st_size} bytes, expected {record.bytes}")
            elif digests and (found := sha256(path, low_priority=low_priority)) != record.sha256:
                problems.append(f"{path} has sha256 {found}, expected {record.sha256}")
        if problems:
            raise StoreCorruptError(
                f"version {manifest.name!r} is damaged: {'; '.join(problems)}: restore the files, "
                "or rebuild it under another name"
            )

    def refuse_name(self, version: str) -> None:
        """Raise StoreError where no new version can have this name."""
        if not _NAME.fullmatch(version):
            raise StoreError(
                f"{version!r} cannot be a version's name: use letters, digits, '.', '_' and '-', "
                "at most 128, the first no '.'"
            )
        if (self.versions / version).exists():
            raise VersionExistsError(
                f"store {self.folder} already has a version {version!r}, and versions never "
                "change: choose another name"
            )

    def put_in_place(self, work: Path, manifest: Manifest, *, activate: bool) -> None:
        """Make a version out of the folder that its files were written to, and the current one.

        The folder is locked: so nobody collects the version before it is activated.

        Raises:
            VersionExistsError: there is one of its name by now.
        """
        manifest.write(work)
        sync_tree(work)
        with locked(self.lock):
            self.refuse_name(manifest.name)
            os.rename(work, self.versions / manifest.name)
            sync(self.versions)
        if activate:
            self.activate(manifest.name)

    def half_written(self) -> list[Path]:
        """Files that were to replace CURRENT or HISTORY, and whose writer was killed.

        The lock is held.
        """
        return [
            path
            for path in (staging_path(self._current), staging_path(self._history))
            if path.exists()
        ]

    def _folder(self, version: str) -> Path:
        folder = self.versions / version
        if not _NAME.fullmatch(version) or not folder.is_dir():
            raise UnknownVersionError(
                f"store {self.folder} has no version {version!r}; versions: {self._known()}: "
                "choose one of them, or build it"
            )
        return folder

    def _before(self) -> list[str]:
        """The versions that were active before and are there; the last is not the current one.

        What names no version is passed over: it was collected, or the line is nonsense.
        """
        try:
            lines = self._history.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        there, current = set(self.names()), self._readable_current()
        before = [line for line in lines if line in there]
        while before and before[-1] == current:
            before.pop()
        return before

    def _remember(self, names: list[str]) -> None:
        replace_text(self._history, "".join(f"{name}\n" for name in names[-_REMEMBERED:]))

    def _readable_current(self) -> str | None:
        """The current version, if there is one: what is broken, activating mends."""
        try:
            return self.current()
        except StoreCorruptError:
            return None

    def _known(self) -> str:
        return ", ".join(self.names()) or "none"
