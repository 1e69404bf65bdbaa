"""Derive a version from another: files that stay are shared, only what changes is worked out.

Knows which files of a version change and how; knows nothing of where the changes come from. The
numbers by which a retriever knows passages go on from version to version: those of removed passages
are not used again. Rows follow from them (`Passages.kept`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ragcore.contracts import Retriever
from ragcore.disk.arrays import save_array
from ragcore.disk.atomic import writing
from ragcore.disk.links import share
from ragcore.errors import UnsupportedOperation
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages, PassageWriter
from ragcore.registry.components import ComponentSpec, keep_shared
from ragcore.store.build import write_retriever
from ragcore.store.catalog import Catalog
from ragcore.store.checking import checked_passages
from ragcore.store.diff import Changes, Derivation, derive
from ragcore.store.layout import (
    ROW_NUMBERS,
    Verify,
    VersionFolder,
    file_records,
    passage_file,
    passage_files,
)
from ragcore.store.manifest import Manifest, base_of
from ragcore.store.opening import check_opens, matching_spec, open_version, suspecting_damage
from ragcore.store.progress import Progress
from ragcore.store.staging import staging_folder

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["Updated", "update_version"]


class Updated(NamedTuple):
    """What an update did.

    Attributes:
        manifest: of the new version; of its parent where nothing changed.
        derivation: how the passages follow from the parent's.
        parent: the version that was updated.
    """

    manifest: Manifest
    derivation: Derivation
    parent: str


def update_version(
    catalog: Catalog,
    version: str | None,
    changes: Changes | Callable[[Passages], Changes],
    *,
    parent: str | None,
    retriever: ComponentSpec[Retriever] | None,
    activate: bool,
    verify: Verify,
    report: Progress,
) -> Updated:
    """Derive a version from another and put it in place; see `Store.update`."""
    if version is not None:
        catalog.refuse_name(version)
    with (
        catalog.lease(parent) as base,
        writing(catalog.folder),
        staging_folder(catalog, version) as (staging, name),
    ):
        base.check_files(digests=verify)
        if verify not in (True, "full"):
            base.check_files(digests=True, only=base.passage_names())
        spec = matching_spec(base, retriever)
        with ExitStack() as loaded:
            with open_version(base, spec, recorded=retriever is None) as memory:
                if callable(changes):
                    changes = changes(memory.passages)
                derivation = derive(memory.passages, changes)
                if derivation.is_empty:
                    return Updated(base.manifest, derivation, base.name)
                _refuse_unsupported(spec, memory.retriever, derivation)
                with suspecting_damage(base):
                    count = _write_update(staging, base, memory, spec, derivation, report)
                # What the new files were derived from; the others are the parent's own, unread.
                base.check_files(digests=True, only=base.names_not_shared(staging))
                files = file_records(staging, report, base.records())
                loaded.enter_context(keep_shared())
            # Before the new version is opened: one index in memory, not two.
            del memory
            manifest = Manifest.of_now(
                name,
                passages=count,
                retriever=spec,
                fingerprint=base.manifest.fingerprint,
                corpus=base.manifest.corpus,
                corpus_paths=base.manifest.corpus_paths,
                base=base_of(spec.record_base(), catalog.folder) or base.manifest.base,
                parent=base.name,
                files=files,
            )
            if activate:
                check_opens(staging, manifest, spec, catalog.folder)
        manifest = catalog.put_in_place(staging, manifest, activate=activate)
    return Updated(manifest, derivation, base.name)


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
