"""The pipelines of a server: by name, each with its batcher, and whether they can be asked.

Knows pipelines and the server's life: ready, draining, closed. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ragcore import Rag, load_config
from ragcore.errors import ConfigError, RagcoreError, StoreError, nearest
from ragcore.live.watch import Watch
from ragcore.store.manifest import Manifest
from ragcore.store.store import Store
from ragcore_serve.batching import Batcher
from ragcore_serve.config import ServeConfig
from ragcore_serve.errors import NotReadyError, UnknownPipelineError, quoted
from ragcore_serve.metrics import Metrics
from ragcore_serve.tracing import Tracing

__all__ = ["PipelineFile", "Pipelines", "ServedPipeline", "open_pipelines", "pipeline_files"]

_LOG: Final = logging.getLogger("ragcore.serve")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of a pipeline; without @, which comes before a version in the name of a model."""

_PATIENCE: Final = 1.0
"""Seconds for which a probe waits for a database: balancers wait no longer than a few."""


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """A pipeline to serve.

    Attributes:
        name: what requests call it.
        path: of its YAML file.
    """

    name: str
    path: Path


def pipeline_files(arguments: Sequence[str]) -> list[PipelineFile]:
    """Read the pipelines of a command line: each FILE, or NAME=FILE.

    Raises:
        ConfigError: a name is unfit, or there twice.
    """
    files: list[PipelineFile] = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals:
            name, path = Path(argument).stem, argument
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a pipeline: expected letters, digits, '.', '_' "
                "and '-'; write NAME=FILE"
            )
        if any(each.name == name for each in files):
            raise ConfigError(f"two pipelines have the name {name!r}: write NAME=FILE for one")
        files.append(PipelineFile(name, Path(path)))
    return files


