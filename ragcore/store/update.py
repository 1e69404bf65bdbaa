"""Derive a version from another: files that stay are shared, only what changes is worked out.

Knows which files of a version change and how; knows nothing of where the changes come from. The
numbers by which a retriever knows passages go on from version to version: those of removed passages
are not used again. Rows follow from them (`Passages.kept`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ragcore.contracts import Corpus, Retriever, VectorCache
from ragcore.disk.arrays import save_array
from ragcore.disk.atomic import writing
from ragcore.disk.links import share, share_tree
from ragcore.errors import UnsupportedOperation
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec, keep_shared
from ragcore.retrievers.members import cut_of
from ragcore.store.build import give_cache, store_record, write_retriever
from ragcore.store.by_document import update_documents, without_passages
from ragcore.store.catalog import Catalog, LeasedVersion
from ragcore.store.checking import checked_passages, document_corpus, label_of
from ragcore.store.comparing import DocumentCounts
from ragcore.store.diff import Changes, changes_to, derive
from ragcore.store.documents import DOCUMENT_FILES
from ragcore.store.guards import (
    Allowed,
    CorpusFacts,
    check_deletions,
    check_same_corpus,
    facts_of,
    keys_cover_settings,
)
from ragcore.store.layout import (
    RETRIEVER,
    ROW_NUMBERS,
    Verify,
    VersionFolder,
    choice_of,
    file_records,
    format_of,
    has_pointer,
    passage_file,
    passage_files,
    passage_writer,
    share_passages,
)
from ragcore.store.manifest import Manifest, base_of, same_settings
from ragcore.store.moved import MovedPassages
from ragcore.store.opening import check_opens, matching_spec, open_version, suspecting_damage
from ragcore.store.progress import Progress
from ragcore.store.remote import check_remote
from ragcore.store.renaming import count_renamed
from ragcore.store.staging import scratch_folder, staging_folder
from ragcore.store.tokenizers import give_tokenizer
from ragcore.types import CutPassages, Passage

if TYPE_CHECKING:
    from ragcore.types import Rows

__all__ = ["ChangeSource", "Updated", "update_version"]

ChangeSource = Changes | Callable[[Passages], Changes] | Iterable[Passage]
"""What an update is told: changes, how to work them out, or a corpus with all passages."""


class Revision(NamedTuple):
    """How a version's passages follow from its parent's; the new ones are in its folder.

    Attributes:
        removed: numbers of the parent's passages that do not stay, int64 [r], ascending.
        added: how many new ones follow those that stay.
        replaced: how many of them replace a removed one.
        is_empty: whether nothing changes.
        moved: how many of those that stay moved in their documents; their metadata are in its
            folder, too.
        recorded: how many documents with passages the new version has; None where it knows none.
        documents: what happened to how many documents, where the corpus knows them.
        facts: what the corpus tells of itself; None where the parent's record of it stays.
    """

    removed: Rows
    added: int
    replaced: int
    is_empty: bool
    moved: int = 0
    recorded: int | None = None
    documents: DocumentCounts | None = None
    facts: CorpusFacts | None = None


class Updated(NamedTuple):
    """What an update did.

    Attributes:
        manifest: of the new version; of its parent where nothing changed.
        revision: how the passages follow from the parent's.
        parent: the version that was updated.
        seconds: how long it took.
        cut_passages: new passages that are longer than an encoder reads.
    """

    manifest: Manifest
    revision: Revision
    parent: str
    seconds: float
    cut_passages: tuple[CutPassages, ...] = ()


def update_version(
    catalog: Catalog,
    version: str | None,
    changes: ChangeSource,
    *,
    parent: str | None,
    retriever: ComponentSpec[Retriever] | None,
    corpus_config: ComponentSpec[Corpus] | None,
    activate: bool,
    verify: Verify,
    allow: Collection[Allowed],
    batch: int,
    cache: VectorCache | None,
    report: Progress,
) -> Updated:
    """Derive a version from another and put it in place; see `Store.update`."""
    started = perf_counter()
    if version is not None:
        catalog.refuse_name(version)
    with (
        catalog.lease(parent) as base,
        writing(catalog.folder),
        staging_folder(catalog, version, retriever=retriever) as (staging, name),
    ):
        base.check_files(digests=verify)
        if verify not in (True, "full"):
            read = [*base.passage_names(), *base.document_names()]
            base.check_files(digests=True, only=read)
        spec = matching_spec(base, retriever)
        if verify in (True, "full"):
            check_remote(base, spec, full=True)
        with ExitStack() as loaded:
            with open_version(base, spec, recorded=retriever is None) as memory:
                corpus_name = None if corpus_config is None else corpus_config.use
                give_tokenizer(changes, corpus_name, memory.retriever, spec.use)
                revision = _revision(
                    base, memory.passages, changes, corpus_config, staging, allow, report
                )
                if revision.is_empty:
                    seconds = perf_counter() - started
                    return Updated(base.manifest, revision, base.name, seconds)
                _refuse_unsupported(spec, memory.retriever, revision)
                give_cache(memory.retriever, cache)
                # What is encoded stays until the version is in place, however that fails.
                loaded.enter_context(
                    scratch_folder(
                        catalog,
                        memory.retriever,
                        spec=spec,
                        fresh=False,
                        report=report,
                        parent=base.name,
                    )
                )
                with suspecting_damage(base):
                    count = _write_update(staging, base, memory, spec, revision, batch, report)
                cut = cut_of(memory.retriever)
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
                parent=base.name,
                files=files,
                format=format_of(files),
                documents=revision.recorded,
                passage_store=_store_record(base, files),
                **_corpus_fields(catalog, base.manifest, spec, corpus_config, revision),
            )
            if activate:
                check_opens(staging, manifest, spec, catalog.folder, catalog.passage_store)
            manifest = catalog.put_in_place(staging, manifest, activate=activate)
    return Updated(manifest, revision, base.name, perf_counter() - started, cut)


def _revision(
    base: LeasedVersion,
    passages: Passages,
    changes: ChangeSource,
    corpus_config: ComponentSpec[Corpus] | None,
    staging: Path,
    allow: Collection[Allowed],
    report: Progress,
) -> Revision:
    """Work out how the new version's passages follow, and write its new passages and documents."""
    name = None if corpus_config is None else corpus_config.use
    corpus = document_corpus(changes)
    if corpus is None:
        if not isinstance(changes, Changes):
            changes = (
                changes_to(passages, changes, name)
                if isinstance(changes, Iterable)
                else changes(passages)
            )
        return _revision_by_id(base, passages, changes, staging)
    label = label_of(name)
    check_same_corpus(base.manifest, facts_of(corpus, label), allow)
    update = update_documents(
        base,
        passages,
        corpus,
        staging,
        name=name,
        trusted=keys_cover_settings(corpus) or same_settings(base.manifest, corpus_config),
        report=report,
    )
    # Once more: some corpora know only when they were read of what state they are.
    facts = facts_of(corpus, label)
    check_same_corpus(base.manifest, facts, allow)
    check_deletions(
        base.name,
        update.documents,
        update.loose,
        allow,
        renamed=lambda: count_renamed(base, passages, staging),
    )
    return Revision(
        update.removed,
        update.added,
        update.replaced,
        update.is_empty,
        update.moved,
        update.recorded,
        update.documents,
        facts,
    )


