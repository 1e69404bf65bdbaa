"""Export a version to one file and import it: a tar archive with the manifest first.

Knows the archive's form, which any program that reads tar can look into; knows nothing of what the
files hold. Passages of a passage store are in it as files (unpointed.py). Archives are untrusted:
only files that the manifest names are written, and only a version whose files all have the recorded
digests is put in place.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from ragcore.contracts import Retriever
from ragcore.disk.atomic import sha256_of_samples, writing
from ragcore.disk.replacing import replacing
from ragcore.errors import StoreCorruptError, StoreError
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.layout import VersionFolder, without_passages
from ragcore.store.manifest import MANIFEST, Manifest
from ragcore.store.opening import check_opens
from ragcore.store.portable import left_paths
from ragcore.store.progress import Progress
from ragcore.store.shared_tables import is_pointer
from ragcore.store.staging import staging_folder
from ragcore.store.unpointed import WholeVersion, with_files, with_pointers

__all__ = ["export_version", "import_version"]

_LOG: Final = logging.getLogger("ragcore.store")
_PIECE: Final = 1 << 20
_LARGEST_MANIFEST: Final = 1 << 26
_DAMAGE: Final = (
    tarfile.TarError,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
)
"""What tarfile raises where an archive is damaged, or made to do harm."""


def export_version(
    catalog: Catalog, version: VersionFolder, target: Path | IO[bytes], report: Progress
) -> None:
    """Write a version to a file; see `Store.export`.

    No time, no user name and no recorded path of this machine is written, so that the same version
    gives the same bytes. A warning names each other text that looks like a path.
    """
    version.check_files(digests=False)
    remote = next(filter(is_pointer, without_passages(version.manifest.files)), None)
    if remote is not None:
        raise StoreError(
            f"version {version.name!r} cannot be exported: {remote} in it leads to a table in a "
            "database, which a file would not have: copy the database and the store's folder, or "
            "build the memory with an index that has files, and export that"
        )
    for pointer in left_paths(version.manifest):
        _LOG.warning(
            "version %r: %r in its manifest looks like a path of this machine and is exported as "
            "it is: its setting is no ConfigPath, Path or ModelName",
            version.name,
            pointer,
        )
    if not isinstance(target, Path):
        # Written from its beginning to its end, as a pipe must be.
        with (
            with_files(version, None) as whole,
            tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            _write_archive(whole, archive, report)
        return
    _refuse_own(catalog, target)
    with (
        writing(target.parent),
        with_files(version, target.parent) as whole,
        replacing(target) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _write_archive(whole, archive, report)


def _write_archive(whole: WholeVersion, archive: tarfile.TarFile, report: Progress) -> None:
    """Write a version's files one after the other."""
    manifest, done = whole.manifest, 0
    _add(archive, io.BytesIO(whole.text), MANIFEST)
    for name, record in manifest.files.items():
        path = whole.paths[name]
        with path.open("rb") as content:
            digest = _add(archive, content, name)
        if digest != record.sha256:
            raise StoreCorruptError(
                f"version {manifest.name!r} is damaged: {path} has sha256 "
                f"{digest}, expected {record.sha256}: restore the file, or rebuild the version "
                "under another name"
            )
        done += record.bytes
        report("files", done, manifest.bytes)


def _refuse_own(catalog: Catalog, target: Path) -> None:
    """Check that an export does not replace what the store itself consists of."""
    path, store = target.resolve(), catalog.folder.resolve()
    own = {store / "CURRENT", store / "HISTORY", store / ".lock"}
    if path in own or path.is_relative_to(store / "versions"):
        raise StoreError(f"{target} is the store's own: export to a path outside the store")


def import_version(
    catalog: Catalog,
    path: Path,
    version: str | None,
    report: Progress,
    *,
    activate: bool,
    retriever: ComponentSpec[Retriever] | None,
) -> Manifest:
    """Unpack an exported version and put it in place; see `Store.import_version`."""
    with _opened(path) as archive:
        manifest = _read_manifest(archive, path)
        if version is not None:
            manifest = manifest.model_copy(update={"name": version})
        catalog.refuse_name(manifest.name)
        members = _checked_members(archive, manifest, path)
        with writing(catalog.folder):
            catalog.prepare()
            _refuse_without_room(catalog, manifest, path)
            with staging_folder(catalog, manifest.name, retriever=retriever) as (
                staging,
                _,
            ):
                _unpack(archive, members, manifest, staging, path, report)
                if catalog.passage_store is not None:
                    manifest = with_pointers(staging, manifest, catalog.passage_store)
                if activate:
                    check_opens(staging, manifest, retriever, catalog.folder, catalog.passage_store)
                return catalog.put_in_place(staging, manifest, activate=activate, made_now=False)