class ServedPipeline:
    """One pipeline: what answers, and what lets its requests in.

    Attributes:
        name: what requests call it.
        rag: the pipeline itself.
        batcher: lets requests in, and answers them together.
        store: where its versions are; None where it was made without one.
    """

    def __init__(
        self,
        name: str,
        rag: Rag,
        batcher: Batcher,
        *,
        store: Store | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Serve a pipeline, which closes with this object, as its watch does."""
        self.name = name
        self.rag = rag
        self.batcher = batcher
        self.store = store
        self._watch = watch
        self.changing = asyncio.Lock()
        """Locked while a caller changes the version, so that one change is made at a time."""

    def manifest(self, version: str) -> Manifest:
        """Read what is recorded of a version.

        Raises:
            ConfigError: the pipeline has no store.
            StoreError: there is no such version, or its manifest is broken.
        """
        if self.store is None:
            raise ConfigError(f"pipeline {self.name!r} is served without a store")
        return self.store.manifest(version)

    def check_version(self, version: str | None) -> None:
        """Refuse a version that the store does not have, before it takes room in the queue.

        Raises:
            UnknownVersionError: names those that there are.
        """
        if version not in (None, self.rag.memory.version) and self.store is not None:
            self.store.manifest(version)

    def close(self) -> None:
        """Follow the store no longer, and close the memory when its last reader has left."""
        if self._watch is not None:
            self._watch.stop()
        self.rag.close()


class Pipelines:
    """All pipelines of a server; the first is the one that is asked where none is named."""

    def __init__(self, pipelines: Sequence[ServedPipeline]) -> None:
        """Begin ready.

        Raises:
            ConfigError: there is none.
        """
        if not pipelines:
            raise ConfigError("no pipeline to serve: name at least one pipeline's YAML file")
        self._pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self._default = pipelines[0]
        self._draining = False
        self._closed = False
        self._asking = threading.Lock()
        self._outcome: Future[str | None] | None = None

    def __iter__(self) -> Iterator[ServedPipeline]:
        return iter(self._pipelines.values())

    @property
    def default(self) -> ServedPipeline:
        """The pipeline that is asked where a request names none."""
        return self._default

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop, and takes no more questions."""
        return self._draining

    def get(self, name: str | None = None) -> ServedPipeline:
        """Return a pipeline by its name; the default one for None.

        Raises:
            UnknownPipelineError: there is none of this name.
        """
        if name is None:
            return self._default
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            close = nearest(name, list(self._pipelines))
            hint = f"did you mean {close!r}? " if close else ""
            raise UnknownPipelineError(
                f"no pipeline {quoted(name)}: {hint}there are {', '.join(self._pipelines)}"
            )
        return pipeline

    def check_ready(self) -> None:
        """Raise where questions cannot be answered now.

        Raises:
            NotReadyError: says why.
        """
        if self._draining or self._closed:
            raise NotReadyError("the server is about to stop: ask another, or this one later")
        for pipeline in self:
            try:
                # A closed memory has no version that could be read.
                with pipeline.rag.memory.reading():
                    pass
            except StoreError as error:
                _LOG.error("pipeline %r cannot be asked: %s", pipeline.name, error)
                raise NotReadyError(
                    f"pipeline {pipeline.name!r} cannot be asked: its memory is closed"
                ) from error

    @property
    def has_unavailable(self) -> bool:
        """Whether a pipeline's memory found no database to ask, for vectors or passages."""
        return any(_unavailable(each) for each in self)

    def check_available(self) -> None:
        """Search and read the memories again that found no database to ask.

        Raises:
            NotReadyError: one still finds none, or none within a second.
        """
        with self._asking:
            # One at a time, which waits for the time-out of the database; a probe does not.
            if self._outcome is None or self._outcome.done():
                outcome = Future[str | None]()
                # Noted when it runs: a thread that cannot start would be waited for in vain.
                threading.Thread(target=self._ask_again, args=(outcome,), daemon=True).start()
                self._outcome = outcome
            outcome = self._outcome
        try:
            silent = outcome.result(_PATIENCE)
        except TimeoutError:
            silent = "a pipeline"
        if silent is not None:
            raise NotReadyError(f"{silent} cannot be asked: its memory's database is silent")

    def _ask_again(self, outcome: Future[str | None]) -> None:
        """Find the first pipeline whose memory still finds no database to ask; None if all do."""
        try:
            for pipeline in filter(_unavailable, self):
                try:
                    with pipeline.rag.memory.reading() as memory:
                        memory.ask_again()
                except RagcoreError as error:
                    _LOG.error("pipeline %r cannot be asked: %s", pipeline.name, error)
                    outcome.set_result(f"pipeline {pipeline.name!r}")
                    return
            outcome.set_result(None)
        except BaseException as error:  # The probes that wait raise it.
            outcome.set_exception(error)

    def begin_draining(self) -> None:
        """Take no more questions from now on; those that were admitted are answered."""
        self._draining = True

    async def drain(self, timeout: float) -> bool:
        """Take no more questions, and wait until those that were admitted have ended.

        Args:
            timeout: in seconds; then the rest is ended.

        Returns:
            Whether all were answered in time.
        """
        self.begin_draining()
        finished = await asyncio.gather(*(each.batcher.drain(timeout) for each in self))
        return all(finished)

    def close(self) -> None:
        """Close all pipelines."""
        self._closed = True
        for pipeline in self:
            pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_pipelines(
    files: Sequence[PipelineFile],
    overrides: Sequence[str],
    config: ServeConfig,
    *,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
) -> Pipelines:
    """Load pipelines, and begin to follow their stores.

    Args:
        files: in order; the first is the default.
        overrides: changes to each file, as on the command line.
        config: of the server.
        metrics: counts the questions of each pipeline; pass the same to `make_app`.
        tracing: makes spans of batches; pass the same to `make_app`.

    Raises:
        ConfigError, StoreError: as `ragcore.load`.
    """
    metrics, tracing = metrics or Metrics(), tracing or Tracing()
    pipelines: list[ServedPipeline] = []
    try:
        for file in files:
            pipelines.append(_opened(file, overrides, config, metrics, tracing))
    except BaseException:
        for pipeline in pipelines:
            pipeline.close()
        raise
    return Pipelines(pipelines)


def _opened(
    file: PipelineFile,
    overrides: Sequence[str],
    config: ServeConfig,
    metrics: Metrics,
    tracing: Tracing,
) -> ServedPipeline:
    pipeline = load_config(file.path, overrides)
    store = Store(pipeline.memory.store, passages=pipeline.memory.passages)
    pinned = pipeline.memory.version is not None
    current = store.current() if config.pin and not pinned else None
    if current is not None:
        # As if the file named it: the core refuses to activate another, and says why.
        pipeline = load_config(file.path, [*overrides, f"memory.version={json.dumps(current)}"])
    rag = Rag.from_config(pipeline)
    try:
        watch = None
        if not config.pin and not pinned:
            watch = rag.memory.watch(config.interval)
        measured = metrics.pipeline(file.name, lambda: rag.memory.version)
        batcher = Batcher(
            rag,
            queue=config.queue,
            streams=config.streams,
            observe=measured.observe,
            observe_batch=measured.observe_batch,
            observe_queue=measured.observe_queue,
            batch_span=tracing.batch,
        )
    except BaseException:
        rag.close()
        raise
    _LOG.info("serving pipeline %r from %s: version %r", file.name, file.path, rag.memory.version)
    return ServedPipeline(file.name, rag, batcher, store=store, watch=watch)


def _unavailable(pipeline: ServedPipeline) -> bool:
    """Return whether a pipeline's memory found no database to ask."""
    with pipeline.rag.memory.reading() as memory:
        return memory.unavailable is not None
