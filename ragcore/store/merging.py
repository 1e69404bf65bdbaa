"""Merge the shards of a memory into a version: files are shared, and only small ones are written.

Knows what makes shards belong together, and which files of theirs a version has; a retriever merges
its own. A killed merge leaves the store and the shards as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from ragcore.contracts import Corpus, PassageStore, Retriever, SavedRetriever
from ragcore.disk.atomic import writing
from ragcore.disk.links import share
from ragcore.errors import CorpusError, EmptyCorpusError, StoreCorruptError, StoreError
from ragcore.memory.passages import Passages
from ragcore.registry.components import ComponentSpec, keep_shared
from ragcore.store.build import NO_PASSAGE, CorpusRecord, store_record
from ragcore.store.catalog import Catalog, LeasedVersion
from ragcore.store.documents import DocumentRecord, DocumentWriter
from ragcore.store.ids import IDS, digest_of, find_repeated, read_digests
from ragcore.store.layout import (
    RETRIEVER,
    FileRecord,
    Inode,
    Verify,
    file_records,
    format_of,
    passage_file,
    passage_files,
    passage_writer,
)
from ragcore.store.manifest import (
    Manifest,
    ShardRecord,
    base_of,
    same_records,
    same_retrievers,
    same_settings,
)
from ragcore.store.opening import check_opens, matching_spec
from ragcore.store.progress import Progress
from ragcore.store.remote import check_remote
from ragcore.store.sharding import require_merge
from ragcore.store.shared_tables import note_shared
from ragcore.store.staging import staging_folder

__all__ = ["merge_version"]

_SHOWN: Final = 10
"""Missing shards that an error names."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard that is merged.

    Attributes:
        version: with its files, which stay as long as it is leased.
        record: which part of the corpus it is.
        first: the row that its row 0 becomes.
    """

    version: LeasedVersion
    record: ShardRecord
    first: int

    @property
    def count(self) -> int:
        """How many passages it has."""
        return self.version.manifest.passages


def merge_version(
    catalog: Catalog,
    version: str | None,
    folders: Sequence[Path],
    spec: ComponentSpec[Retriever],
    *,
    corpus_config: ComponentSpec[Corpus] | None,
    activate: bool,
    verify: Verify,
    report: Progress,
) -> Manifest:
    """Make a version of shards and put it in place; see `ragcore.build.merge_shards`."""
    if version is not None:
        catalog.refuse_name(version)
    with ExitStack() as leases:
        shards = _complete([leases.enter_context(each) for each in _shards_in(folders)])
        _check_alike(shards, corpus_config)
        matching_spec(shards[0].version, spec)
        for number, shard in enumerate(shards, start=1):
            shard.version.check_files(digests=verify)
            check_remote(shard.version, spec, full=verify in (True, "full"))
            report("shards", number, len(shards))
        _check_ids(shards)
        filled = [shard for shard in shards if shard.count]
        if not filled:
            raise EmptyCorpusError(NO_PASSAGE)
        with writing(catalog.folder):
            catalog.prepare()
        with (
            writing(catalog.folder),
            staging_folder(catalog, version, retriever=spec) as (staging, name),
        ):
            note_shared(catalog, [shard.version for shard in filled])
            for shard in filled:
                _add_passages(shard.version, staging, catalog.passage_store)
            documents = _merge_documents(shards, staging)
            _merge_retrievers(filled, spec, staging)
            files = file_records(staging, report, _records(filled))
            record, last = CorpusRecord.of(corpus_config, spec), filled[-1].version.manifest
            # A corpus may tell only of its newest passage of what state it is.
            dates = [shard.version.manifest.corpus_date for shard in filled]
            manifest = Manifest.of_now(
                name,
                passages=sum(shard.count for shard in filled),
                retriever=spec,
                fingerprint=last.fingerprint,
                corpus=record.config,
                corpus_paths=record.paths,
                base=base_of(record.base, catalog.folder),
                files=files,
                format=format_of(files),
                passage_store=store_record(catalog.passage_store),
                documents=documents,
                corpus_identity=last.corpus_identity,
                corpus_date=max(filter(None, dates), default=None),
            )
            if activate:
                with keep_shared():
                    check_opens(staging, manifest, spec, catalog.folder, catalog.passage_store)
            return catalog.put_in_place(staging, manifest, activate=activate)


def _shards_in(folders: Sequence[Path]) -> Iterator[LeasedVersion]:
    """Yield the shards in folders, each leased.

    Raises:
        StoreError: a folder has none, or a version in it is none.
    """
    if not folders:
        raise StoreError("no folder of shards to merge: name those that --out had")
    # A folder that is named twice has its shards once.
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        shards = Catalog(folder)
        names = shards.names()
        if not names:
            raise StoreError(
                f"{folder}: no finished shard is in it: check the path, and whether the builds "
                "have ended (`ragcore memory build … --shard`)"
            )
        for name in names:
            version = shards.lease(name)
            if version.manifest.shard is None:
                version.__exit__()
                raise StoreError(
                    f"{folder}: version {name!r} in it is no shard, but a whole memory: name "
                    "folders that --out had"
                )
            yield version


def _complete(versions: Sequence[LeasedVersion]) -> list[_Shard]:
    """Return shards in their order, with the first row of each.

    Raises:
        StoreError: one is missing or there twice, or they are of different numbers of shards, or
            do not follow each other.
    """
    places: dict[int, LeasedVersion] = {}
    records: dict[int, ShardRecord] = {}
    of = 0
    for version in versions:
        record = version.manifest.shard
        assert record is not None  # _shards_in yields no other.
        of = of or record.of
        if record.of != of:
            raise StoreError(
                f"{version.path} is one of {record.of} shards, and {versions[0].path} one of {of}: "
                "merge shards of one build"
            )
        if record.number in places:
            raise StoreError(
                f"{version.path} and {places[record.number].path} are the same shard "
                f"{record.number}/{of}: name one of them"
            )
        places[record.number], records[record.number] = version, record
    missing = [f"{number}/{of}" for number in range(of) if number not in places]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise StoreError(
            f"shards {', '.join(missing[:_SHOWN])}{more} are missing: build them (`ragcore memory "
            f"build … --shard {missing[0]}`), or name their folders too"
        )
    counts = [places[number].manifest.passages for number in range(of)]
    shards = [
        _Shard(places[number], records[number], first)
        for number, first in enumerate(accumulate(counts[:-1], initial=0))
    ]
    for shard in shards:
        if shard.record.first not in (None, shard.first):
            raise StoreError(
                f"{shard.version.path} begins at passage {shard.record.first}, and the shards "
                f"before it have {shard.first}: they were not built from the same state of the "
                "corpus: build them again"
            )
    return shards


def _check_alike(shards: Sequence[_Shard], corpus: ComponentSpec[Corpus] | None) -> None:
    """Check that shards are of one corpus and one retriever.

    Args:
        shards: in their order.
        corpus: of the pipeline.

    Raises:
        StoreError: one differs from the first.
    """
    model = shards[0]
    expected = model.version.manifest
    for shard in shards:
        manifest = shard.version.manifest
        differences: dict[str, tuple[Any, Any]] = {
            "release of ragcore": (manifest.ragcore, expected.ragcore),
            "format": (manifest.format, expected.format),
            "training of the index": (shard.record.training, model.record.training),
            "state of the corpus": (shard.record.corpus, model.record.corpus),
            "corpus": (manifest.corpus_identity, expected.corpus_identity),
            "encoder or analyser": (manifest.fingerprint, expected.fingerprint),
        }
        for what, (found, other) in differences.items():
            if found != other:
                raise StoreError(
                    f"{shard.version.path} was built from another {what} than "
                    f"{model.version.path}: {found}, expected {other}: build it again as the "
                    "others were (--fresh)"
                )
        is_same = {
            "the corpus": same_records(manifest, expected),
            "the retriever": same_retrievers(manifest, expected),
        }
        for what, same in is_same.items():
            if not same:
                raise StoreError(
                    f"{shard.version.path} and {model.version.path} were built with different "
                    f"settings of {what}: build them from the same pipeline"
                )
    if corpus is not None and not same_settings(expected, corpus):
        raise StoreError(
            f"{model.version.path} was built with other settings of the corpus than the pipeline "
            "has: merge with the pipeline that the shards were built from"
        )


def _check_ids(shards: Sequence[_Shard]) -> None:
    """Check that no two shards have an id in common.

    Raises:
        CorpusError: two have.
        StoreCorruptError: the list of ids of a shard is missing or of other passages.
    """
    digests = [read_digests(shard.version.path) for shard in shards]
    for shard, each in zip(shards, digests, strict=True):
        if each.shape[1] != shard.count:
            raise StoreCorruptError(
                f"{shard.version.path / IDS} has {each.shape[1]} ids of {shard.count} passages: "
                "build this shard again (--fresh)"
            )
    repeated = find_repeated(digests)
    if repeated is None:
        return
    earlier, later = (shards[source].version for source in repeated.sources)
    with earlier.open_passages() as passages:
        column = passages.column("id")
        ids = (id_ for chunk in column.chunks for id_ in chunk.to_pylist())
        repeated_id = next(id_ for id_ in ids if digest_of(id_) == repeated.digest)
    raise CorpusError(
        f"{earlier.path} and {later.path} both have a passage with the id {repeated_id!r}: ids "
        "must be unique: repair the corpus, and build the shards again"
    )


def _add_passages(
    version: LeasedVersion, staging: Path, passage_store: ComponentSpec[PassageStore] | None
) -> None:
    """Share the passages of a shard as the next file of the version's, or write them to a store."""
    number = len([path for path in passage_files(staging) if path.exists()])
    source = passage_file(version.path, 0)
    if passage_store is None:
        share(source, passage_file(staging, number))
        return
    with (
        Passages(source) as passages,
        passage_writer(staging, number, passage_store) as writer,
    ):
        for batch in passages.batches():
            writer.write(batch)


def _merge_documents(shards: Sequence[_Shard], staging: Path) -> int | None:
    """Write the documents of all shards; return how many have passages, None without documents.

    Raises:
        CorpusError: two shards have a document of the same id.
    """
    if not shards[0].version.document_names():
        return None
    with DocumentWriter(staging) as records:
        for shard in shards:
            for id_, key, numbers in shard.version.open_documents() or ():
                records.write(DocumentRecord(id_, key, [shard.first + each for each in numbers]))
    return records.count


def _merge_retrievers(
    shards: Sequence[_Shard], spec: ComponentSpec[Retriever], staging: Path
) -> None:
    """Let a retriever of the pipeline's settings write those of the shards as one."""
    folder = staging / RETRIEVER
    folder.mkdir()
    parts = [SavedRetriever(each.version.retriever, each.first, each.count) for each in shards]
    require_merge(spec, spec.build()).merge(parts, folder)


def _records(shards: Sequence[_Shard]) -> dict[Inode, FileRecord]:
    """Return what is recorded of the shards' files: those that are shared are not read again."""
    return {inode: each for shard in shards for inode, each in shard.version.records().items()}
