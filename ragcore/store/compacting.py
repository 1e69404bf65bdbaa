"""Derive a version whose retriever has no removed rows in its files and as few segments as it can.

Knows which files are written again: those of the retriever. Passages keep their numbers, and texts
of removed ones stay in the files of passages.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter

from ragcore.contracts import CompactingRetriever, Fragments, Retriever, supports
from ragcore.disk.atomic import writing
from ragcore.disk.links import share
from ragcore.errors import UnsupportedOperation
from ragcore.registry.components import ComponentSpec, keep_shared
from ragcore.store.build import write_retriever
from ragcore.store.catalog import Catalog, LeasedVersion
from ragcore.store.layout import RETRIEVER, Verify, file_records
from ragcore.store.manifest import Manifest, base_of
from ragcore.store.opening import check_opens, files_of_retriever, matching_spec, open_version
from ragcore.store.progress import Progress
from ragcore.store.remote import check_remote
from ragcore.store.staging import scratch_folder, staging_folder

__all__ = ["Compacted", "compact_version", "fragments_of"]


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did.

    Attributes:
        manifest: of the new version; of its parent where nothing was to be done.
        parent: the version that it is derived from.
        before: the segments and removed rows of the parent.
        after: those of the new version.
        seconds: how long it took.
    """

    manifest: Manifest
    parent: str
    before: Fragments
    after: Fragments
    seconds: float


def fragments_of(version: LeasedVersion, spec: ComponentSpec[Retriever]) -> Fragments | None:
    """Return the segments and removed rows of a version's retriever; None if it has none.

    Raises:
        StoreCorruptError: a file that says so is missing or broken.
    """
    component = spec.component
    if not hasattr(component, "saved_fragments"):
        return None
    fragments: Fragments = component.saved_fragments(files_of_retriever(version, spec), spec.config)
    return fragments


def compact_version(
    catalog: Catalog,
    version: str | None,
    *,
    parent: str | None,
    retriever: ComponentSpec[Retriever] | None,
    activate: bool,
    verify: Verify,
    report: Progress,
) -> Compacted:
    """Derive a compact version from another and put it in place; see `Store.compact`."""
    started = perf_counter()
    if version is not None:
        catalog.refuse_name(version)
    with (
        ExitStack() as loaded,
        catalog.lease(parent) as base,
        writing(catalog.folder),
        staging_folder(catalog, version, retriever=retriever) as (staging, name),
    ):
        base.check_files(digests=verify)
        spec = matching_spec(base, retriever)
        if verify in (True, "full"):
            check_remote(base, spec, full=True)
        before = fragments_of(base, spec)
        if before is None:
            raise UnsupportedOperation.of(f"retriever {spec.use!r}", "compact")
        if before.is_compact:
            seconds = perf_counter() - started
            return Compacted(base.manifest, base.name, before, before, seconds)
        for file in base.manifest.files:
            if not file.startswith(f"{RETRIEVER}/"):
                (staging / file).parent.mkdir(exist_ok=True)
                share(base.path / file, staging / file)
        with open_version(base, spec, recorded=retriever is None) as memory:
            if not supports(memory.retriever, CompactingRetriever):
                raise UnsupportedOperation.of(f"retriever {spec.use!r}", "compact")
            purpose = f"compact {base.name}"
            # Where tables in a database are noted before they are written.
            loaded.enter_context(
                scratch_folder(
                    catalog,
                    memory.retriever,
                    spec=spec,
                    fresh=True,
                    report=report,
                    parent=purpose,
                )
            )
            memory.retriever.compact(join=True)
            write_retriever(staging, spec, memory.retriever, len(memory))
        del memory
        # What the new files were derived from; the others are the parent's own, unread.
        base.check_files(digests=True, only=base.names_not_shared(staging))
        manifest = base.manifest
        manifest = Manifest.of_now(
            name,
            passages=manifest.passages,
            retriever=spec,
            fingerprint=manifest.fingerprint,
            corpus=manifest.corpus,
            corpus_paths=manifest.corpus_paths,
            base=base_of(spec.record_base(), catalog.folder) or manifest.base,
            files=file_records(staging, report, base.records()),
            format=manifest.format,
            parent=base.name,
            documents=manifest.documents,
            corpus_identity=manifest.corpus_identity,
            corpus_date=manifest.corpus_date,
            shard=manifest.shard,
            passage_store=manifest.passage_store,
        )
        after = fragments_of(LeasedVersion(staging, manifest, None, store=catalog.folder), spec)
        assert after is not None  # Its parent's retriever has them.
        if activate:
            with keep_shared():
                check_opens(staging, manifest, spec, catalog.folder, catalog.passage_store)
        manifest = catalog.put_in_place(staging, manifest, activate=activate)
        return Compacted(manifest, base.name, before, after, perf_counter() - started)
