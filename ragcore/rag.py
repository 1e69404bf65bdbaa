"""What users call to answer: a served memory, and a generator that reads the passages found in it.

A pipeline without a generator can search, and its memory be swapped; nothing of torch is imported.

Knows how a pipeline is loaded and closed, and how its memory is exchanged. What it can be asked is
in requests/.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self

from ragcore.build import open_memory
from ragcore.config import PipelineConfig, RagConfig, load_config
from ragcore.contracts import AnyGenerator, PassageReuser, Retriever, supports
from ragcore.live.served import ServedMemory
from ragcore.memory.memory import Memory
from ragcore.process.log_fields import fields
from ragcore.registry.components import ComponentSpec
from ragcore.requests.awaited import AwaitedRequests
from ragcore.store.store import Store, Verify

__all__ = ["Rag", "load"]

_LOG: Final = logging.getLogger("ragcore.pipeline")


def load(pipeline: str | Path, *overrides: str) -> Rag:
    """Load the pipeline of a YAML file: open its memory and load its generator, if it has one.

    Args:
        pipeline: path of the file.
        overrides: changes to it, as on the command line: "rag.k=10", "generator.use=t5".

    Raises:
        ConfigError: the file is faulty; names all faults.
        StoreError: the store has no such version, or it was built with another encoder.
    """
    began = time.perf_counter()
    rag = Rag.from_config(load_config(pipeline, overrides))
    seconds = time.perf_counter() - began
    _LOG.info(
        "loaded %s: version %r, generator %s, %.2f s",
        pipeline,
        rag.memory.version,
        type(rag.generator).__name__ if rag.can_answer else None,
        seconds,
        extra=fields(
            event="load", pipeline=str(pipeline), version=rag.memory.version, seconds=seconds
        ),
    )
    return rag


class Rag(AwaitedRequests):
    """A pipeline that answers questions; safe to use from several threads."""

    def __init__(
        self,
        memory: Memory,
        generator: AnyGenerator | None,
        config: RagConfig | None = None,
        *,
        store: Store | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        verify: Verify = "sampled",
        pinned: bool = False,
    ) -> None:
        """Put a memory and a generator together.

        Args:
            memory: an opened version.
            generator: reads one passage at a time; None for a pipeline that only searches.
            config: the section `rag` of a pipeline; defaults where None.
            store: where `swap` finds other versions.
            retriever: how `swap` opens them; each version's own record where None.
            verify: what `swap` compares with its sha256; see `Store.open`.
            pinned: whether the version was chosen by name, so that `memory.watch` does not replace
                it; `swap` still does.

        Raises:
            UnsupportedOperation: the config asks for grounded answers, and the generator cannot
                give them.
        """
        super().__init__(
            ServedMemory(
                memory,
                store,
                retriever,
                verify=verify,
                pinned=pinned,
                on_served=partial(_retain_passages, generator),
            ),
            generator,
            config or RagConfig(),
        )

    @classmethod
    def from_config(cls, config: PipelineConfig) -> Rag:
        """Load the pipeline that a checked config describes."""
        section = config.memory
        memory = open_memory(section)
        try:
            generator = None if config.generator is None else config.generator.build()
        except BaseException:
            memory.close()
            raise
        return cls(
            memory,
            generator,
            config.rag,
            store=Store(section.store, passages=section.passages),
            retriever=section.retriever,
            verify=section.verify,
            pinned=section.version is not None,
        )

    def __enter__(self) -> Rag:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the memory when its last reader has left.

        Calls of `aanswer` and `astream` that have not begun are dropped, with StoreError.
        """
        self._workers.close()
        self.memory.close()

    def swap(self, version: str) -> str:
        """Serve another version of the memory from now on; running requests keep the old one.

        The new version is opened, verified and warmed up by one search before the reference moves;
        if any of that fails, the old one goes on serving.

        Returns:
            The name of the version served before.

        Raises:
            StoreError: no such version, a damaged file, another encoder.
            ConfigError: there is no store.
        """
        return self.memory.swap(version)

    def activate(self, version: str) -> str:
        """Make a version the store's current one, and serve it from now on, as `swap` does.

        All programs that follow the store (`memory.watch`) serve it too. The version is opened
        before the store is changed; if that fails, nothing has changed.

        Returns:
            The name of the version served before.

        Raises:
            StoreError: no such version, a damaged file, another encoder.
            ConfigError: there is no store, or this pipeline does not follow it, because
                `memory.version` names a version.
        """
        return self.memory.activate(version)

    def rollback(self) -> str:
        """Make the version that was current in the store before the current one so again; serve it.

        To undo a `swap`, which changes this program alone, swap to the name that it returned.

        Returns:
            The name of the version that is now served.

        Raises:
            UnknownVersionError: the store has no version to go back to.
            StoreError, ConfigError: as `activate`.
        """
        return self.memory.rollback()

    @contextmanager
    def pinned(self, version: str) -> Iterator[Self]:
        """Answer from one version inside the block, even if others are swapped in meanwhile.

            with rag.pinned("2016-11"):
                rag.answer("Who is the President of Peru?")

        This applies to the thread or task that enters the block, and to tasks and calls of
        `aanswer` that begin inside; others are answered from the served version. The pinned
        version is opened unless it is the one that is served, shares the generator, and closes
        after the block.

        Raises:
            StoreError: no such version, a damaged file, another encoder.
            ConfigError: there is no store.
        """
        with self.memory.pinned(version):
            yield self


def _retain_passages(generator: AnyGenerator | None, memory: Memory) -> None:
    """Let a generator drop what it keeps of passages that a memory does not have."""
    if generator is not None and supports(generator, PassageReuser):
        generator.retain_passages(memory.passages.by_id)
