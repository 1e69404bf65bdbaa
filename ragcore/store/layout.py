"""What lies where in the folder `versions` of a store, and in the folder of one version.

    versions/
      2018-12/                  one version: `VersionFolder`
        manifest.json           see manifest.py
        passages.arrow          see ragcore/memory/arrow.py; an update adds passages-1.arrow, …
        passages/remote.json    in its place where passages are in a passage store, see
                                ragcore/memory/remote.py; an update adds passages-1/…
        rows.npy                which of those passages an update left, where it removed any
        moved.arrow             metadata of passages that moved in their documents since they were
                                written, see ragcore/memory/moved.py; only where some did
        documents.arrow, .npy   see documents.py; only where the corpus knows documents
        ids.npy                 see ids.py; only in a shard
        retriever/…             files that the retriever owns
      .building-NAME-…          a version that is being written
      .scratch-…                what a retriever has worked out for a build that is not finished
      .trash-…                  a version that is being removed

Knows names, sizes and digests of files; knows nothing of how versions are made, chosen or removed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from ragcore.contracts import PassageStore
from ragcore.disk.arrays import load_rows
from ragcore.disk.atomic import files_below, sha256, sha256_of_samples
from ragcore.disk.links import share, share_tree
from ragcore.disk.remote import POINTER
from ragcore.errors import StoreCorruptError, StoreError
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.memory.remote import KIND, RemotePassages, RemotePassageWriter, StoreChoice
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.registry.recorded import recorded_spec
from ragcore.store.documents import DOCUMENT_FILES, Documents
from ragcore.store.manifest import (
    FORMAT,
    FORMAT_WITH_MOVED,
    FORMAT_WITH_STORE,
    MANIFEST,
    FileRecord,
    Manifest,
)
from ragcore.store.progress import Progress

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = [
    "BUILDING",
    "FileRecord",
    "Inode",
    "LARGE",
    "MANIFEST",
    "MOVED",
    "RETRIEVER",
    "ROW_NUMBERS",
    "SCRATCH",
    "TRASH",
    "VersionFolder",
    "Verify",
    "choice_of",
    "file_record",
    "file_records",
    "format_of",
    "has_pointer",
    "identity_of",
    "passage_file",
    "passage_files",
    "passage_writer",
    "share_passages",
    "without_passages",
]

RETRIEVER: Final = "retriever"
ROW_NUMBERS: Final = "rows.npy"
"""The numbers of a version's passages, by row; absent where its passage files hold no others."""
MOVED: Final = "moved.arrow"
"""The metadata of passages that moved, by their numbers; absent where none did."""
_POINTER: Final = re.compile(rf"passages(-\d+)?/{re.escape(POINTER)}")
BUILDING: Final = ".building-"
SCRATCH: Final = ".scratch-"
TRASH: Final = ".trash-"

Verify = bool | Literal["full", "sampled"]
"""What of a version's files is read when it is opened: all bytes (True is "full"), of large files
some blocks, or only the sizes (False)."""

LARGE: Final = 1 << 26
"""Files of more bytes are sampled."""

Inode = tuple[int, int]
"""Device and inode: the same for all names of one file."""

_NO_RECORDS: Final[Mapping[Inode, FileRecord]] = MappingProxyType({})