def _read_manifest(archive: tarfile.TarFile, path: Path) -> Manifest:
    """Read the manifest of an archive, its first member."""
    first = archive.next()
    if first is None or first.name != MANIFEST or not _is_plain(first):
        raise _broken(path, f"it does not begin with a {MANIFEST}")
    if first.size > _LARGEST_MANIFEST:
        raise _broken(path, f"its {MANIFEST} has {first.size} bytes")
    content = archive.extractfile(first)
    try:
        return Manifest.parse(content.read() if content else b"", path / MANIFEST)
    except StoreCorruptError as error:
        raise _broken(path, f"its {MANIFEST} was changed") from error


def _checked_members(
    archive: tarfile.TarFile, manifest: Manifest, path: Path
) -> dict[str, tarfile.TarInfo]:
    """Compare the names and sizes of all members with the manifest, before anything is written.

    What an archive can make `import` write is bounded by its own size: a tar archive holds its
    files as they are, and members that stand for more than they hold (sparse files) are refused.
    """
    if manifest.passage_store is not None:
        # Passages of later updates would be sent there.
        raise _broken(path, f"its {MANIFEST} names a passage store, as no exported file does")
    missing, members = dict(manifest.files), {}
    while member := archive.next():
        # Names in an archive are untrusted: only those in the manifest become paths.
        expected = missing.pop(member.name, None)
        if expected is None or not _is_inside(member.name):
            raise _broken(path, f"{member.name!r} is not in its manifest, or occurs twice")
        if is_pointer(member.name):
            # It could lead to a table of another memory, which `gc` would drop with this version.
            raise _broken(path, f"{member.name!r} leads to a database, as no exported file does")
        if member.size != expected.bytes:
            raise _broken(path, f"{member.name} has {member.size} bytes, expected {expected.bytes}")
        if not _is_plain(member):
            raise _broken(path, f"{member.name} is no plain file")
        members[member.name] = member
    if missing:
        raise _broken(path, f"{', '.join(missing)} is missing")
    if manifest.bytes > path.stat().st_size:
        raise _broken(path, f"it is smaller than the {manifest.bytes} bytes of its files")
    return members


def _refuse_without_room(catalog: Catalog, manifest: Manifest, path: Path) -> None:
    """Check that the disk has room for all files."""
    free = shutil.disk_usage(catalog.folder).free
    if manifest.bytes > free:
        raise StoreError(
            f"{path} holds {manifest.bytes:,} bytes, and {catalog.folder} has room for {free:,}: "
            "free some room"
        )


def _unpack(
    archive: tarfile.TarFile,
    members: Mapping[str, tarfile.TarInfo],
    manifest: Manifest,
    staging: Path,
    path: Path,
    report: Progress,
) -> None:
    """Write the files of an archive into a folder, each checked against the manifest."""
    done = 0
    for name, expected in manifest.files.items():
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        size, digest = _write(archive, members[name], target)
        if (size, digest) != (expected.bytes, expected.sha256):
            raise _broken(
                path,
                f"{name} has {size} bytes with sha256 {digest}, expected {expected.bytes} with "
                f"{expected.sha256}",
            )
        samples = None if expected.samples is None else sha256_of_samples(target)
        if samples != expected.samples:
            # Opening, which reads these blocks alone, would refuse the version.
            raise _broken(
                path, f"the blocks of {name} have sha256 {samples}, expected {expected.samples}"
            )
        done += size
        report("files", done, manifest.bytes)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> tuple[int, str]:
    """Write a member to a new file; return its size and digest."""
    content = archive.extractfile(member)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        while content is not None and (piece := content.read(_PIECE)):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _add(archive: tarfile.TarFile, content: IO[bytes], name: str) -> str:
    """Add a file to an archive; return the sha256 of what was read."""
    member = tarfile.TarInfo(name)
    member.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    reader = _DigestingReader(content)
    archive.addfile(member, cast("IO[bytes]", reader))
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


class _BoundedReader:
    """An archive's file of which tarfile reads no more than a bound at a time.

    It reads extended headers whole, whatever size they declare.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_MANIFEST:
            raise tarfile.ReadError(f"a header declares {size} bytes")
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive; an error in its form, whenever it is noticed, names the file."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file: check the path")
    try:
        with (
            path.open("rb") as file,
            tarfile.open(fileobj=cast("IO[bytes]", _BoundedReader(file)), mode="r:") as archive,
        ):
            yield archive
    except _DAMAGE as error:
        raise _broken(path, str(error)) from error


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Return whether a member is a file whose bytes are all in the archive."""
    return member.isreg() and not member.issparse()


def _is_inside(name: str) -> bool:
    """Return whether a name stays inside the folder that it is joined to, and is no manifest's."""
    names = name.split("/")
    return not any(each in ("", ".", "..") for each in names) and name != MANIFEST


def _broken(path: Path, problem: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} is no exported version, or was changed: {problem}: copy or export it again"
    )
