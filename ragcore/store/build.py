"""Build a version from a corpus: passages and retriever are written, described, renamed into place.

Knows how passages become files; knows nothing of how a version is chosen or opened later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ragcore.contracts import CacheUser, Corpus, DocumentCorpus, Retriever, VectorCache, supports
from ragcore.disk.atomic import writing
from ragcore.errors import ComponentError, EmptyCorpusError
from ragcore.memory.passages import PassageWriter
from ragcore.registry.components import ComponentSpec, keep_shared
from ragcore.retrievers.members import cut_of
from ragcore.store.catalog import Catalog
from ragcore.store.checking import (
    checked_documents,
    checked_passages,
    document_corpus,
    label_of,
)
from ragcore.store.documents import DocumentRecord, DocumentWriter, NoDocuments
from ragcore.store.guards import facts_of
from ragcore.store.layout import RETRIEVER, file_records, passage_file
from ragcore.store.manifest import Manifest, base_of
from ragcore.store.opening import check_opens
from ragcore.store.progress import Progress
from ragcore.store.staging import scratch_folder, staging_folder
from ragcore.store.tokenizers import give_tokenizer
from ragcore.types import CutPassages, Passage

__all__ = ["Built", "build_version", "give_cache", "write_retriever"]


class Built(NamedTuple):
    """What a build made.

    Attributes:
        manifest: of the new version.
        cut_passages: passages that are longer than an encoder reads.
    """

    manifest: Manifest
    cut_passages: tuple[CutPassages, ...]


def build_version(
    catalog: Catalog,
    version: str | None,
    corpus: Iterable[Passage],
    spec: ComponentSpec[Retriever],
    *,
    corpus_config: ComponentSpec[Corpus] | dict[str, Any] | None,
    activate: bool,
    check: bool,
    fresh: bool,
    batch: int,
    cache: VectorCache | None,
    report: Progress,
) -> Built:
    """Build a version from a corpus and put it in place; see `Store.build`."""
    if version is not None:
        catalog.refuse_name(version)
    base, corpus_paths, corpus_name = spec.record_base(), None, None
    if isinstance(corpus_config, ComponentSpec):
        corpus_name = corpus_config.use
        corpus_paths = [f"/corpus{pointer}" for pointer in corpus_config.record_paths()]
        base = base or corpus_config.record_base()
        corpus_config = corpus_config.to_record()
    with writing(catalog.folder):
        catalog.prepare()
    with writing(catalog.folder), staging_folder(catalog, version) as (staging, name):
        retriever = spec.build()
        give_cache(retriever, cache)
        give_tokenizer(corpus, corpus_name, retriever, spec.use)
        total = length_hint(corpus) or None
        documents = document_corpus(corpus)
        with scratch_folder(catalog, retriever, fresh=fresh, report=report):
            with ExitStack() as stack:
                stream, records = corpus, None
                if documents is not None:
                    records = stack.enter_context(DocumentWriter(staging))
                    stream = _passages_of(documents, records, corpus_name)
                passages = checked_passages(stream, corpus_name)
                count = _write_passages(staging, passages, total, retriever, batch, report)
            write_retriever(staging, spec, retriever, count)
            cut = cut_of(retriever)
            facts = None if documents is None else facts_of(documents, label_of(corpus_name))
            manifest = Manifest.of_now(
                name,
                passages=count,
                retriever=spec,
                fingerprint=retriever.fingerprint,
                corpus=corpus_config,
                corpus_paths=corpus_paths,
                base=base_of(base, catalog.folder),
                files=file_records(staging, report),
                documents=records.count if records else None,
                corpus_identity=(facts.identity or None) if facts else None,
                corpus_date=(facts.date or None) if facts else None,
            )
            if activate and check:
                with keep_shared():
                    # Before the version is opened: one index in memory, not two.
                    del retriever
                    check_opens(staging, manifest, spec, catalog.folder)
            manifest = catalog.put_in_place(staging, manifest, activate=activate)
    return Built(manifest, cut)


def _passages_of(
    corpus: DocumentCorpus, records: DocumentWriter, name: str | None
) -> Iterator[Passage]:
    """Stream the passages of a corpus's documents, and record which passages each document has.

    Args:
        corpus: of which no document is known.
        records: where the documents are written.
        name: under which the corpus is registered, for errors.
    """
    count = 0
    for document in checked_documents(corpus, NoDocuments(), name):
        passages = document.passages or ()
        numbers = range(count, count + len(passages))
        records.write(DocumentRecord(document.id, document.key, numbers))
        count += len(passages)
        yield from passages


def _write_passages(
    staging: Path,
    passages: Iterator[Passage],
    total: int | None,
    retriever: Retriever,
    batch: int,
    report: Progress,
) -> int:
    """Stream passages into a file and into a retriever; return their number.

    Args:
        staging: the folder that the version is written in.
        passages: of the corpus, checked.
        total: the number of them that the corpus tells; None where it tells none.
        retriever: that they are added to.
        batch: how many are added at once.
        report: called after each batch.
    """
    count = 0
    with PassageWriter(passage_file(staging, 0)) as writer:
        while chunk := list(islice(passages, batch)):
            writer.write(chunk)
            retriever.add(np.arange(count, count + len(chunk), dtype=np.int64), chunk)
            count += len(chunk)
            report("passages", count, total)
    if not count:
        raise EmptyCorpusError(
            "the corpus gave no passage: a memory needs at least one; check memory.corpus"
        )
    return count


def give_cache(retriever: Retriever, cache: VectorCache | None) -> None:
    """Let a retriever take vectors from the embedding cache, if there is one and it can."""
    if cache is not None and supports(retriever, CacheUser):
        retriever.use_cache(cache)


def write_retriever(
    staging: Path, spec: ComponentSpec[Retriever], retriever: Retriever, count: int
) -> None:
    """Write the retriever of a version.

    Args:
        staging: the folder that the version is written in.
        spec: of the retriever, for errors.
        retriever: with all passages of the version added.
        count: the number of these passages.

    Raises:
        ComponentError: the retriever has another number of rows.
    """
    if len(retriever) != count:
        raise ComponentError(
            f"retriever {spec.use!r} holds {len(retriever)} rows after {count} were added to it: "
            "its __len__ or add is faulty"
        )
    folder = staging / RETRIEVER
    folder.mkdir()
    retriever.save(folder)