class VersionFolder:
    """The folder of a finished version, whose files never change.

    Attributes:
        path: of the folder.
        manifest: what its manifest.json says.
        store: the folder of the store that the version is in.
        passage_store: the pipeline's, which reads passages of its name; None without a pipeline.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        *,
        store: Path | None = None,
        passage_store: ComponentSpec[PassageStore] | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.store = store or path.parent.parent
        self.passage_store = passage_store

    @property
    def name(self) -> str:
        """The version's name."""
        return self.manifest.name

    @property
    def retriever(self) -> Path:
        """The folder of the files that the retriever owns."""
        return self.path / RETRIEVER

    def check_files(
        self, *, digests: Verify, only: Collection[str] | None = None, low_priority: bool = False
    ) -> None:
        """Compare files with the manifest: their sizes, and their sha256 if asked.

        Where a file leads to a passage store, also the passages there: their number, and their
        digest if asked.

        Args:
            digests: whether the files are read and their sha256 compared; where "sampled", of
                large files that of some blocks, if the manifest has it.
            only: which files, by their path from the folder; all where None.
            low_priority: sleep as long as each read took; see `sha256`.

        Raises:
            StoreCorruptError: names every file that is missing or differs.
            MemoryUnavailableError: a passage store does not answer.
        """
        problems = []
        for name, record in self.manifest.files.items():
            if only is not None and name not in only:
                continue
            path = self.path / name
            if not path.is_file():
                problems.append(f"{path} is missing")
            elif (size := path.stat().st_size) != record.bytes:
                problems.append(f"{path} has {size} bytes, expected {record.bytes}")
            elif digests == "sampled" and record.samples is not None:
                digest = sha256_of_samples(path)
                if digest != record.samples:
                    problems.append(
                        f"{path}: its blocks have sha256 {digest}, expected {record.samples}"
                    )
            elif digests and (digest := sha256(path, low_priority=low_priority)) != record.sha256:
                problems.append(f"{path} has sha256 {digest}, expected {record.sha256}")
        if not problems:
            for path in passage_files(self.path):
                if path.is_dir() and (only is None or f"{path.name}/{POINTER}" in only):
                    segment = RemotePassages(path, self.choose_store)
                    problems += segment.problems(digests, low_priority=low_priority)
        if problems:
            raise StoreCorruptError(
                f"version {self.name!r} is damaged: {'; '.join(problems)}: restore the files, "
                "or rebuild it under another name"
            )

    def records(self) -> dict[Inode, FileRecord]:
        """Return size and digest of each file as the manifest has them, by device and inode."""
        inodes = self._inodes()
        return {inodes[name]: record for name, record in self.manifest.files.items()}

    def passage_names(self) -> list[str]:
        """List the files that `open_passages` reads, by their path from the folder."""
        paths = passage_files(self.path)
        names = [f"{path.name}/{POINTER}" if path.is_dir() else path.name for path in paths]
        return [name for name in (*names, ROW_NUMBERS, MOVED) if name in self.manifest.files]

    def document_names(self) -> list[str]:
        """List the files that `open_documents` reads, by their path from the folder."""
        return [name for name in DOCUMENT_FILES if name in self.manifest.files]

    def names_not_shared(self, folder: Path) -> list[str]:
        """List the files that another folder does not share by hard links."""
        shared = {(status.st_dev, status.st_ino) for status in map(Path.stat, files_below(folder))}
        return [name for name, inode in self._inodes().items() if inode not in shared]

    def _inodes(self) -> dict[str, Inode]:
        status_of = {name: (self.path / name).stat() for name in self.manifest.files}
        return {name: (status.st_dev, status.st_ino) for name, status in status_of.items()}

    @property
    def moved(self) -> Path | None:
        """The file with the metadata of passages that moved; None where none did."""
        return self.path / MOVED if MOVED in self.manifest.files else None

    def open_passages(self) -> Passages:
        """Open the passages, without the retriever.

        Raises:
            StoreCorruptError: a file is missing or broken.
        """
        kept: Rows | None = None
        if (self.path / ROW_NUMBERS).exists():
            kept = np.asarray(load_rows(self.path / ROW_NUMBERS, mmap=True))
        return Passages(
            *passage_files(self.path), kept=kept, moved=self.moved, choose=self.choose_store
        )

    def open_all_passages(self) -> Passages:
        """Open all passages in the version's files, also those that it leaves out.

        Raises:
            StoreCorruptError: a file is missing or broken.
        """
        return Passages(*passage_files(self.path), moved=self.moved, choose=self.choose_store)

    def choose_store(self, use: str) -> PassageStore:
        """Return the passage store that passages of this version are in.

        Args:
            use: the name under which its component is registered.

        Raises:
            StoreError: neither the pipeline nor the version says how to connect.
            ConfigError: what the version records names a secret that is not in the environment.
        """
        name = registry().current_name(KIND, use)
        spec = self.passage_store
        if (spec is None or spec.use != name) and self._records(name):
            spec = self.recorded_store()
        if spec is not None and spec.use == name:
            return spec.shared()
        raise StoreError(
            f"version {self.name!r} has passages in a passage store {use!r}, and neither the "
            f"pipeline nor its {MANIFEST} says how to connect: name a pipeline file that has "
            f"memory.passages: {{use: {name}, …}}"
        )

    def recorded_store(self) -> ComponentSpec[PassageStore] | None:
        """Return the spec of the passage store that the manifest records; None for none.

        Raises:
            ConfigError: it names a secret that is not in the environment.
        """
        record = self.manifest.passage_store
        if record is None:
            return None
        return recorded_spec(KIND, record, base=self.manifest.base_folder(self.store))

    def store_of_new(self) -> ComponentSpec[PassageStore] | None:
        """Return where the new passages of a version that is derived from this one go; None: files.

        Into the pipeline's passage store; without one, into the one that this version has.

        Raises:
            StoreError: the two are of different components.
            ConfigError: what the version records names a secret that is not in the environment.
        """
        record = self.manifest.passage_store
        if self.passage_store is None or record is None:
            return self.passage_store or self.recorded_store()
        if not self._records(self.passage_store.use):
            raise StoreError(
                f"version {self.name!r} has passages in a passage store {record.get('use')!r}, and "
                f"memory.passages is {self.passage_store.use!r}: a version has one: build the "
                "memory again, or use the one that it has"
            )
        return self.passage_store

    def _records(self, name: str) -> bool:
        """Return whether the manifest records a passage store of this name."""
        record = self.manifest.passage_store or {}
        return registry().current_name(KIND, str(record.get("use"))) == name

    def open_documents(self) -> Documents | None:
        """Open the documents that the passages belong to; None where the version has none.

        Raises:
            StoreCorruptError: a file is missing or broken.
        """
        return Documents(self.path) if self.document_names() else None


