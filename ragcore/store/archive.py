"""A version as one file: a tar archive, its manifest first, each file checked against it.

Knows the archive's form; any program that reads tar can look into one. Nothing of an archive is
trusted: only files that its manifest names are read, and only if their digests are right.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ragcore.disk.atomic import staging_path, sync
from ragcore.errors import StoreCorruptError, StoreError
from ragcore.store.build import Progress, in_workshop
from ragcore.store.catalog import Catalog
from ragcore.store.manifest import MANIFEST, FileRecord, Manifest

__all__ = ["export_version", "import_version"]

_PIECE: Final = 1 << 20
_LARGEST_MANIFEST: Final = 1 << 26


def export_version(catalog: Catalog, version: str, path: Path, report: Progress) -> None:
    """Write a version into a file; see `Store.export`. Nothing in it tells when or by whom."""
    manifest = catalog.manifest(version)
    catalog.check_files(manifest, digests=False)
    folder, done = catalog.versions / version, 0
    with (
        _replacing(path) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, folder / MANIFEST, MANIFEST)
        for name, record in manifest.files.items():
            if (found := _add(archive, folder / name, name)) != record.sha256:
                raise StoreCorruptError(
                    f"version {version!r} is damaged: {folder / name} has sha256 {found}, expected "
                    f"{record.sha256}: restore the file, or rebuild the version under another name"
                )
            done += record.bytes
            report("files", done, manifest.bytes)


def import_version(
    catalog: Catalog, path: Path, version: str | None, report: Progress, *, activate: bool
) -> Manifest:
    """Make a version out of such a file; see `Store.import_version`."""
    with _opened(path) as archive:
        catalog.prepare()
        with in_workshop(catalog.versions, "import", catalog.lock) as work:
            manifest = _unpacked(archive, work, path, report)
            if version is not None:
                manifest = manifest.model_copy(update={"name": version})
            catalog.refuse_name(manifest.name)
            catalog.put_in_place(work, manifest, activate=activate)
    return manifest


def _unpacked(archive: tarfile.TarFile, work: Path, path: Path, report: Progress) -> Manifest:
    """The files of an archive in a folder, each as its manifest says."""
    first = archive.next()
    if first is None or first.name != MANIFEST or first.size > _LARGEST_MANIFEST:
        raise _broken(path, f"it does not begin with a {MANIFEST}")
    _write(archive, first, work / MANIFEST)
    try:
        manifest = Manifest.read(work)
    except StoreCorruptError as error:
        raise _broken(path, f"its {MANIFEST} was changed") from error
    missing, done = dict(manifest.files), 0
    while member := archive.next():
        # Names come from outside: only those that the manifest has are written to.
        record = missing.pop(member.name, None)
        if record is None or not _plain(member.name):
            raise _broken(path, f"{member.name!r} is not in its manifest, or there twice")
        target = work / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        found = _write(archive, member, target)
        if found != record:
            raise _broken(
                path,
                f"{member.name} has {found.bytes} bytes with sha256 {found.sha256}, expected "
                f"{record.bytes} with {record.sha256}",
            )
        done += record.bytes
        report("files", done, manifest.bytes)
    if missing:
        raise _broken(path, f"{', '.join(missing)} is missing")
    return manifest


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> FileRecord:
    """Write a member into a new file; its size and digest."""
    content = archive.extractfile(member) if member.isreg() else None
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        while content is not None and (piece := content.read(_PIECE)):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def _add(archive: tarfile.TarFile, path: Path, name: str) -> str:
    """Put a file into an archive; its digest as it was read."""
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Hashing(file)
        archive.addfile(member, reader)
    return reader.digest.hexdigest()


class _Hashing:
    """A file whose digest is worked out while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` when all went well."""
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent}: there is no such folder to write {path.name} to: make it")
    new = staging_path(path)
    try:
        with new.open("wb") as file:
            yield file
        sync(new)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file: check the path")
    try:
        with tarfile.open(path, "r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise _broken(path, str(error)) from error


def _plain(name: str) -> bool:
    """Whether a name stays inside the folder that it is joined to."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") for part in parts) and name != MANIFEST


def _broken(path: Path, found: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} is no exported version, or was changed: {found}: copy or export it again"
    )
