"""What users call to build, update and open the memory of a pipeline.

Knows which settings of the section `memory` each of them needs; knows nothing of generators.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ragcore.config import CacheConfig, MemoryConfig, PipelineConfig, load_config
from ragcore.contracts import Corpus
from ragcore.embeddings.cache import EmbeddingCache
from ragcore.embeddings.location import cache_folder
from ragcore.errors import ConfigError, StoreError
from ragcore.memory.memory import Memory
from ragcore.registry.components import ComponentSpec
from ragcore.store.build import Built
from ragcore.store.catalog import Catalog
from ragcore.store.diff import read_changes
from ragcore.store.index_training import Training, train_on_sample
from ragcore.store.info import BuildInfo, ShardInfo, build_info, shard_info, summary_of
from ragcore.store.merging import merge_version
from ragcore.store.progress import silent
from ragcore.store.sharding import build_shard_version
from ragcore.store.store import (
    Allowed,
    ChangeSource,
    Progress,
    Store,
    UpdateInfo,
    Verify,
)

__all__ = [
    "build_memory",
    "build_shard",
    "merge_shards",
    "open_memory",
    "train_index",
    "update_memory",
]

_BATCH: Final = 512
"""Passages that are added to a retriever together."""


def open_memory(
    pipeline: str | Path | PipelineConfig | MemoryConfig,
    *overrides: str,
    version: str | None = None,
    verify: Verify | None = None,
) -> Memory:
    """Open a version of a pipeline's memory to search it; no generator is loaded.

        with ragcore.open_memory("pipeline.yaml") as memory:
            (result,) = memory.search("Who is the president of Peru?", 5)

    Args:
        pipeline: path of a YAML file, a loaded config, or its section `memory`.
        overrides: changes to the file, as on the command line: "memory.retriever.use=bm25".
        version: its name; where None, `memory.version`, else the store's current version.
        verify: what is compared with its sha256, as for `Store.open`; where None, `memory.verify`.

    Raises:
        ConfigError: the file is faulty.
        UnknownVersionError: there is no such version, or no current one.
        StoreCorruptError: a file is missing or was changed.
        MemoryMismatchError: it was built with another retriever or encoder.
    """
    section = _memory_section(pipeline, overrides)
    return Store(section.store, passages=section.passages).open(
        version or section.version,
        retriever=section.retriever,
        temperature=section.temperature,
        verify=section.verify if verify is None else verify,
    )


def _memory_section(
    pipeline: str | Path | PipelineConfig | MemoryConfig, overrides: Sequence[str]
) -> MemoryConfig:
    """Return the section `memory` of a pipeline, loaded with overrides where it is a path."""
    if isinstance(pipeline, str | Path):
        return load_config(pipeline, overrides).memory
    if overrides:
        raise ConfigError(
            f"overrides {list(overrides)} with a loaded config: give the pipeline's path, or the "
            "overrides to load_config"
        )
    return pipeline.memory if isinstance(pipeline, PipelineConfig) else pipeline


def build_memory(
    pipeline: str | Path | PipelineConfig,
    *overrides: str,
    version: str | None = None,
    training: str | Path | None = None,
    fresh: bool = False,
    activate: bool = True,
    progress: Progress | None = None,
) -> BuildInfo:
    """Build a version of a pipeline's memory from its corpus, and make it the current one.

    No text is encoded whose vector the embedding cache has; see `memory.cache`.

    Args:
        pipeline: path of a YAML file, or a loaded config.
        overrides: changes to the file, as on the command line: "memory.retriever.use=bm25".
        version: the new version's name; where None, `memory.version`, else today's date, with a
            number behind it where there is such a version.
        training: the folder that `train_index` made; where None, an index that is trained is
            trained on the first passages.
        fresh: encode all passages, also those that an interrupted build has encoded, or whose
            vectors are in the embedding cache.
        activate: make it the current version, after it was opened and searched once; False leaves
            the current one in use, so that the two can be compared first.
        progress: called with a stage, how much of it is done, and how much there is, if known.

    Raises:
        ConfigError: the file is faulty, or names no corpus.
        StoreError: there is a version of this name already.
        CorpusError: the corpus cannot be read, or is empty.
        UnsupportedOperation: `training`, and the retriever has no index that can be trained before.
        MemoryMismatchError: `training` was made with other settings of the retriever.
    """
    section = _memory_section(pipeline, overrides)
    spec = _corpus_to_build(pipeline, section)
    corpus = spec.build()
    with _cache(section.cache, read=not fresh) as cache:
        built = Store(section.store, passages=section.passages).build(
            version or section.version,
            corpus,
            section.retriever,
            corpus_config=spec,
            training=None if training is None else Path(training),
            activate=activate,
            check=True,
            fresh=fresh,
            cache=cache,
            progress=progress,
        )
    return replace(built, encodings=cache.encodings, summary=summary_of(corpus))


def build_shard(
    pipeline: str | Path | PipelineConfig,
    *overrides: str,
    number: int,
    of: int,
    out: str | Path,
    training: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> ShardInfo:
    """Build one of several shards of a pipeline's memory, for `merge_shards`.

    Each can be built on another machine, in a folder of its own or in one for all. A build that was
    interrupted goes on where it stopped, and one of a shard that is there does nothing.

    Args:
        pipeline: path of a YAML file, or a loaded config.
        overrides: changes to the file, as on the command line.
        number: of the shard, from 0.
        of: how many shards there are.
        out: the folder that the shard is put into, as a version `shard-NUMBER-of-OF`.
        training: the folder that `train_index` made, the same for all shards; where None, an index
            that is trained is trained on the first passages of each shard.
        fresh: build it again if it is there, and encode all passages; see `build_memory`.
        progress: as for `build_memory`.

    Raises:
        ConfigError: the file is faulty, or names no corpus, or there is no such shard.
        UnsupportedOperation: the retriever cannot be merged.
        VersionExistsError: the shard is there, built from something else.
        StoreError: the folder is the store of a memory, or cannot be written.
        CorpusError: the corpus cannot be read.
    """
    section = _memory_section(pipeline, overrides)
    spec = _corpus_to_build(pipeline, section)
    corpus = spec.build()
    with _cache(section.cache, read=not fresh) as cache:
        shard = build_shard_version(
            Catalog(out),
            number,
            of,
            corpus,
            section.retriever,
            corpus_config=spec,
            training=None if training is None else Path(training),
            fresh=fresh,
            batch=_BATCH,
            cache=cache,
            report=progress or silent,
        )
    return replace(shard_info(shard), encodings=cache.encodings, summary=summary_of(corpus))


def train_index(
    pipeline: str | Path | PipelineConfig,
    *overrides: str,
    out: str | Path,
    sample: int | None = None,
    progress: Progress | None = None,
) -> Training:
    """Train the index of a pipeline's memory on a sample of its whole corpus, for all shards.

    The whole corpus is read, and only the sample is encoded; the same corpus gives the same sample.

    Args:
        pipeline: path of a YAML file, or a loaded config.
        overrides: changes to the file, as on the command line.
        out: the folder that is made.
        sample: how many passages are drawn; where None, as many as the index wants.
        progress: called with how many passages were read ("passages").

    Raises:
        ConfigError: the file is faulty, or names no corpus, or `sample` is too small for the index.
        UnsupportedOperation: the retriever has no index that can be trained before.
        StoreError: there is such a folder, or it cannot be written.
        CorpusError: the corpus cannot be read, or is empty.
    """
    section = _memory_section(pipeline, overrides)
    spec = _corpus_to_build(pipeline, section)
    with _cache(section.cache) as cache:
        return train_on_sample(
            Path(out),
            spec.build(),
            section.retriever,
            corpus_config=spec,
            size=sample,
            cache=cache,
            report=progress or silent,
        )


def merge_shards(
    pipeline: str | Path | PipelineConfig,
    folders: Sequence[str | Path],
    *overrides: str,
    version: str | None = None,
    activate: bool = True,
    verify: Verify = True,
    progress: Progress | None = None,
) -> BuildInfo:
    """Make a version of a pipeline's memory of its shards, and make it the current one.

    It answers as one that was built from the whole corpus. Files are shared by hard links where
    shards and store are on one file system, and copied elsewhere.

    Args:
        pipeline: that the shards were built from.
        folders: with the shards, in any order; together they have each shard once.
        overrides: changes to the file, as on the command line.
        version: the new version's name, as for `build_memory`.
        activate: as for `build_memory`.
        verify: what of the shards' files is compared with its sha256, as for `Store.open`.
        progress: as for `build_memory`, and with the number of verified shards ("shards").

    Raises:
        ConfigError: the file is faulty.
        StoreError: a shard is missing, there twice, or was built from another corpus, with another
            retriever or by another release.
        StoreCorruptError: a file of a shard is missing or was changed.
        CorpusError: two shards have a passage or a document of the same id.
        EmptyCorpusError: no shard has a passage.
    """
    section = _memory_section(pipeline, overrides)
    store = Store(section.store, passages=section.passages)
    manifest = merge_version(
        Catalog(section.store, section.passages),
        version or section.version,
        [Path(folder) for folder in folders],
        section.retriever,
        corpus_config=section.corpus,
        activate=activate,
        verify=verify,
        report=progress or silent,
    )
    return build_info(Built(manifest, ()), store.current())


def update_memory(
    place: str | Path,
    changes: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    version: str | None = None,
    parent: str | None = None,
    activate: bool = True,
    allow: Collection[Allowed] = (),
    progress: Progress | None = None,
) -> UpdateInfo:
    """Derive a version of a memory from another by changes, and make it the current one.

    Where the changes change nothing, no version is made; see `UpdateInfo.nothing_changed`.

    Args:
        place: a pipeline's YAML file, or the folder of a store.
        changes: JSON lines (see `read_changes`); where None, the differences between the parent
            and the pipeline's corpus; then the parent is verified as `memory.verify` says. A corpus
            that knows documents is compared by these; see `UpdateInfo.documents`.
        overrides: changes to the file, such as "memory.corpus.path=newer.xml.bz2".
        version: the new version's name; where None as for `build_memory`, without `memory.version`.
        parent: the version that is updated; where None `memory.version`, else the current one.
        activate: as for `build_memory`.
        allow: what a corpus that knows documents may do: "deletions" of more than a fifth of them,
            be "older" than the memory's, or "other" than it.
        progress: as for `build_memory`, and with the number of documents compared ("documents").

    Raises:
        ConfigError: the file is faulty, there are neither changes nor a corpus, or overrides of a
            store.
        StoreError: there is no such store or version, a version of the new name already, or the
            corpus would do what is not allowed.
        UnsupportedOperation: the retriever cannot add or remove passages.
        CorpusError: the changes or the corpus cannot be read, or an id to delete does not exist.
    """
    path, section = Path(place), None
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        section = load_config(path, overrides).memory
        parent = parent or section.version
    elif not path.is_dir():
        raise StoreError(f"{path}: there is no such store, and no such pipeline: check the path")
    elif overrides:
        raise ConfigError(
            f"{path}: overrides {list(overrides)} of a store, which has no settings: name the "
            "pipeline's file"
        )
    corpus: ComponentSpec[Corpus] | None = None
    if changes is None:
        corpus = _corpus(path, section)
        source: ChangeSource = corpus.build()
    else:
        source = read_changes(Path(changes))
    with _cache(section.cache if section else CacheConfig()) as cache:
        store = Store(section.store, passages=section.passages) if section else Store(path)
        updated = store.update(
            version,
            source,
            parent=parent,
            retriever=section.retriever if section else None,
            corpus_config=corpus,
            activate=activate,
            verify=section.verify if section is not None and changes is None else False,
            allow=allow,
            cache=cache,
            progress=progress,
        )
    return replace(updated, encodings=cache.encodings, summary=summary_of(source))


def _corpus_to_build(
    pipeline: str | Path | PipelineConfig, section: MemoryConfig
) -> ComponentSpec[Corpus]:
    """Return the corpus that a pipeline's memory is built from."""
    if section.corpus is None:
        name = "the pipeline" if isinstance(pipeline, PipelineConfig) else str(pipeline)
        raise ConfigError(
            f"{name}: no corpus to build a memory from: add a key 'corpus' to the section "
            "'memory', such as corpus: {use: jsonl, path: passages.jsonl}"
        )
    return section.corpus


def _cache(config: CacheConfig | None, *, read: bool = True) -> EmbeddingCache:
    """Return the embedding cache of a pipeline, which keeps nothing where there is to be none."""
    if config is None:
        return EmbeddingCache(None, 0)
    return EmbeddingCache(cache_folder(config.folder), config.max_gib * (1 << 30), read=read)


def _corpus(path: Path, section: MemoryConfig | None) -> ComponentSpec[Corpus]:
    """Return the corpus that a pipeline names, which an update compares with."""
    if section is None or section.corpus is None:
        raise ConfigError(
            f"{path}: no changes to update by: give a file of changes, or a pipeline with a corpus"
        )
    return section.corpus
