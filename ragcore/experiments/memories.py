"""Find the memory of each system, and build it where it is missing and may be built.

    OUTPUT/memories/CORPUS-RETRIEVER/     a store, named by digests of the two configs

Knows stores and configs; knows nothing of questions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ragcore.build import build_memory
from ragcore.config import PipelineConfig
from ragcore.contracts import Corpus
from ragcore.embeddings.cache import Encodings
from ragcore.errors import ConfigError, UnknownVersionError
from ragcore.evaluation.begun import Begun
from ragcore.experiments.folders import digest_of, stamps
from ragcore.experiments.resources import Pipeline
from ragcore.experiments.systems import System
from ragcore.registry.components import ComponentSpec
from ragcore.store.store import Store

__all__ = ["Located", "build", "corpus_of", "located", "stores_of"]


@dataclass(frozen=True, slots=True)
class Located:
    """A version of a memory that a system may search.

    Attributes:
        config: of the system, with store and version by name.
        pipeline: the same, for workers.
        overrides: changes to the pipeline's file for the record of a run, which names the version
            apart.
        version: its name.
        manifest: sha256 of its manifest.
    """

    config: PipelineConfig
    pipeline: Pipeline
    overrides: tuple[str, ...]
    version: str
    manifest: str


def stores_of(system: System, output: Path, *, build: bool) -> Iterator[Path]:
    """Yield stores that may have a system's memory: its own, then those built from its corpus."""
    config = _config(system)
    yield Path(config.memory.store)
    if build and config.memory.corpus is not None:
        own = _built_store(config, output)
        others = (output / "memories").glob(f"{own.name.partition('-')[0]}-*")
        yield own
        yield from sorted(path for path in others if path != own)


def located(system: System, store: Path) -> Located | None:
    """Return the version of a store that a system names, or the current one; None without it.

    Raises:
        StoreError: a file of the store is damaged.
    """
    config = _config(system)
    if not store.is_dir():
        return None
    try:
        version = Store(store).manifest(config.memory.version).name
    except UnknownVersionError:
        return None
    overrides, recorded = system.overrides, system.overrides
    assert system.pipeline is not None
    if store != Path(config.memory.store):
        overrides = (*overrides, f"memory.store={json.dumps(str(store))}")
        # Built in OUTPUT/memories: what is recorded is moved with the project.
        project = store.resolve().parent.parent.parent.parent
        written = _from_pipeline(store, system.pipeline, project)
        recorded = (*recorded, f"memory.store={json.dumps(written)}")
    memory = config.memory.model_copy(update={"store": store, "version": version})
    config = config.model_copy(update={"memory": memory})
    begun = Begun.of(config, version)
    overrides = (*overrides, f"memory.version={json.dumps(version)}")
    return Located(
        config, Pipeline(system.pipeline, overrides, begun), recorded, version, begun.manifest
    )


def build(system: System, output: Path) -> tuple[Path, Encodings | None]:
    """Build a system's memory into the output folder.

    Returns:
        The store, and how the passages' vectors came about; None where its retriever has none.

    Raises:
        ConfigError: the pipeline has no corpus.
        CorpusError: the corpus cannot be read, or is empty.
    """
    config = _config(system)
    corpus_of(system)
    store = _built_store(config, output)
    memory = config.memory.model_copy(update={"store": store})
    built = build_memory(config.model_copy(update={"memory": memory}))
    return store, built.encodings


def _from_pipeline(store: Path, pipeline: Path, project: Path) -> str:
    """Return the path of a store from the pipeline's folder, if both are in the project."""
    store, folder = store.resolve(), pipeline.resolve().parent
    near = store.is_relative_to(project) and folder.is_relative_to(project)
    return os.path.relpath(store, folder) if near else str(store)


def corpus_of(system: System) -> ComponentSpec[Corpus]:
    """Return the corpus that a system's memory is built from.

    Raises:
        ConfigError: the pipeline has none.
    """
    corpus = _config(system).memory.corpus
    if corpus is None:
        raise ConfigError(
            f"{system.pipeline}: no corpus to build the memory of system {system.name!r} from: "
            "name one (memory.corpus), or a store that has the memory"
        )
    return corpus


def _built_store(config: PipelineConfig, output: Path) -> Path:
    section = config.memory
    assert section.corpus is not None
    corpus = digest_of([section.corpus.to_dict(), stamps(section.corpus), section.version])
    retriever = digest_of([section.retriever.to_dict(), stamps(section.retriever)])
    return output / "memories" / f"{corpus[:12]}-{retriever[:12]}"


def _config(system: System) -> PipelineConfig:
    if system.config is None or system.pipeline is None:
        raise ConfigError(f"system {system.name!r} has no pipeline: name its file")
    return system.config
