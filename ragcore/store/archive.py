"""Export a version to one file and import it: a tar archive with the manifest first.

Knows the archive's form, which any program that reads tar can look into; knows nothing of what the
files hold. Archives are untrusted: only files that the manifest names are written, and only a
version whose files all have the recorded digests is put in place.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ragcore.disk.atomic import staging_path, sync, writing
from ragcore.errors import StoreCorruptError, StoreError
from ragcore.store.catalog import Catalog
from ragcore.store.layout import VersionFolder
from ragcore.store.manifest import MANIFEST, FileRecord, Manifest
from ragcore.store.progress import Progress
from ragcore.store.staging import staging_folder

__all__ = ["export_version", "import_version"]

_PIECE: Final = 1 << 20
_LARGEST_MANIFEST: Final = 1 << 26


def export_version(version: VersionFolder, path: Path, report: Progress) -> None:
    """Write a version to a file; see `Store.export`.

    No time and no user name is written, so that the same version gives the same bytes.
    """
    version.check_files(digests=False)
    manifest, done = version.manifest, 0
    with (
        writing(path.parent),
        _replacing(path) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, version.path / MANIFEST, MANIFEST)
        for name, record in manifest.files.items():
            digest = _add(archive, version.path / name, name)
            if digest != record.sha256:
                raise StoreCorruptError(
                    f"version {version.name!r} is damaged: {version.path / name} has sha256 "
                    f"{digest}, expected {record.sha256}: restore the file, or rebuild the version "
                    "under another name"
                )
            done += record.bytes
            report("files", done, manifest.bytes)


def import_version(
    catalog: Catalog, path: Path, version: str | None, report: Progress, *, activate: bool
) -> Manifest:
    """Unpack an exported version and put it in place; see `Store.import_version`."""
    with writing(catalog.folder), _opened(path) as archive:
        catalog.prepare()
        with staging_folder(catalog, "import") as staging:
            manifest = _unpack(archive, staging, path, report)
            if version is not None:
                manifest = manifest.model_copy(update={"name": version})
            catalog.refuse_name(manifest.name)
            catalog.put_in_place(staging, manifest, activate=activate)
    return manifest


def _unpack(archive: tarfile.TarFile, staging: Path, path: Path, report: Progress) -> Manifest:
    """Write the files of an archive into a folder, each checked against the manifest."""
    first = archive.next()
    if first is None or first.name != MANIFEST or first.size > _LARGEST_MANIFEST:
        raise _broken(path, f"it does not begin with a {MANIFEST}")
    _write(archive, first, staging / MANIFEST)
    try:
        manifest = Manifest.read(staging)
    except StoreCorruptError as error:
        raise _broken(path, f"its {MANIFEST} was changed") from error
    missing, done = dict(manifest.files), 0
    while member := archive.next():
        # Names in an archive are untrusted: only those in the manifest become paths.
        expected = missing.pop(member.name, None)
        if expected is None or not _is_inside(member.name):
            raise _broken(path, f"{member.name!r} is not in its manifest, or occurs twice")
        target = staging / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        record = _write(archive, member, target)
        if record != expected:
            raise _broken(
                path,
                f"{member.name} has {record.bytes} bytes with sha256 {record.sha256}, expected "
                f"{expected.bytes} with {expected.sha256}",
            )
        done += record.bytes
        report("files", done, manifest.bytes)
    if missing:
        raise _broken(path, f"{', '.join(missing)} is missing")
    return manifest


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> FileRecord:
    """Write a member to a new file; return its size and digest."""
    content = archive.extractfile(member) if member.isreg() else None
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        while content is not None and (piece := content.read(_PIECE)):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def _add(archive: tarfile.TarFile, path: Path, name: str) -> str:
    """Add a file to an archive; return the sha256 of what was read."""
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    with path.open("rb") as file:
        reader = _DigestingReader(file)
        archive.addfile(member, reader)
    return reader.digest.hexdigest()


class _DigestingReader:
    """A file that works out its digest while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write to, which replaces `path` when the block ends without an error."""
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent}: there is no such folder to write {path.name} to: make it")
    staging = staging_path(path)
    try:
        with staging.open("wb") as file:
            yield file
        sync(staging)
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive; an error in its form, whenever it is noticed, names the file."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file: check the path")
    try:
        with tarfile.open(path, "r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise _broken(path, str(error)) from error


def _is_inside(name: str) -> bool:
    """Return whether a name stays inside the folder that it is joined to, and is no manifest's."""
    names = name.split("/")
    return not any(each in ("", ".", "..") for each in names) and name != MANIFEST


def _broken(path: Path, problem: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} is no exported version, or was changed: {problem}: copy or export it again"
    )
