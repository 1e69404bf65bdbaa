"""Forget passages in the files of every version.

A version that is derived from another shares its files, so that a removed passage is hidden there,
not gone. Forgetting everywhere rewrites the files: a passage that no version has is replaced by an
empty one, so that all others keep their numbers; a retriever drops its vectors, or is built again.

Knows versions and their files; knows nothing of caches, exports and what else has a copy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ragcore.contracts import CompactingRetriever, Retriever, supports
from ragcore.disk.arrays import save_array
from ragcore.disk.atomic import try_lock, writing
from ragcore.disk.links import share
from ragcore.disk.remote import pointers_below
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.memory.remote import RemotePassageWriter
from ragcore.registry.components import ComponentSpec
from ragcore.store.build import write_retriever
from ragcore.store.by_document import without_passages
from ragcore.store.catalog import Catalog, LeasedVersion
from ragcore.store.documents import DOCUMENT_FILES
from ragcore.store.forget_targets import Targets, has_document, staying_after
from ragcore.store.layout import (
    ROW_NUMBERS,
    Inode,
    file_records,
    format_of,
    identity_of,
    passage_files,
    passage_writer,
    share_passages,
)
from ragcore.store.moved import carry_moved
from ragcore.store.opening import check_opens, matching_spec, open_version
from ragcore.store.progress import Progress
from ragcore.store.staging import scratch_folder, staging_folder
from ragcore.types import Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["Forgotten", "rewrite_all"]

_BLANK: Final = Passage("", "", "")
"""What stands in a file for a passage that was erased; no version has it."""

_BATCH: Final = 512


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten, and where it is left.

    Attributes:
        passages: that were forgotten, of all versions; their texts may be in other places still.
        version: the new current version; None where the current one had none of them.
        rewritten: versions whose files were rewritten.
        left: versions that have one of the passages in their files still.
        in_use: those of them that stay as they are because a program has them open.
    """

    passages: tuple[Passage, ...]
    version: str | None
    rewritten: tuple[str, ...]
    left: tuple[str, ...]
    in_use: tuple[str, ...]


def rewrite_all(
    catalog: Catalog,
    targets: Targets,
    *,
    retriever: ComponentSpec[Retriever] | None,
    report: Progress,
) -> tuple[list[str], list[str]]:
    """Rewrite the versions whose files have a target, or passages of no version.

    Each version is rewritten next to its place and exchanged for the old one; its name, its parent
    and its other passages stay. One that a program has open stays as it is.

    Args:
        catalog: of the store.
        targets: the passages and documents to erase.
        retriever: as for `Store.open`; used for versions that were built with one of its name.
        report: called as by a build.

    Returns:
        The versions that were rewritten, and those that a program has open.

    Raises:
        EmptyCorpusError: a version would have no passage left.
    """
    with writing(catalog.folder), ExitStack() as locks:
        names, in_use = [], []
        for name in catalog.names():
            lock = try_lock(catalog.versions / name)
            if lock is None:
                in_use.append(name)
            else:
                locks.callback(os.close, lock)
                names.append(name)
        versions = {name: _version(catalog, name) for name in names}
        for version in versions.values():
            version.check_files(digests=True)
        staying = {name: staying_after(version, targets.ids) for name, version in versions.items()}
        needed = _needed(versions, staying)
        to_rewrite = _files_to_rewrite(versions.values(), needed)
        rewritten = []
        new_files: dict[Inode, Path] = {}
        for name, version in versions.items():
            inodes = {identity_of(file) for file, _, _ in _ranges(version)}
            if inodes.isdisjoint(to_rewrite) and not has_document(version, targets.documents):
                continue
            # A file that several versions share is written once, in the first of them.
            stays = {inode: needed[inode] for inode in inodes & to_rewrite}
            _rewrite(
                catalog,
                version,
                staying[name],
                targets.documents,
                stays,
                new_files,
                retriever,
                report,
            )
            rewritten.append(name)
        return rewritten, in_use


def _version(catalog: Catalog, name: str) -> LeasedVersion:
    """Return a version whose folder the caller has locked."""
    return LeasedVersion(
        catalog.versions / name,
        catalog.manifest(name),
        None,
        store=catalog.folder,
        passage_store=catalog.passage_store,
    )


def _ranges(version: LeasedVersion) -> list[tuple[Path, int, int]]:
    """Return each file of a version's passages with the numbers [start, stop) that it has."""
    files = passage_files(version.path)
    lengths = []
    for file in files:
        with Passages(file, choose=version.choose_store) as passages:
            lengths.append(len(passages))
    stops = list(accumulate(lengths))
    return [(file, stop - n, stop) for file, stop, n in zip(files, stops, lengths, strict=True)]


def _needed(versions: dict[str, LeasedVersion], staying: dict[str, Rows]) -> dict[Inode, Rows]:
    """Return for each file of passages which of its positions a version needs, ascending."""
    needed: dict[Inode, Rows] = {}
    for name, version in versions.items():
        for file, start, stop in _ranges(version):
            first, last = np.searchsorted(staying[name], (start, stop))
            positions = staying[name][first:last] - start
            inode = identity_of(file)
            needed[inode] = np.union1d(needed.get(inode, positions), positions)
    return needed