def _revision_by_id(
    base: LeasedVersion, passages: Passages, changes: Changes, staging: Path
) -> Revision:
    """Work out what changes by passages' ids make of a version, and write its new passages."""
    derivation = derive(passages, changes)
    kept = passages.kept
    removed = derivation.removed if kept is None else kept[derivation.removed]
    if derivation.added:
        number = len(passage_files(base.path))
        with passage_writer(staging, number, base.store_of_new()) as writer:
            writer.write(list(checked_passages(derivation.added)))
    rows = np.array([row for row, _ in derivation.moved], np.int64)  # [m]
    numbers = rows if kept is None else kept[rows]
    with MovedPassages(staging) as moved:
        for number, (_, passage) in zip(numbers.tolist(), derivation.moved, strict=True):
            moved.add(number, passage)
    moved.write(base, staging, removed)
    documents = base.open_documents()
    recorded = base.manifest.documents
    if documents is not None:
        counted = without_passages(documents, removed, staging, changed=numbers)
        recorded = recorded if counted is None else counted
        if counted is None:
            for file in DOCUMENT_FILES:
                share(base.path / file, staging / file)
    return Revision(
        removed,
        len(derivation.added),
        derivation.replaced,
        derivation.is_empty,
        moved=moved.count,
        recorded=recorded,
    )


def _store_record(base: VersionFolder, files: Collection[str]) -> dict[str, Any] | None:
    """Return what the new manifest says of the passage store: the pipeline's, or the parent's.

    Args:
        base: the parent.
        files: of the new version.
    """
    if not has_pointer(files):
        return None
    return store_record(base.passage_store) or base.manifest.passage_store


