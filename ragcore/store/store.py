"""A store: the versions of a memory in one folder, built beside their place and renamed in.

    stores/world/versions/2018-12/
      manifest.json             see manifest.py
      passages.arrow            see passages.py
      retriever/…               files that the retriever owns

A version never changes; how the list of them does is catalog.py's. A process killed at any write
leaves the old state or the new one; what it left half-written the next build sweeps away, or `gc`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ragcore import __version__
from ragcore.contracts import Retriever
from ragcore.disk.atomic import writing
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec
from ragcore.store.archive import export_version, import_version
from ragcore.store.build import (
    Progress,
    file_records,
    in_workshop,
    scratch,
    write_version,
)
from ragcore.store.catalog import Catalog
from ragcore.store.collect import Collected, collect
from ragcore.store.diff import Changes, Differences, derive, differences
from ragcore.store.manifest import Manifest
from ragcore.store.opening import checked_part, load_version
from ragcore.store.update import opened_passages, write_update
from ragcore.types import Passage

__all__ = ["Progress", "Store", "VersionInfo"]


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version as a list shows it.

    Attributes:
        name: of the version.
        created: when, in UTC, ISO 8601.
        passages: how many.
        retriever: the name that its retriever is registered under.
        bytes: on disk.
        current: whether it is the active one.
    """

    name: str
    created: str
    passages: int
    retriever: str
    bytes: int
    current: bool


