"""What lies where in the folder `versions` of a store, and in the folder of one version.

    versions/
      2018-12/                  one version: `VersionFolder`
        manifest.json           see manifest.py
        passages.arrow          see ragcore/memory/passages.py; an update adds passages-1.arrow, …
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

from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from ragcore.disk.arrays import load_rows
from ragcore.disk.atomic import files_below, sha256, sha256_of_samples
from ragcore.errors import StoreCorruptError
from ragcore.memory.passages import Passages
from ragcore.store.documents import DOCUMENT_FILES, Documents
from ragcore.store.manifest import (
    FORMAT,
    FORMAT_WITH_MOVED,
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
    "file_records",
    "format_of",
    "passage_file",
    "passage_files",
]

RETRIEVER: Final = "retriever"
ROW_NUMBERS: Final = "rows.npy"
"""The numbers of a version's passages, by row; absent where its passage files hold no others."""
MOVED: Final = "moved.arrow"
"""The metadata of passages that moved, by their numbers; absent where none did."""
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
    """

    def __init__(self, path: Path, manifest: Manifest, *, store: Path | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.store = store or path.parent.parent

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

        Args:
            digests: whether the files are read and their sha256 compared; where "sampled", of
                large files that of some blocks, if the manifest has it.
            only: which files, by their path from the folder; all where None.
            low_priority: sleep as long as each read took; see `sha256`.

        Raises:
            StoreCorruptError: names every file that is missing or differs.
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
        names = [path.name for path in passage_files(self.path)]
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
        return Passages(*passage_files(self.path), kept=kept, moved=self.moved)

    def open_all_passages(self) -> Passages:
        """Open all passages in the version's files, also those that it leaves out.

        Raises:
            StoreCorruptError: a file is missing or broken.
        """
        return Passages(*passage_files(self.path), moved=self.moved)

    def open_documents(self) -> Documents | None:
        """Open the documents that the passages belong to; None where the version has none.

        Raises:
            StoreCorruptError: a file is missing or broken.
        """
        return Documents(self.path) if self.document_names() else None


def passage_file(folder: Path, number: int) -> Path:
    """Return the path of a version's n-th file of passages, from 0; each update adds one."""
    return folder / (f"passages-{number}.arrow" if number else "passages.arrow")


def passage_files(folder: Path) -> list[Path]:
    """List the files of a version's passages, in order; the first, whether it exists or not."""
    files = [passage_file(folder, 0)]
    for number in count(1):
        path = passage_file(folder, number)
        if not path.exists():
            break
        files.append(path)
    return files


def format_of(files: Collection[str]) -> int:
    """Return the format of a version with these files: the first that has all of them.

    So earlier releases read what they can, and say of the rest that they cannot.
    """
    return FORMAT_WITH_MOVED if MOVED in files else FORMAT


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
        record = record or FileRecord(
            bytes=status.st_size,
            sha256=sha256(path),
            samples=sha256_of_samples(path) if status.st_size > LARGE else None,
        )
        records[path.relative_to(folder).as_posix()] = record
        done += record.bytes
        report("files", done, total)
    return records