def passage_file(folder: Path, number: int) -> Path:
    """Return the path of a version's n-th file of passages, from 0; each update adds one.

    It is a folder with a pointer where they are in a passage store.
    """
    stem = f"passages-{number}" if number else "passages"
    pointer = folder / stem
    return pointer if pointer.is_dir() else folder / f"{stem}.arrow"


def passage_files(folder: Path) -> list[Path]:
    """List the files of a version's passages, in order; the first, whether it exists or not."""
    files = [passage_file(folder, 0)]
    for number in count(1):
        path = passage_file(folder, number)
        if not path.exists():
            break
        files.append(path)
    return files


def choice_of(passage_store: ComponentSpec[PassageStore] | None) -> StoreChoice:
    """Return what opens a pointer that was just written to a passage store; see `Passages`."""

    def choose(use: str) -> PassageStore:
        assert passage_store is not None  # Without one there is no pointer.
        return passage_store.shared()

    return choose


def passage_writer(
    folder: Path, number: int, passage_store: ComponentSpec[PassageStore] | None
) -> PassageWriter | RemotePassageWriter:
    """Return what writes a version's n-th passages, from 0, to a file or to a passage store.

    Args:
        folder: that the version is written in.
        number: of the file.
        passage_store: where the passages shall be; None for a file.
    """
    path = passage_file(folder, number)
    if passage_store is None:
        return PassageWriter(path)
    return RemotePassageWriter(path.with_suffix(""), passage_store)


def share_passages(source: Path, target: Path) -> None:
    """Share a file of passages, or a pointer to them; see `passage_file`."""
    if source.is_dir():
        share_tree(source, target)
    else:
        share(source, target)


def identity_of(path: Path) -> Inode:
    """Return device and inode of a file of passages, or of the pointer to them."""
    status = (path / POINTER if path.is_dir() else path).stat()
    return status.st_dev, status.st_ino


def has_pointer(files: Collection[str]) -> bool:
    """Return whether a version with these files has passages in a passage store."""
    return len(without_passages(files)) < len(files)


def without_passages(files: Collection[str]) -> list[str]:
    """Return the files of a version that are no pointer to passages."""
    return [name for name in files if not _POINTER.fullmatch(name)]


def format_of(files: Collection[str]) -> int:
    """Return the format of a version with these files: the first that has all of them.

    So earlier releases read what they can, and say of the rest that they cannot.
    """
    if has_pointer(files):
        return FORMAT_WITH_STORE
    return FORMAT_WITH_MOVED if MOVED in files else FORMAT


def file_record(path: Path) -> FileRecord:
    """Work out size and digest of a file."""
    size = path.stat().st_size
    return FileRecord(
        bytes=size,
        sha256=sha256(path),
        samples=sha256_of_samples(path) if size > LARGE else None,
    )


def file_records(
    folder: Path, report: Progress, shared: Mapping[Inode, FileRecord] = _NO_RECORDS
) -> dict[str, FileRecord]:
    """Work out size and digest of every file, by its path from the folder.

    Args:
        folder: of a version that is being written.
        report: called with the bytes that are done ("files").
        shared: records of files that other versions share, by device and inode; their recorded
            digest is taken, and they are not read.
    """
    paths = files_below(folder)
    total, done = sum(path.stat().st_size for path in paths), 0
    records = {}
    for path in paths:
        status = path.stat()
        record = shared.get((status.st_dev, status.st_ino))
        record = record or file_record(path)
        records[path.relative_to(folder).as_posix()] = record
        done += record.bytes
        report("files", done, total)
    return records
