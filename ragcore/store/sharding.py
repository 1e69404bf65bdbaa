"""Build one shard of a memory: a version with a part of the corpus, in a store of its own.

Shards are built on any number of machines, in one folder or in several; `merging.py` makes a memory
of them. Knows how a shard is written; knows nothing of where shards run.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import length_hint
from pathlib import Path
from typing import Any, NamedTuple

from ragcore.contracts import Corpus, MergingRetriever, Retriever, VectorCache, supports
from ragcore.disk.atomic import writing
from ragcore.errors import CorpusError, StoreError, UnsupportedOperation, VersionExistsError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.members import cut_of
from ragcore.store.build import (
    Built,
    CorpusRecord,
    CorpusStream,
    give_cache,
    write_passages,
    write_retriever,
)
from ragcore.store.catalog import Catalog
from ragcore.store.checking import label_of
from ragcore.store.ids import IdDigests
from ragcore.store.index_training import use_training
from ragcore.store.layout import file_records
from ragcore.store.manifest import Manifest, ShardRecord, base_of, same_records, same_retrievers
from ragcore.store.parts import CorpusPart, check_shard, part_of
from ragcore.store.progress import Progress
from ragcore.store.staging import scratch_folder, staging_folder
from ragcore.store.tokenizers import give_tokenizer
from ragcore.types import Passage

__all__ = ["BuiltShard", "build_shard_version", "require_merge", "shard_name"]


class BuiltShard(NamedTuple):
    """What the build of a shard made.

    Attributes:
        built: the shard.
        was_there: whether it was built before, so that nothing was done.
        read_whole: whether the whole corpus was read to find the part.
    """

    built: Built
    was_there: bool
    read_whole: bool


def shard_name(number: int, of: int) -> str:
    """Return the name of the version that a shard is."""
    return f"shard-{number}-of-{of}"


def require_merge(spec: ComponentSpec[Retriever], retriever: Retriever) -> MergingRetriever:
    """Return a retriever as one that merges.

    Raises:
        UnsupportedOperation: it cannot.
    """
    if not supports(retriever, MergingRetriever):
        raise UnsupportedOperation.of(f"retriever {spec.use!r}", "merge")
    return retriever


def build_shard_version(
    catalog: Catalog,
    number: int,
    of: int,
    corpus: Iterable[Passage],
    spec: ComponentSpec[Retriever],
    *,
    corpus_config: ComponentSpec[Corpus] | dict[str, Any] | None,
    training: Path | None,
    fresh: bool,
    batch: int,
    cache: VectorCache | None,
    report: Progress,
) -> BuiltShard:
    """Build a shard, unless it is there; see `ragcore.build.build_shard`."""
    check_shard(number, of)
    record, name = CorpusRecord.of(corpus_config, spec), shard_name(number, of)
    with writing(catalog.folder):
        catalog.prepare()
    if catalog.current() is not None:
        raise StoreError(
            f"{catalog.folder} is the store of a memory: choose another folder for shards (--out)"
        )
    retriever = spec.build()
    require_merge(spec, retriever)
    trained = None if training is None else use_training(training, spec, retriever)
    give_cache(retriever, cache)
    give_tokenizer(corpus, record.name, retriever, spec.use)
    part = part_of(corpus, number, of, record.name)
    fields: dict[str, Any] = {
        "retriever": spec,
        "fingerprint": retriever.fingerprint,
        "corpus": record.config,
        "corpus_paths": record.paths,
        "base": base_of(record.base, catalog.folder),
        "shard": ShardRecord(
            number=number, of=of, corpus=part.fingerprint, first=part.first, training=trained
        ),
    }
    is_there = name in catalog.names()
    if is_there and not fresh:
        manifest = catalog.manifest(name)
        _check_same(catalog, manifest, Manifest.of_now(name, passages=0, files={}, **fields))
        return BuiltShard(Built(manifest, ()), was_there=True, read_whole=part.first is not None)
    with (
        writing(catalog.folder),
        staging_folder(catalog, name, retriever=spec, replaces=is_there) as (staging, _),
        scratch_folder(catalog, retriever, spec=spec, fresh=fresh, report=report, parent=name),
    ):
        facts, count = _write(staging, part, record.name, spec, retriever, batch, report)
        manifest = Manifest.of_now(
            name, passages=count, files=file_records(staging, report), **fields, **facts
        )
        if is_there:
            catalog.replace(staging, manifest)
        else:
            manifest = catalog.put_in_place(staging, manifest, activate=False)
    return BuiltShard(
        Built(manifest, cut_of(retriever)), was_there=False, read_whole=part.first is not None
    )


def _write(
    staging: Path,
    part: CorpusPart,
    name: str | None,
    spec: ComponentSpec[Retriever],
    retriever: Retriever,
    batch: int,
    report: Progress,
) -> tuple[dict[str, Any], int]:
    """Write the files of a shard; return what its manifest says of documents, and its passages.

    A part may be empty, as where there are more shards than row groups: then there is no retriever.
    """
    stream, ids = CorpusStream(part.corpus, name), IdDigests()
    total = length_hint(part.corpus) or None
    with stream.writing(staging) as passages:
        count = write_passages(staging, ids.noting(passages), total, retriever, batch, report)
    if part.expected not in (None, count):
        raise CorpusError(
            f"{label_of(name)} had {part.expected} passages in this part when they were counted, "
            f"and {count} when they were read: build again when it no longer changes"
        )
    ids.save(staging)
    if count:
        write_retriever(staging, spec, retriever, count)
    return stream.facts(), count


def _check_same(catalog: Catalog, there: Manifest, asked: Manifest) -> None:
    """Check that a shard which is there is the one that is asked for.

    Raises:
        VersionExistsError: it was built from something else.
    """
    differences = {
        "training of the index": _training(there) == _training(asked),
        "corpus": there.shard == asked.shard and same_records(there, asked),
        "retriever": there.fingerprint == asked.fingerprint and same_retrievers(there, asked),
        "release of ragcore": there.ragcore == asked.ragcore,
    }
    other = [name for name, is_same in differences.items() if not is_same]
    if other:
        raise VersionExistsError(
            f"{catalog.folder} has {there.name!r} already, built from another {other[0]}: build "
            "it again with --fresh, or choose another folder (--out)"
        )


def _training(manifest: Manifest) -> str | None:
    return None if manifest.shard is None else manifest.shard.training