def _corpus_fields(
    catalog: Catalog,
    parent: Manifest,
    spec: ComponentSpec[Retriever],
    corpus_config: ComponentSpec[Corpus] | None,
    revision: Revision,
) -> dict[str, Any]:
    """Return what the new manifest says of the corpus: the one that it was compared with, if any.

    Paths are recorded from the parent's folder on where the parent's record of the corpus stays.
    """
    base = base_of(spec.record_base(), catalog.folder)
    facts = revision.facts
    if facts is None:
        corpus_state = {
            "corpus_identity": parent.corpus_identity,
            "corpus_date": parent.corpus_date,
        }
    else:
        # What the corpus does not tell stays, so that the next update is checked against it.
        corpus_state = {
            "corpus_identity": facts.identity or parent.corpus_identity,
            "corpus_date": facts.date or parent.corpus_date,
        }
    if corpus_config is None:
        record = {"corpus": parent.corpus, "corpus_paths": parent.corpus_paths}
        return {**record, "base": base or parent.base, **corpus_state}
    return {
        "corpus": corpus_config.to_record(),
        "corpus_paths": [f"/corpus{pointer}" for pointer in corpus_config.record_paths()],
        "base": base or base_of(corpus_config.record_base(), catalog.folder) or parent.base,
        **corpus_state,
    }


def _refuse_unsupported(
    spec: ComponentSpec[Retriever], retriever: Retriever, revision: Revision
) -> None:
    """Check that a retriever can add and remove passages, as far as an update needs it.

    Raises:
        UnsupportedOperation: it cannot.
    """
    counts = {"add": revision.added, "remove": len(revision.removed)}
    for capability, count in counts.items():
        if count and capability not in retriever.capabilities:
            raise UnsupportedOperation.of(f"retriever {spec.use!r}", capability)


def _write_update(
    staging: Path,
    base: VersionFolder,
    memory: Memory,
    spec: ComponentSpec[Retriever],
    revision: Revision,
    batch: int,
    report: Progress,
) -> int:
    """Write passages and retriever of a derived version; return the number of its passages.

    Args:
        staging: the folder that the version is written in; has its new passages, its documents,
            and the metadata of passages that moved.
        base: the version that it is derived from.
        memory: that version, opened for this alone: its retriever is changed.
        spec: of the retriever, for errors.
        revision: which passages are removed and added.
        batch: how many passages are added at once.
        report: called with the number of new passages that are done ("passages").
    """
    retriever, passages = memory.retriever, memory.passages
    files = passage_files(base.path)
    for file in files:
        share_passages(file, staging / file.name)
    if not len(revision.removed) and not revision.added:
        # What the retriever holds stays as well, and saving it could write it again.
        if (base.path / ROW_NUMBERS).exists():
            share(base.path / ROW_NUMBERS, staging / ROW_NUMBERS)
        share_tree(base.retriever, staging / RETRIEVER)
        return len(passages)
    added = passages.stored + np.arange(revision.added, dtype=np.int64)  # [a]
    if len(revision.removed):
        retriever.remove(revision.removed)
    if len(added):
        with Passages(
            passage_file(staging, len(files)), choose=choice_of(base.store_of_new())
        ) as new:
            stream = iter(new)
            for start in range(0, len(added), batch):
                chunk = list(islice(stream, batch))
                retriever.add(added[start : start + batch], chunk)
                report("passages", start + len(chunk), len(added))
    numbers = _numbers(passages, revision.removed, added)  # [n - r + a]
    if len(numbers) < passages.stored + len(added):
        save_array(staging / ROW_NUMBERS, numbers)
    write_retriever(staging, spec, retriever, len(numbers))
    return len(numbers)


def _numbers(passages: Passages, removed: Rows, added: Rows) -> Rows:
    """Return the numbers of a new version's passages, by row, int64 [n - r + a].

    Args:
        passages: of the parent.
        removed: numbers that do not stay, int64 [r], ascending.
        added: numbers that follow, int64 [a].
    """
    stays = np.ones(len(passages), bool)  # [n]
    stays[passages.rows(removed)] = False
    numbers = np.empty(len(passages) - len(removed) + len(added), np.int64)
    left = numbers[: len(numbers) - len(added)]
    if passages.kept is None:
        left[:] = np.flatnonzero(stays)
    else:
        np.compress(stays, passages.kept, out=left)
    numbers[len(left) :] = added
    return numbers
