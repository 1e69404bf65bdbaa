"""What a process has open while it works on an experiment: one memory, passages, one generator.

Knows pipelines and their components; knows nothing of questions.
"""

from __future__ import annotations

import gc
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ragcore.answering.answerability import answerability_of
from ragcore.build import open_memory
from ragcore.config import PipelineConfig, RagConfig, load_config
from ragcore.errors import ConfigError
from ragcore.evaluation.begun import Begun
from ragcore.memory.memory import Memory
from ragcore.memory.passages import Passages
from ragcore.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragcore.contracts import AnswerabilityScorer, Generator

__all__ = ["Pipeline", "Resources", "generator_key", "memory_key"]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline's file with changes that name the store and the version; can be sent to workers.

    Attributes:
        path: the file.
        overrides: changes to it.
        begun: what a worker must have; None where nothing is compared.
    """

    path: Path
    overrides: tuple[str, ...]
    begun: Begun | None = None


def memory_key(config: PipelineConfig) -> str:
    """Return what two pipelines have in common that search the same opened memory."""
    section = config.memory
    retriever = section.retriever.to_dict()
    return json.dumps([str(section.store), section.version, retriever], sort_keys=True)


def generator_key(config: PipelineConfig) -> str:
    """Return what two pipelines have in common that read with the same generator."""
    return json.dumps(None if config.generator is None else config.generator.to_dict())


class Resources:
    """Opened components, released as soon as another one of their kind is needed.

    Tasks come sorted, so that each is opened once. A context manager that releases all.
    """

    def __init__(self) -> None:
        self._configs: dict[Pipeline, PipelineConfig] = {}
        self._memories: dict[str, Memory] = {}
        self._searched: str | None = None
        self._passages: dict[tuple[str, str | None], Passages] = {}
        self._opened = ExitStack()
        self._generator: tuple[str, Generator] | None = None
        self._scorers: list[AnswerabilityScorer | None] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release_memories()
        self._opened.close()
        self._generator = None
        self._scorers = []

    def config(self, pipeline: Pipeline) -> PipelineConfig:
        """Return the config of a pipeline, loaded once.

        Raises:
            MemoryMismatchError: the version is another one than where the experiment was begun.
            ConfigError: so are the settings, or the file cannot be read.
        """
        if pipeline not in self._configs:
            config = load_config(pipeline.path, pipeline.overrides)
            if pipeline.begun is not None:
                pipeline.begun.check(config, pipeline.path)
            self._configs[pipeline] = config
        return self._configs[pipeline]

    def keep_config(self, pipeline: Pipeline, config: PipelineConfig) -> None:
        """Take the config of a pipeline that is loaded already."""
        self._configs[pipeline] = config

    def keep(self, memory: Memory, key: str) -> None:
        """Take over a memory that was opened before, which is closed after its last search."""
        self._memories[key] = memory

    def memory(self, pipeline: Pipeline) -> Memory:
        """Return the memory of a pipeline, opened where it is not; the one before is closed."""
        config = self.config(pipeline)
        key = memory_key(config)
        if self._searched not in (None, key):
            self._memories.pop(self._searched).close()
        self._searched = key
        if key not in self._memories:
            # The files were compared with their sha256 before the experiment began.
            self._memories[key] = open_memory(config, verify=False)
        return self._memories[key]

    def passages(self, pipeline: Pipeline) -> Passages:
        """Return the passages of a pipeline's version; its retriever is not needed to read them."""
        section = self.config(pipeline).memory
        key = str(section.store), section.version
        if key not in self._passages:
            opened = Store(section.store, passages=section.passages).passages(section.version)
            self._passages[key] = self._opened.enter_context(opened)
        return self._passages[key]

    def generator(self, pipeline: Pipeline) -> Generator:
        """Return the generator of a pipeline; another one, and all memories, are released."""
        config = self.config(pipeline)
        key = generator_key(config)
        if self._generator is None or self._generator[0] != key:
            if config.generator is None:
                raise ConfigError(f"{pipeline.path}: no generator: answering needs one")
            self.release_memories()
            # Before the next one is loaded: two may not fit.
            self._generator = None
            gc.collect()
            self._generator = key, config.generator.build()
        return self._generator[1]

    def keep_scorers(self, configs: Sequence[RagConfig]) -> None:
        """Load the scorers of `rag.abstain` of several systems, and release all others."""
        self._scorers = [answerability_of(config) for config in configs]

    def release_memories(self) -> None:
        """Close all memories."""
        for memory in self._memories.values():
            memory.close()
        self._memories.clear()
        self._searched = None
