"""Passages of a passage store as files and back, for versions that leave their store.

Knows which files of a version pointers stand for; knows nothing of archives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from ragcore.contracts import PassageStore
from ragcore.disk.remote import POINTER
from ragcore.disk.temporary import temporary_folder
from ragcore.errors import StoreCorruptError
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.memory.remote import RemotePassages
from ragcore.registry.components import ComponentSpec
from ragcore.store.layout import (
    VersionFolder,
    file_record,
    format_of,
    has_pointer,
    passage_files,
    passage_writer,
)
from ragcore.store.manifest import MANIFEST, Manifest
from ragcore.store.portable import portable

__all__ = ["WholeVersion", "with_files", "with_pointers"]

_TEMPORARY: Final = ".ragcore-export-"


class WholeVersion(NamedTuple):
    """A version whose passages are all in files.

    Attributes:
        manifest: of these files.
        text: of manifest.json, without paths of this machine.
        paths: where each file of the manifest is.
    """

    manifest: Manifest
    text: bytes
    paths: dict[str, Path]


@contextmanager
def with_files(version: VersionFolder, folder: Path | None) -> Iterator[WholeVersion]:
    """Yield a version with a file for each pointer, which is removed when the block ends.

    The files are those that a build without a passage store would have written. What a killed
    process has left of such files in the same folder is removed first.

    Args:
        version: that stays as it is.
        folder: in which there is room for the files; that of temporary files where None.

    Raises:
        StoreCorruptError: passages are not as the pointer says.
        MemoryUnavailableError: a passage store does not answer.
    """
    text = portable(version.manifest, version.path)
    if not has_pointer(version.manifest.files):
        paths = {name: version.path / name for name in version.manifest.files}
        yield WholeVersion(version.manifest, text, paths)
        return
    with temporary_folder(folder, _TEMPORARY) as temporary:
        paths, records = {}, {}
        written = {
            f"{path.name}/{POINTER}": _write_file(version, path, temporary)
            for path in passage_files(version.path)
            if path.is_dir()
        }
        for name, record in version.manifest.files.items():
            path = written.get(name, version.path / name)
            name = path.name if name in written else name
            paths[name] = path
            records[name] = file_record(path) if path in written.values() else record
        # Sorted as a build lists them, so that the bytes are those of a version without pointers.
        names = sorted(records, key=PurePosixPath)
        fields = {
            "files": {name: records[name] for name in names},
            "format": format_of(records),
            "passage_store": None,
        }
        whole = Manifest.parse(text, version.path / MANIFEST).model_copy(update=fields)
        yield WholeVersion(whole, whole.spelled(), paths)


def with_pointers(
    staging: Path, manifest: Manifest, passage_store: ComponentSpec[PassageStore]
) -> Manifest:
    """Write a version's files of passages to a passage store, and pointers in their place.

    Args:
        staging: the version's folder.
        manifest: of the version.
        passage_store: where the passages shall be.

    Returns:
        The manifest of the version with pointers.
    """
    records = dict(manifest.files)
    for number, path in enumerate(passage_files(staging)):
        with (
            Passages(path) as passages,
            passage_writer(staging, number, passage_store) as writer,
        ):
            for batch in passages.batches():
                writer.write(batch)
        path.unlink()
        del records[path.name]
        pointer = path.with_suffix("") / POINTER
        records[pointer.relative_to(staging).as_posix()] = file_record(pointer)
    fields = {
        "files": {name: records[name] for name in sorted(records, key=PurePosixPath)},
        "format": format_of(records),
        "passage_store": passage_store.to_dict(),
    }
    return manifest.model_copy(update=fields)


def _write_file(version: VersionFolder, pointer: Path, folder: Path) -> Path:
    """Write the passages that a pointer leads to into a file, once they are compared with it."""
    problems = list(RemotePassages(pointer, version.choose_store).problems(digests=True))
    if problems:
        raise StoreCorruptError(
            f"version {version.name!r} is damaged: {'; '.join(problems)}: rebuild it under another "
            "name"
        )
    target = folder / f"{pointer.name}.arrow"
    with (
        Passages(pointer, choose=version.choose_store) as passages,
        PassageWriter(target) as writer,
    ):
        for batch in passages.batches():
            writer.write(batch)
    return target
