"""A store: all versions of a memory in one folder, and what can be done with them.

A version is written in a staging folder, then renamed into place; from then on it never changes. A
process killed at any write leaves the old state or the new one; the next build or `gc` removes what
it left half-written.

Knows which operations there are; how each works is in the module that it calls: layout.py and
catalog.py say what lies where, build.py and update.py make versions, opening.py opens them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragcore.contracts import Retriever
from ragcore.disk.atomic import writing
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec
from ragcore.store.archive import export_version, import_version
from ragcore.store.build import build_version
from ragcore.store.catalog import Catalog
from ragcore.store.collect import Collected, collect
from ragcore.store.diff import Changes, Differences, differences
from ragcore.store.manifest import Manifest
from ragcore.store.opening import matching_spec, open_version
from ragcore.store.progress import Progress, silent
from ragcore.store.update import update_version
from ragcore.types import Passage

__all__ = ["Progress", "Store", "VersionInfo"]


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A version as a list shows it.

    Attributes:
        name: of the version.
        created: when, in UTC, ISO 8601.
        passages: how many there are.
        retriever: the name that its retriever is registered under.
        bytes: on disk.
        current: whether it is the current version.
    """

    name: str
    created: str
    passages: int
    retriever: str
    bytes: int
    current: bool


class Store:
    """The versions of a memory in a folder; the folder is made by the first build.

    Where the disk is full or the folder may not be written to, all methods that write raise
    StoreError and leave the store as it was.
    """

    def __init__(self, folder: str | Path) -> None:
        self._catalog = Catalog(folder)

    @property
    def folder(self) -> Path:
        """Where the store is."""
        return self._catalog.folder

    def versions(self) -> list[VersionInfo]:
        """List all versions by name.

        Raises:
            StoreCorruptError: a manifest is broken.
        """
        current = self.current()
        return [_info(self._catalog.manifest(name), current) for name in self._catalog.names()]

    def current(self) -> str | None:
        """Return the name of the current version, or None where none was ever activated.

        Raises:
            StoreCorruptError: CURRENT holds no name.
        """
        return self._catalog.current()

    def manifest(self, version: str | None = None) -> Manifest:
        """Read what a version consists of and how it was made; the current one where None.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: its manifest is missing or broken.
        """
        return self._catalog.manifest(version)

    def activate(self, version: str) -> None:
        """Make a version the current one, for all programs that open the store from now on.

        Raises:
            UnknownVersionError: there is no such version.
        """
        with writing(self.folder):
            self._catalog.activate(version)

    def rollback(self) -> tuple[str | None, str]:
        """Make the version that was current before the current one the current one again.

        A second rollback goes back one version further; `activate` goes to any version.

        Returns:
            The version that was current until now, and the one that is now.

        Raises:
            UnknownVersionError: no other version was current before, or none that still exists.
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
        """Open a version to search it; while the memory is open, `gc` does not remove it.

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
            MemoryMismatchError: it was built with another retriever or encoder.
        """
        with self._catalog.lease(version) as leased:
            leased.check_files(digests=verify, low_priority=low_priority)
            spec = matching_spec(leased, retriever)
            return open_version(leased, spec, temperature=temperature)

    def verify(self, version: str | None = None) -> VersionInfo:
        """Read every file of a version and compare it with the manifest.

        Args:
            version: its name; the current one where None.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: names every file that is missing or differs.
        """
        with self._catalog.lease(version) as leased:
            leased.check_files(digests=True)
        return _info(leased.manifest, self.current())

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
        """Build a version from a corpus.

        Passages are streamed. What grows with their number is what the retriever itself holds,
        and 16 bytes for each id (some 100 as Python stores them), to check that ids are unique.

        Args:
            version: the new version's name: letters, digits, `.`, `_` and `-`.
            corpus: the passages.
            retriever: what finds them.
            corpus_config: recorded in the manifest.
            activate: make it the current version.
            fresh: discard what an interrupted build has encoded, and encode all passages.
            batch: how many passages are added to the retriever together.
            progress: called after each batch ("passages") and each file ("files", in bytes), and
                once before them if an interrupted build has left vectors ("kept", passages).

        Raises:
            StoreError: the name has other characters.
            VersionExistsError: there is a version of this name.
            EmptyCorpusError: there are no passages.
            CorpusError: an id occurs twice, or a passage has no id or no text.
        """
        manifest = build_version(
            self._catalog,
            version,
            corpus,
            retriever,
            corpus_config=corpus_config,
            activate=activate,
            fresh=fresh,
            batch=batch,
            report=progress or silent,
        )
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
        """Derive a version from another by adding, replacing and deleting passages.

        Its passages are the parent's that stay, in their order, then those that are added or
        replaced, in theirs; it answers as one that is built from these. Files that do not change
        are shared with the parent (hard links), and only new passages are encoded.

        Args:
            version: the new version's name, as for `build`.
            changes: what is added, replaced and deleted; see `read_changes` and `changes_to`.
            parent: the version that it is derived from; the current one where None.
            retriever: the one that the parent was built with; its own record where None.
            activate: make it the current version.
            progress: as for `build`.

        Raises:
            StoreError: the name has other characters, or the parent cannot be opened.
            VersionExistsError: there is a version of this name.
            UnsupportedOperation: the retriever cannot add or remove passages.
            CorpusError: an id to delete does not exist, or a passage has no text.
            EmptyCorpusError: no passage would be left.
        """
        manifest = update_version(
            self._catalog,
            version,
            changes,
            parent=parent,
            retriever=retriever,
            activate=activate,
            report=progress or silent,
        )
        return _info(manifest, self.current())

    def diff(self, old: str, new: str) -> Differences:
        """Compare the passages of two versions by id: which were added, removed or changed.

        Raises:
            UnknownVersionError: there is no such version.
            StoreCorruptError: a file of its passages is missing or broken.
        """
        with self.passages(old) as before, self.passages(new) as after:
            return differences(before, after)

    def gc(self, keep: int, *, dry_run: bool = False) -> Collected:
        """Remove all versions but a few, and leftovers of interrupted builds.

        The current version, the one that `rollback` would go to, then the newest stay, `keep` in
        all; so does each that a program has open. The space of files that versions share is freed
        with the last of these versions.

        Args:
            keep: how many versions stay at least, 1 or more.
            dry_run: remove nothing, and return what would be removed.

        Raises:
            StoreError: `keep` is less than 1.
            StoreCorruptError: a manifest is broken.
        """
        return collect(self._catalog, keep, dry_run=dry_run)

    def export(
        self, path: str | Path, version: str | None = None, *, progress: Progress | None = None
    ) -> VersionInfo:
        """Write a version to one file, a tar archive; the same version gives the same bytes.

        Args:
            path: of the file; it appears, or replaces an older one, when it is complete.
            version: its name; the current one where None.
            progress: called with the bytes that are done ("files").

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: a file is not as the manifest says.
        """
        with self._catalog.lease(version) as leased:
            export_version(leased, Path(path), progress or silent)
        return _info(leased.manifest, self.current())

    def import_version(
        self,
        path: str | Path,
        version: str | None = None,
        *,
        activate: bool = False,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Add a version from a file that `export` of this store or another wrote.

        Args:
            path: of the file.
            version: its name here; the one that it had where None.
            activate: make it the current version.
            progress: called with the bytes that are done ("files").

        Raises:
            VersionExistsError: there is a version of this name.
            StoreCorruptError: the file is no exported version, or was changed.
        """
        manifest = import_version(
            self._catalog, Path(path), version, progress or silent, activate=activate
        )
        return _info(manifest, self.current())

    @contextmanager
    def passages(self, version: str | None = None) -> Iterator[Passages]:
        """Open the passages of a version, the current one where None, without its retriever.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: a file is missing, of another size, or cannot be read as passages.
        """
        with self._catalog.lease(version) as leased:
            leased.check_files(digests=False)
            with leased.open_passages() as passages:
                yield passages


def _info(manifest: Manifest, current: str | None) -> VersionInfo:
    return VersionInfo(
        name=manifest.name,
        created=manifest.created,
        passages=manifest.passages,
        retriever=str(manifest.retriever.get("use")),
        bytes=manifest.bytes,
        current=manifest.name == current,
    )