def _files_to_rewrite(
    versions: Iterable[LeasedVersion], needed: dict[Inode, Rows]
) -> frozenset[Inode]:
    """Return the files that have a passage, not erased yet, which no version needs."""
    files = {
        identity_of(file): (file, version)
        for version in versions
        for file, _, _ in _ranges(version)
    }
    to_rewrite = set()
    for inode, (file, version) in files.items():
        with Passages(file, choose=version.choose_store) as passages:
            unneeded = np.ones(len(passages), bool)
            unneeded[needed[inode]] = False
            if any(passages.ids(np.flatnonzero(unneeded))):
                to_rewrite.add(inode)
    return frozenset(to_rewrite)


def _rewrite(
    catalog: Catalog,
    version: LeasedVersion,
    staying: Rows,
    forgotten: Collection[str],
    needed: dict[Inode, Rows],
    new_files: dict[Inode, Path],
    retriever: ComponentSpec[Retriever] | None,
    report: Progress,
) -> None:
    """Write a version without what is erased, and put it in the place of the old one.

    Args:
        catalog: of the store.
        version: that is rewritten.
        staying: numbers of the passages that it has from now on, int64 [n], ascending.
        forgotten: ids of documents that it does not know from now on.
        needed: for each file of passages that is rewritten, the positions that stay.
        new_files: for each old file, the one that replaces it, as far as there is one.
        retriever: as for `rewrite_all`.
        report: called as by a build.
    """
    use = retriever if retriever and retriever.use == version.manifest.retriever["use"] else None
    spec = matching_spec(version, use)
    with (
        staging_folder(catalog, version.name, retriever=use, replaces=True) as (staging, _),
        ExitStack() as scratch,
    ):
        written: dict[Inode, str] = {}
        for number, (file, _, _) in enumerate(_ranges(version)):
            inode = identity_of(file)
            if inode not in needed:
                share_passages(file, staging / file.name)
            elif inode in new_files:
                share_passages(new_files[inode], staging / file.name)
            else:
                with Passages(file, choose=version.choose_store) as passages:
                    passage_store = version.store_of_new() if file.is_dir() else None
                    _write_passages(
                        passages, passage_writer(staging, number, passage_store), needed[inode]
                    )
                written[inode] = file.name
        documents = version.open_documents()
        recorded = version.manifest.documents
        with open_version(version, spec, recorded=use is None) as memory:
            numbers = _numbers(memory)
            removed = numbers[~np.isin(numbers, staying)]
            if documents is not None:
                counted = without_passages(documents, removed, staging, forgotten=forgotten)
                if counted is None:
                    for name in DOCUMENT_FILES:
                        share(version.path / name, staging / name)
                else:
                    recorded = counted
            carry_moved(version, staging, removed)
            if len(staying) < memory.passages.stored:
                save_array(staging / ROW_NUMBERS, staying)

            def prepare(writer: Retriever, purpose: str) -> None:
                """Let what writes to a database note there first what it writes."""
                if any(pointers_below(version.path)):
                    scratch.enter_context(
                        scratch_folder(
                            catalog,
                            writer,
                            spec=spec,
                            fresh=True,
                            report=report,
                            parent=f"{purpose} {version.name}",
                        )
                    )

            part = _without_rows(memory, spec, staying, removed, report, prepare)
            write_retriever(staging, spec, part, len(staying))
        files = file_records(staging, report, version.records())
        manifest = version.manifest.model_copy(
            update={
                "format": format_of(files),
                "passages": len(staying),
                "documents": recorded,
                "files": files,
            }
        )
        check_opens(staging, manifest, spec, catalog.folder, catalog.passage_store)
        catalog.replace(staging, manifest)
    for inode, file_name in written.items():
        new_files[inode] = catalog.versions / version.name / file_name


def _write_passages(
    passages: Passages, writer: PassageWriter | RemotePassageWriter, needed: Rows
) -> None:
    """Copy passages, with an empty one in the place of each that is not needed."""
    with writer:
        stays = np.zeros(len(passages), bool)
        stays[needed] = True
        for position, passage in enumerate(passages):
            writer.write([passage if stays[position] else _BLANK])


def _numbers(memory: Memory) -> Rows:
    staying = memory.passages.kept
    return np.arange(len(memory), dtype=np.int64) if staying is None else np.array(staying)


def _without_rows(
    memory: Memory,
    spec: ComponentSpec[Retriever],
    staying: Rows,
    removed: Rows,
    report: Progress,
    prepare: Callable[[Retriever, str], None],
) -> Retriever:
    """Return a retriever of the passages that stay, which has nothing of the others.

    Where it cannot drop them it is built again, and encodes all passages.

    Args:
        memory: the version as it is.
        spec: of its retriever.
        staying: numbers of the passages that stay.
        removed: numbers of those that do not.
        report: called as by a build.
        prepare: called with the retriever that is written to, before it is, and what for.
    """
    old = memory.retriever
    can_remove = "remove" in old.capabilities
    if can_remove and supports(old, CompactingRetriever):
        prepare(old, "compact")
        if len(removed):
            old.remove(removed)
        if old.compact():
            return old
    new = spec.build()
    prepare(new, "rebuild")
    rows = memory.passages.rows(staying)
    for start in range(0, len(staying), _BATCH):
        chunk = memory.passages.take(rows[start : start + _BATCH])
        new.add(staying[start : start + _BATCH], chunk)
        report("passages", start + len(chunk), len(staying))
    return new
