"""Derive a version from another: files that stay are shared, only what changes is worked out.

Knows which files of a version change and how; knows nothing of where the changes come from. The
numbers by which a retriever knows passages go on from version to version: those of removed passages
are not used again. Rows follow from them (`Passages.kept`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragcore.contracts import Retriever
from ragcore.disk.arrays import save_array
from ragcore.disk.atomic import writing
from ragcore.disk.links import share
from ragcore.errors import UnsupportedOperation
from ragcore.memory.memory import Memory
from ragcore.memory.passages import PassageWriter
from ragcore.registry.components import ComponentSpec
from ragcore.store.build import checked_passages, write_retriever
from ragcore.store.catalog import Catalog
from ragcore.store.diff import Changes, Derivation, derive
from ragcore.store.layout import (
    ROW_NUMBERS,
    VersionFolder,
    file_records,
    passage_file,
    passage_files,
)
from ragcore.store.manifest import Manifest
from ragcore.store.opening import matching_spec, open_version
from ragcore.store.progress import Progress
from ragcore.store.staging import staging_folder

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["update_version"]


def update_version(
    catalog: Catalog,
    version: str,
    changes: Changes,
    *,
    parent: str | None,
    retriever: ComponentSpec[Retriever] | None,
    activate: bool,
    report: Progress,
) -> Manifest:
    """Derive a version from another and put it in place; see `Store.update`."""
    catalog.refuse_name(version)
    with catalog.lease(parent) as base:
        base.check_files(digests=False)
        spec = matching_spec(base, retriever)
        with open_version(base, spec) as memory:
            derivation = derive(memory.passages, changes)
            _refuse_unsupported(spec, memory.retriever, derivation)
            with writing(catalog.folder), staging_folder(catalog, version) as staging:
                count = _write_update(staging, base, memory, spec, derivation, report)
                manifest = Manifest.of_now(
                    version,
                    passages=count,
                    retriever=spec,
                    fingerprint=base.manifest.fingerprint,
                    corpus=base.manifest.corpus,
                    parent=base.name,
                    files=file_records(staging, report, base.records()),
                )
                catalog.put_in_place(staging, manifest, activate=activate)
    return manifest


def _refuse_unsupported(
    spec: ComponentSpec[Retriever], retriever: Retriever, derivation: Derivation
) -> None:
    """Check that a retriever can add and remove passages, as far as an update needs it.

    Raises:
        UnsupportedOperation: it cannot.
    """
    counts = {"add": len(derivation.added), "remove": len(derivation.removed)}
    for capability, count in counts.items():
        if count and capability not in retriever.capabilities:
            raise UnsupportedOperation.of(f"retriever {spec.use!r}", capability)


def _write_update(
    staging: Path,
    base: VersionFolder,
    memory: Memory,
    spec: ComponentSpec[Retriever],
    derivation: Derivation,
    report: Progress,
) -> int:
    """Write the files of a derived version; return the number of its passages.

    Args:
        staging: the folder that the version is written in.
        base: the version that it is derived from.
        memory: that version, opened for this alone: its retriever is changed.
        spec: of the retriever, for errors.
        derivation: which passages are removed and added.
        report: called with the number of new passages that are done ("passages").

    Raises:
        CorpusError: a new passage has no id or no text.
    """
    retriever, passages = memory.retriever, memory.passages
    files = passage_files(base.path)
    for file in files:
        share(file, staging / file.name)
    numbers = _numbers(memory)  # [n]
    added = passages.stored + np.arange(len(derivation.added), dtype=np.int64)  # [a]
    if len(added):
        with PassageWriter(passage_file(staging, len(files))) as writer:
            writer.write(list(checked_passages(derivation.added)))
    if len(derivation.removed):
        retriever.remove(numbers[derivation.removed])
    if len(added):
        retriever.add(added, derivation.added)
        report("passages", len(added), len(added))
    numbers = np.concatenate([np.delete(numbers, derivation.removed), added])  # [n - r + a]
    if len(numbers) < passages.stored + len(added):
        save_array(staging / ROW_NUMBERS, numbers)
    write_retriever(staging, spec, retriever, len(numbers))
    return len(numbers)


def _numbers(memory: Memory) -> Rows:
    """Return the numbers by which the retriever knows a version's passages, by row, int64 [n]."""
    numbers = memory.passages.kept
    return np.arange(len(memory), dtype=np.int64) if numbers is None else numbers
