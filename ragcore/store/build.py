"""Build a version from a corpus: passages and retriever are written, described, renamed into place.

Knows how passages become files; knows nothing of how a version is chosen or opened later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any, Final, NamedTuple

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

__all__ = [
    "NO_PASSAGE",
    "Built",
    "CorpusRecord",
    "CorpusStream",
    "build_version",
    "give_cache",
    "write_passages",
    "write_retriever",
]

NO_PASSAGE: Final = "the corpus gave no passage: a memory needs at least one; check memory.corpus"


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
    record = CorpusRecord.of(corpus_config, spec)
    with writing(catalog.folder):
        catalog.prepare()
    with (
        writing(catalog.folder),
        staging_folder(catalog, version, retriever=spec) as (staging, name),
    ):
        retriever = spec.build()
        give_cache(retriever, cache)
        give_tokenizer(corpus, record.name, retriever, spec.use)
        total = length_hint(corpus) or None
        with scratch_folder(catalog, retriever, spec=spec, fresh=fresh, report=report):
            stream = CorpusStream(corpus, record.name)
            with stream.writing(staging) as passages:
                count = write_passages(staging, passages, total, retriever, batch, report)
            if not count:
                raise EmptyCorpusError(NO_PASSAGE)
            write_retriever(staging, spec, retriever, count)
            cut = cut_of(retriever)
            manifest = Manifest.of_now(
                name,
                passages=count,
                retriever=spec,
                fingerprint=retriever.fingerprint,
                corpus=record.config,
                corpus_paths=record.paths,
                base=base_of(record.base, catalog.folder),
                files=file_records(staging, report),
                **stream.facts(),
            )
            if activate and check:
                with keep_shared():
                    # Before the version is opened: one index in memory, not two.
                    del retriever
                    check_opens(staging, manifest, spec, catalog.folder)
            manifest = catalog.put_in_place(staging, manifest, activate=activate)
    return Built(manifest, cut)


class CorpusRecord(NamedTuple):
    """What a manifest records of a corpus.

    Attributes:
        name: under which it is registered; None where that is not known.
        config: its settings.
        paths: which texts of these are paths; None where they are guessed.
        base: the folder that paths of corpus and retriever start from.
    """

    name: str | None
    config: dict[str, Any] | None
    paths: list[str] | None
    base: Path | None

    @classmethod
    def of(
        cls,
        config: ComponentSpec[Corpus] | dict[str, Any] | None,
        retriever: ComponentSpec[Retriever],
    ) -> CorpusRecord:
        """Return the record of a corpus, and the base of both."""
        base = retriever.record_base()
        if not isinstance(config, ComponentSpec):
            return cls(None, config, None, base)
        paths = [f"/corpus{pointer}" for pointer in config.record_paths()]
        return cls(config.use, config.to_record(), paths, base or config.record_base())


class CorpusStream:
    """The passages of a corpus as they are written, with the documents that they belong to.

    Args:
        corpus: of passages, or of documents.
        name: under which it is registered, for errors.
    """

    def __init__(self, corpus: Iterable[Passage], name: str | None) -> None:
        self._corpus = corpus
        self._name = name
        self._documents = document_corpus(corpus)
        self._count: int | None = None

    @contextmanager
    def writing(self, staging: Path) -> Iterator[Iterator[Passage]]:
        """Yield the checked passages; documents are written into a folder while they are read."""
        if self._documents is None:
            yield checked_passages(self._corpus, self._name)
            return
        with DocumentWriter(staging) as records:
            stream = _passages_of(self._documents, records, self._name)
            yield checked_passages(stream, self._name)
        self._count = records.count

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says of documents, and of what state; after the writing."""
        if self._documents is None:
            return {}
        facts = facts_of(self._documents, label_of(self._name))
        return {
            "documents": self._count,
            "corpus_identity": facts.identity or None,
            "corpus_date": facts.date or None,
        }


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


def write_passages(
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
