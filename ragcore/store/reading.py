"""What can be read of a store: its versions, their passages, how two of them differ.

Knows which questions a store answers; how is in the module that each calls. Nothing here changes a
store, or waits for a process that does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ragcore.contracts import Retriever
from ragcore.disk.atomic import files_below
from ragcore.disk.remote import pointers_below
from ragcore.errors import StoreError, UnknownVersionError
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec
from ragcore.store.archive import export_version
from ragcore.store.catalog import Catalog
from ragcore.store.diff import (
    Differences,
    RecordedPassages,
    differences,
    differences_by_document,
)
from ragcore.store.info import VersionInfo, info_of
from ragcore.store.layout import Verify
from ragcore.store.manifest import Manifest, same_records
from ragcore.store.opening import matching_spec, open_version
from ragcore.store.progress import Progress, silent
from ragcore.store.remote import check_remote

__all__ = ["StoreReader"]


class StoreReader:
    """The versions of a memory in a folder, to list, open, compare and export them."""

    def __init__(self, folder: str | Path) -> None:
        self._catalog = Catalog(folder)

    @property
    def folder(self) -> Path:
        """Where the store is."""
        return self._catalog.folder

    def versions(self) -> list[VersionInfo]:
        """List all versions by name, those with a broken manifest as broken.

        Raises:
            StoreCorruptError: CURRENT holds no name.
        """
        current, infos = self.current(), []
        for name in self._catalog.names():
            try:
                infos.append(info_of(self._catalog.manifest(name), current))
            except UnknownVersionError:
                # It was collected since its name was read.
                continue
            except StoreError as error:
                size = sum(
                    path.stat().st_size for path in files_below(self._catalog.versions / name)
                )
                infos.append(VersionInfo(name, "", 0, "", size, name == current, str(error)))
        return infos

    def current(self) -> str | None:
        """Return the name of the current version, or None where none was ever activated.

        Raises:
            StoreCorruptError: CURRENT holds no name.
        """
        return self._catalog.current()

    def previous(self) -> str | None:
        """Return the version that `rollback` would make the current one, or None."""
        return self._catalog.previous()

    def manifest(self, version: str | None = None) -> Manifest:
        """Read what a version consists of and how it was made; the current one where None.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: its manifest is missing or broken.
        """
        return self._catalog.manifest(version)

    def open(
        self,
        version: str | None = None,
        *,
        retriever: ComponentSpec[Retriever] | None = None,
        temperature: float = 1.0,
        verify: Verify = "sampled",
        low_priority: bool = False,
    ) -> Memory:
        """Open a version to search it; while the memory is open, `gc` does not remove it.

        Args:
            version: its name; the current one where None.
            retriever: how to search; as it was built where None.
            temperature: of the memory; see `Memory`.
            verify: "full", or True: compare every file's sha256, for which all of them are read;
                "sampled": the same, but of files above 64 MiB only that of some blocks; only the
                sizes where False.
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
            return open_version(leased, spec, temperature=temperature, recorded=retriever is None)

    @property
    def has_remote_data(self) -> bool:
        """Whether a folder of the store leads to data in a database."""
        return any(True for _ in pointers_below(self._catalog.versions))

    def verify(
        self,
        version: str | None = None,
        *,
        retriever: ComponentSpec[Retriever] | None = None,
    ) -> VersionInfo:
        """Read every file of a version and compare it with the manifest, and tables by digests.

        Args:
            version: its name; the current one where None.
            retriever: how to reach databases; as the version records it where None.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: names every file that is missing or differs; or a table is missing.
            MemoryUnavailableError: a database does not answer.
        """
        with self._catalog.lease(version) as leased:
            leased.check_files(digests=True)
            check_remote(leased, retriever, full=True)
        return info_of(leased.manifest, self.current())

    def diff(self, old: str, new: str) -> Differences:
        """Compare the passages of two versions: which were added, removed or changed.

        By id; where both versions record documents, document by document.

        Raises:
            UnknownVersionError: there is no such version.
            StoreCorruptError: a file of its passages or documents is missing or broken.
        """
        with (
            self.passages(old, verify=True) as before,
            self.passages(new, verify=True) as after,
            self._catalog.lease(old) as earlier,
            self._catalog.lease(new) as later,
        ):
            for version in (earlier, later):
                version.check_files(digests=True, only=version.document_names())
            recorded = [
                RecordedPassages(passages, documents)
                for passages, version in ((before, earlier), (after, later))
                if (documents := version.open_documents()) is not None
            ]
            if len(recorded) < 2:
                return differences(before, after)
            trusted = same_records(earlier.manifest, later.manifest)
            return differences_by_document(*recorded, trusted=trusted)

    def export(
        self,
        path: str | Path | IO[bytes],
        version: str | None = None,
        *,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Write a version to one file, a tar archive; the same version gives the same bytes.

        Absolute paths that its manifest records as paths lose their folders. Other texts that look
        like paths stay as they are, and a warning in the log names where each is.

        Args:
            path: of the file; it appears, or replaces an older one, when it is complete. An open
                file, such as a pipe, is written to as it is.
            version: its name; the current one where None.
            progress: called with the bytes that are done ("files").

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: a file is not as the manifest says.
            StoreError: what is at the path is no regular file.
        """
        target = Path(path) if isinstance(path, str | Path) else path
        with self._catalog.lease(version) as leased:
            export_version(self._catalog, leased, target, progress or silent)
        return info_of(leased.manifest, self.current())

    @contextmanager
    def passages(self, version: str | None = None, *, verify: bool = False) -> Iterator[Passages]:
        """Open the passages of a version, the current one where None, without its retriever.

        Args:
            version: its name; the current one where None.
            verify: compare the sha256 of their files; only the sizes of all files where False.

        Raises:
            UnknownVersionError: there is no such version, or no current one.
            StoreCorruptError: a file is missing, of another size, or cannot be read as passages.
        """
        with self._catalog.lease(version) as leased:
            leased.check_files(digests=False)
            if verify:
                leased.check_files(digests=True, only=leased.passage_names())
            with leased.open_passages() as passages:
                yield passages