class Store:
    """The versions of a memory in a folder; the folder is made by the first build.

    Where what is written does not fit on the disk, or the folder may not be written to, all that
    writes raises StoreError and leaves the store as it was.
    """

    def __init__(self, folder: str | Path) -> None:
        self._catalog = Catalog(folder)

    @property
    def folder(self) -> Path:
        """Where the store is."""
        return self._catalog.folder

    def versions(self) -> list[VersionInfo]:
        """All versions by name.

        Raises:
            StoreCorruptError: a manifest is broken.
        """
        current = self.current()
        names = self._catalog.names()
        return [_info(self._catalog.manifest(name), current) for name in names]

    def current(self) -> str | None:
        """The name of the active version, or None where none was ever activated.

        Raises:
            StoreCorruptError: CURRENT holds no name.
        """
        return self._catalog.current()

    def manifest(self, version: str | None = None) -> Manifest:
        """What a version is made of; the current one where None.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: its manifest is missing or broken.
        """
        return self._catalog.manifest(self._catalog.chosen(version))

    def activate(self, version: str) -> None:
        """Make a version the current one, for all that open the store from now on.

        Raises:
            UnknownVersionError: there is none of this name.
        """
        with writing(self.folder):
            self._catalog.activate(version)

    def rollback(self) -> tuple[str | None, str]:
        """Make the version that was active before the current one the current one again.

        Once more goes back one further; `activate` goes to where one likes.

        Returns:
            The version that was active until now, and that which is now.

        Raises:
            UnknownVersionError: no other version was active before, or none that is still there.
        """
        with writing(self.folder):
            return self._catalog.rollback()

    def open(
        self,
        version: str | None = None,
        *,
        retriever: ComponentSpec[Retriever] | None = None,
        temperature: float = 1.0,
        verify: bool = True,
        low_priority: bool = False,
    ) -> Memory:
        """Open a version to search it; while the memory is open, `gc` does not take it.

        Args:
            version: its name; the current one where None.
            retriever: how to search; as it was built where None.
            temperature: of the memory; see `Memory`.
            verify: compare every file's sha256, for which all of them are read; only their sizes
                where False.
            low_priority: sleep as long as each read took, so that serving threads keep half the
                CPU.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: a file is missing or was changed.
            MemoryMismatchError: it was built by another retriever or encoder.
        """
        name = self._catalog.chosen(version)
        lease = self._catalog.lease(name)
        try:
            manifest = self._catalog.manifest(name)
            self._catalog.check_files(manifest, digests=verify, low_priority=low_priority)
            part = checked_part(self.folder, manifest, retriever)
            passages, loaded = load_version(self._catalog.versions / name, manifest, part)
        except BaseException:
            if lease is not None:
                os.close(lease)
            raise
        return Memory(name, passages, loaded, temperature=temperature, name=part.use, lease=lease)

    def verify(self, version: str | None = None) -> VersionInfo:
        """Read every file of a version and compare it with the manifest.

        Args:
            version: its name; the current one where None.

        Raises:
            StoreCorruptError: names every file that is missing or differs.
        """
        manifest = self.manifest(version)
        self._catalog.check_files(manifest, digests=True)
        return _info(manifest, self.current())

    def build(
        self,
        version: str,
        corpus: Iterable[Passage],
        retriever: ComponentSpec[Retriever],
        *,
        corpus_config: dict[str, Any] | None = None,
        activate: bool = True,
        fresh: bool = False,
        batch: int = 512,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Make a version out of a corpus.

        Passages are streamed. What grows with their number is what the retriever itself holds,
        and 16 bytes for each id (some 100 as Python keeps them), by which the ids' being unique
        is seen.

        Args:
            version: the new version's name: letters, digits, `.`, `_` and `-`.
            corpus: the passages.
            retriever: what to find them by.
            corpus_config: kept in the manifest.
            activate: make it the current version.
            fresh: work everything out anew, also what a build that was killed has left.
            batch: how many passages the retriever is given at once.
            progress: called after each batch ("passages") and each file ("files", in bytes), and
                once before them if a build that was killed has left vectors ("kept", passages).

        Raises:
            StoreError: the name has other characters.
            VersionExistsError: there is one of this name.
            EmptyCorpusError: there are no passages.
            CorpusError: an id comes twice, or a passage has no id or no text.
        """
        self._catalog.refuse_name(version)
        report = progress or _silent
        versions, lock = self._catalog.versions, self._catalog.lock
        with writing(self.folder):
            self._catalog.prepare()
        built: Retriever = retriever.build()
        with (
            writing(self.folder),
            in_workshop(versions, version, lock) as work,
            scratch(versions, built, lock, fresh=fresh, report=report),
        ):
            count = write_version(work, corpus, retriever, built, batch, report)
            manifest = Manifest(
                name=version,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                passages=count,
                retriever=retriever.to_dict(),
                fingerprint=built.fingerprint,
                corpus=corpus_config,
                ragcore=__version__,
                files=file_records(work, report),
            )
            self._catalog.put_in_place(work, manifest, activate=activate)
        return _info(manifest, self.current())

    def update(
        self,
        version: str,
        changes: Changes,
        *,
        parent: str | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        activate: bool = True,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Make a version out of another, in which some passages are new, changed or gone.

        Its passages are the other's that stay, in their order, then those that are put in, in
        theirs; it answers as one that is built of these. Files that do not change are shared with
        the other version (hard links), and only what is new is encoded.

        Args:
            version: the new version's name, as for `build`.
            changes: what is put in and taken out; see `read_changes` and `changes_to`.
            parent: the other version; the current one where None.
            retriever: the one that it was built with; its own record where None.
            activate: make it the current version.
            progress: as for `build`.

        Raises:
            StoreError: the name has other characters, or the other version cannot be opened.
            VersionExistsError: there is one of this name.
            UnsupportedOperation: the retriever cannot add or remove passages.
            CorpusError: an id is to go that is not there, or a passage has no text.
            EmptyCorpusError: no passage would be left.
        """
        self._catalog.refuse_name(version)
        report = progress or _silent
        versions, lock = self._catalog.versions, self._catalog.lock
        memory = self.open(parent, retriever=retriever, verify=False)
        try:
            base = self.manifest(memory.version)
            part = checked_part(self.folder, base, retriever)
            derived = derive(memory.passages, changes)
            with writing(self.folder), in_workshop(versions, version, lock) as work:
                count = write_update(work, memory, versions / base.name, part, derived, report)
                manifest = Manifest(
                    name=version,
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    passages=count,
                    retriever=part.to_dict(),
                    fingerprint=base.fingerprint,
                    corpus=base.corpus,
                    parent=base.name,
                    ragcore=__version__,
                    files=file_records(work, report, self._catalog.records(base)),
                )
                self._catalog.put_in_place(work, manifest, activate=activate)
        finally:
            memory.close()
        return _info(manifest, self.current())

    def diff(self, old: str, new: str) -> Differences:
        """Which passages of a version another has not, has beyond them, or has otherwise, by id.

        Raises:
            UnknownVersionError: there is no such version.
            StoreCorruptError: a file of its passages is missing or broken.
        """
        with self.passages(old) as before, self.passages(new) as after:
            return differences(before, after)

    def gc(self, keep: int, *, dry_run: bool = False) -> Collected:
        """Remove all versions but a few, and what killed processes have left.

        Kept are the current version, the one that `rollback` would go to, then the newest, `keep`
        in all; and each that is open in a program. Room that versions share is free when the last
        of them goes.

        Args:
            keep: how many versions are kept at least, 1 or more.
            dry_run: remove nothing, and tell what would be.

        Raises:
            StoreError: `keep` is less than 1.
            StoreCorruptError: a manifest is broken.
        """
        with writing(self.folder):
            return collect(self._catalog, keep, dry_run=dry_run)

    def export(
        self, path: str | Path, version: str | None = None, *, progress: Progress | None = None
    ) -> VersionInfo:
        """Write a version as one file, a tar archive; the same version gives the same bytes.

        Args:
            path: of the file, which is there when it is whole, and replaces one of its name.
            version: its name; the current one where None.
            progress: told of the bytes that are done ("files").

        Raises:
            UnknownVersionError: there is no such version.
            StoreCorruptError: a file is not as the manifest says.
        """
        name = self._catalog.chosen(version)
        with self._leased(name), writing(Path(path).parent):
            export_version(self._catalog, name, Path(path), progress or _silent)
        return _info(self._catalog.manifest(name), self.current())

    def import_version(
        self,
        path: str | Path,
        version: str | None = None,
        *,
        activate: bool = False,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Make a version out of a file that `export` wrote, of this store or another.

        Args:
            path: of the file.
            version: its name here; the one that it had where None.
            activate: make it the current version.
            progress: told of the bytes that are done ("files").

        Raises:
            VersionExistsError: there is one of this name.
            StoreCorruptError: it is no such file, or was changed.
        """
        with writing(self.folder):
            manifest = import_version(
                self._catalog, Path(path), version, progress or _silent, activate=activate
            )
        return _info(manifest, self.current())

    @contextmanager
    def passages(self, version: str) -> Iterator[Passages]:
        """The passages of a version, opened without its retriever."""
        with self._leased(version):
            manifest = self._catalog.manifest(version)
            self._catalog.check_files(manifest, digests=False)
            with opened_passages(self._catalog.versions / version) as passages:
                yield passages

    @contextmanager
    def _leased(self, version: str) -> Iterator[None]:
        """Keep a version from being collected."""
        lease = self._catalog.lease(version)
        try:
            yield
        finally:
            if lease is not None:
                os.close(lease)


def _info(manifest: Manifest, current: str | None) -> VersionInfo:
    return VersionInfo(
        name=manifest.name,
        created=manifest.created,
        passages=manifest.passages,
        retriever=str(manifest.retriever.get("use")),
        bytes=manifest.bytes,
        current=manifest.name == current,
    )


def _silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""
