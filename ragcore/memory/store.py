"""A store: the versions of a memory in one folder, built beside their place and renamed in.

    stores/world/
      CURRENT                     one line: the active version
      versions/2018-12/
        manifest.json             see manifest.py
        passages.arrow            see passages.py
        retriever/…               files that the retriever owns

A version never changes. A process killed at any write leaves the old version or the new one; what
it left half-written is swept away by the next build.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ragcore import __version__
from ragcore.contracts import Retriever
from ragcore.errors import (
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnknownVersionError,
    VersionExistsError,
)
from ragcore.memory.building import (
    RETRIEVER,
    Progress,
    file_records,
    in_workshop,
    scratch,
    write_version,
)
from ragcore.memory.changes import Changes, derive
from ragcore.memory.files import locked, replace_text, sha256, sync, sync_tree
from ragcore.memory.manifest import Manifest
from ragcore.memory.updating import opened_passages, write_update
from ragcore.memory.version import Memory
from ragcore.parts import Part, part_from_dict
from ragcore.types import Passage

__all__ = ["Progress", "Store", "VersionInfo"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


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
    """The versions of a memory in a folder; the folder is made by the first build."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._versions = self.folder / "versions"
        self._current = self.folder / "CURRENT"
        self._lock = self.folder / ".lock"

    def versions(self) -> list[VersionInfo]:
        """All versions by name.

        Raises:
            StoreCorruptError: a manifest is broken.
        """
        current = self.current()
        return [_info(self._manifest(name), current) for name in self._names()]

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

    def activate(self, version: str) -> None:
        """Make a version the current one, for all that open the store from now on.

        Raises:
            UnknownVersionError: there is none of this name.
        """
        self._manifest(version)
        with locked(self._lock):
            replace_text(self._current, f"{version}\n")

    def open(
        self,
        version: str | None = None,
        *,
        retriever: Part | None = None,
        temperature: float = 1.0,
        verify: bool = False,
    ) -> Memory:
        """Open a version to search it.

        Args:
            version: its name; the current one where None.
            retriever: how to search; as it was built where None.
            temperature: of the memory; see `Memory`.
            verify: compare every file's sha256, not only its size.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: a file is missing or was changed.
            MemoryMismatchError: it was built by another retriever or encoder.
        """
        name = self._chosen(version)
        manifest = self._manifest(name)
        self._check_files(manifest, digests=verify)
        part = retriever or part_from_dict("retriever", manifest.retriever)
        built_by = manifest.retriever.get("use")
        if part.use != built_by:
            raise MemoryMismatchError(
                f"version {name!r} of {self.folder} was built with retriever {built_by!r}, but the "
                f"retriever in use is {part.use!r}: rebuild the memory or set memory.retriever.use "
                f"to {built_by}"
            )
        folder = self._versions / name
        passages = opened_passages(folder)
        try:
            loaded: Retriever = part.component.load(folder / RETRIEVER, part.config, mmap=True)
            if loaded.fingerprint != manifest.fingerprint:
                raise MemoryMismatchError(
                    f"version {name!r} of {self.folder} was built with {manifest.fingerprint}, but "
                    f"the one in use is {loaded.fingerprint}: rebuild the memory or change "
                    + ("memory.retriever.encoder" if part.use == "dense" else "memory.retriever")
                )
            if not len(passages) == len(loaded) == manifest.passages:
                raise StoreCorruptError(
                    f"version {name!r} of {self.folder} has {len(passages)} passages and a "
                    f"retriever of {len(loaded)}: expected {manifest.passages}; rebuild it"
                )
        except BaseException:
            passages.close()
            raise
        return Memory(name, passages, loaded, temperature=temperature, name=part.use)

    def verify(self, version: str | None = None) -> VersionInfo:
        """Read every file of a version and compare it with the manifest.

        Args:
            version: its name; the current one where None.

        Raises:
            StoreCorruptError: names every file that is missing or differs.
        """
        manifest = self._manifest(self._chosen(version))
        self._check_files(manifest, digests=True)
        return _info(manifest, self.current())

    def build(
        self,
        version: str,
        corpus: Iterable[Passage],
        retriever: Part,
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
        self._refuse_name(version)
        report = progress or _silent
        self._versions.mkdir(parents=True, exist_ok=True)
        sync(self.folder.parent)
        sync(self.folder)
        built: Retriever = retriever.build()
        with (
            in_workshop(self._versions, version, self._lock) as work,
            scratch(self._versions, built, fresh=fresh, report=report),
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
            self._put_in_place(work, manifest)
        if activate:
            self.activate(version)
        return _info(manifest, self.current())

    def update(
        self,
        version: str,
        changes: Changes,
        *,
        parent: str | None = None,
        retriever: Part | None = None,
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
        self._refuse_name(version)
        report = progress or _silent
        base = self._manifest(self._chosen(parent))
        part = retriever or part_from_dict("retriever", base.retriever)
        folder = self._versions / base.name
        memory = self.open(base.name, retriever=part)
        try:
            derived = derive(memory.passages, changes)
            with in_workshop(self._versions, version, self._lock) as work:
                count = write_update(work, memory, folder, part, derived, report)
                known = {}
                for name, record in base.files.items():
                    about = (folder / name).stat()
                    known[about.st_dev, about.st_ino] = record
                manifest = Manifest(
                    name=version,
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    passages=count,
                    retriever=part.to_dict(),
                    fingerprint=base.fingerprint,
                    corpus=base.corpus,
                    parent=base.name,
                    ragcore=__version__,
                    files=file_records(work, report, known),
                )
                self._put_in_place(work, manifest)
        finally:
            memory.close()
        if activate:
            self.activate(version)
        return _info(manifest, self.current())

    def _put_in_place(self, work: Path, manifest: Manifest) -> None:
        """Make a version out of the folder that it was built in."""
        manifest.write(work)
        sync_tree(work)
        with locked(self._lock):
            self._refuse_existing(manifest.name)
            os.rename(work, self._versions / manifest.name)
            sync(self._versions)

    def _names(self) -> list[str]:
        if not self._versions.is_dir():
            return []
        return sorted(path.name for path in self._versions.iterdir() if _NAME.fullmatch(path.name))

    def _known(self) -> str:
        return ", ".join(self._names()) or "none"

    def _chosen(self, version: str | None) -> str:
        name = self.current() if version is None else version
        if name is None:
            raise UnknownVersionError(
                f"store {self.folder} has no current version (versions: {self._known()}): build "
                "one with `ragcore memory build`"
            )
        return name

    def _manifest(self, version: str) -> Manifest:
        folder = self._versions / version
        if not _NAME.fullmatch(version) or not folder.is_dir():
            raise UnknownVersionError(
                f"store {self.folder} has no version {version!r}; versions: {self._known()}: "
                "choose one of them, or build it"
            )
        manifest = Manifest.read(folder)
        if manifest.name != version:
            raise StoreCorruptError(
                f"{folder} holds the version {manifest.name!r}: rename the folder back, as answers "
                "name their version"
            )
        return manifest

    def _check_files(self, manifest: Manifest, *, digests: bool) -> None:
        folder = self._versions / manifest.name
        problems = []
        for name, record in manifest.files.items():
            path = folder / name
            if not path.is_file():
                problems.append(f"{path} is missing")
            elif path.stat().st_size != record.bytes:
                problems.append(f"{path} has {path.stat().st_size} bytes, expected {record.bytes}")
            elif digests and (found := sha256(path)) != record.sha256:
                problems.append(f"{path} has sha256 {found}, expected {record.sha256}")
        if problems:
            raise StoreCorruptError(
                f"version {manifest.name!r} is damaged: {'; '.join(problems)}: restore the files, "
                "or rebuild it under another name"
            )

    def _refuse_name(self, version: str) -> None:
        if not _NAME.fullmatch(version):
            raise StoreError(
                f"{version!r} cannot be a version's name: use letters, digits, '.', '_' and '-', "
                "at most 128, the first no '.'"
            )
        self._refuse_existing(version)

    def _refuse_existing(self, version: str) -> None:
        if (self._versions / version).exists():
            raise VersionExistsError(
                f"store {self.folder} already has a version {version!r}, and versions never "
                "change: choose another name"
            )


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
