"""Build a memory in shards wherever a runner runs them, then merge them.

Knows in which order shards, training and merge come, and what a build that was interrupted has
left; knows nothing of processes or clusters.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ragcore.build import build_shard, merge_shards, train_index
from ragcore.config import load_component, load_config
from ragcore.contracts import IndexTrainer, PartReport, Retriever, Runner, supports
from ragcore.embeddings.cache import Encodings
from ragcore.errors import (
    ComponentError,
    ConfigError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
)
from ragcore.registry.components import ComponentSpec
from ragcore.runners.parts import Part, run_parts
from ragcore.store.catalog import Catalog
from ragcore.store.index_training import use_training
from ragcore.store.info import BuildInfo, ShardInfo
from ragcore.store.layout import TRASH
from ragcore.store.progress import Progress, silent
from ragcore.store.sharding import require_merge
from ragcore.store.staging import VersionBusyError, unique
from ragcore.types import CutPassages

__all__ = ["build_in_shards", "load_runner"]

_LOG: Final = logging.getLogger("ragcore.build")

_TRAINING: Final = "training"
"""The folder of the training, in that of the shards."""
_PATIENCE: Final = 60.0
"""Seconds to wait for another process that builds the same shard."""
_SHOWN: Final = 5
"""Failed shards whose errors a message has."""


def load_runner(name: str, *settings: str) -> Runner:
    """Return where parts of a job run, by the name that `--on` takes.

    Args:
        name: such as "processes", or "ray" of the package ragcore-ray.
        settings: of it, such as "workers=4"; the last one wins.

    Raises:
        UnknownComponentError: no plugin provides it; the message lists those that are installed.
        PluginError: it cannot be imported.
        ConfigError: a setting is wrong.
    """
    runner: Runner = load_component("runner", name, settings).build()
    return runner


def build_in_shards(
    pipeline: str | Path,
    *overrides: str,
    runner: Runner,
    shards: int,
    out: str | Path | None = None,
    training: str | Path | None = None,
    version: str | None = None,
    fresh: bool = False,
    activate: bool = True,
    progress: Progress | None = None,
) -> BuildInfo:
    """Build a version of a pipeline's memory in shards that a runner builds, and merge them.

    An index that needs training is trained once before, in this process. A build that was
    interrupted, or of which a shard failed, goes on with the shards that are there.

    Args:
        pipeline: path of a YAML file, the same for all workers.
        overrides: changes to the file, as on the command line.
        runner: where the shards are built; see `load_runner`.
        shards: how many there are; their number and order do not depend on the runner.
        out: a folder for them that all workers write to; where None, the store's name with
            `-shards` behind it, which is removed after the merge.
        training: the folder that `train_index` made; where None, the index is trained if it needs
            that, and `out` gets the training.
        version: the new version's name, as for `build_memory`.
        fresh: build shards and training again that are there; see `build_memory`.
        activate: as for `build_memory`.
        progress: as for `merge_shards`; passages are those of all shards, and "built" counts
            shards.

    Raises:
        ConfigError: the file is faulty, or names no corpus, or there is no shard.
        UnsupportedOperation: the retriever cannot be merged.
        VersionExistsError: there is a version of this name.
        ComponentError: a shard failed or its worker ended; the message has the error of each, and
            the others are there for the next build.
        MemoryMismatchError: the training that an interrupted build has left is of another encoder
            or index.
        StoreError: `out` has shards of another number of parts.
        StoreError, CorpusError: as for `build_shard` and `merge_shards`.
    """
    if shards < 1:
        raise ConfigError(f"{shards} shards: expected 1 or more")
    section, report = load_config(pipeline, overrides).memory, progress or silent
    if (version or section.version) is not None:
        Catalog(section.store).refuse_name(version or section.version or "")
    retriever = section.retriever.build()
    require_merge(section.retriever, retriever)
    store = Path(section.store)
    folder = Path(out) if out is not None else store.with_name(f"{store.name}-shards")
    folder, path = folder.absolute(), Path(pipeline).absolute()
    _refuse_other_shards(folder, shards)
    if training is None and _needs_training(section.retriever, retriever):
        training = _trained(path, overrides, folder / _TRAINING, fresh=fresh, report=report)
        _check_training(training, section.retriever, retriever)
    del retriever
    trained = None if training is None else Path(training).absolute()
    parts = _Shards(path, tuple(overrides), shards, folder, trained, fresh)
    built = _all_built(parts, runner, report)
    merged = merge_shards(
        path, [folder], *overrides, version=version, activate=activate, progress=progress
    )
    if out is None:
        _remove(folder)
    return _with_figures(merged, built)


@dataclass(frozen=True, slots=True)
class _Shards:
    """The shards as parts of a job; the arguments of `build_shard`."""

    pipeline: Path
    overrides: tuple[str, ...]
    of: int
    out: Path
    training: Path | None
    fresh: bool

    @property
    def names(self) -> Sequence[str]:
        return [f"shard {number}/{self.of}" for number in range(self.of)]

    @contextmanager
    def opened(self) -> Iterator[Callable[[int, PartReport], ShardInfo]]:
        yield self._build

    def _build(self, number: int, report: PartReport) -> ShardInfo:
        def progress(stage: str, done: int, total: int | None) -> None:
            report(stage, done, total)

        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                return build_shard(
                    self.pipeline,
                    *self.overrides,
                    number=number,
                    of=self.of,
                    out=self.out,
                    training=self.training,
                    fresh=self.fresh,
                    progress=progress,
                )
            except VersionBusyError:
                # A worker whose node is lost may take a while to end.
                if time.monotonic() > ends:
                    raise
                time.sleep(1)


def _all_built(parts: _Shards, runner: Runner, report: Progress) -> list[ShardInfo]:
    """Let a runner build all shards, in any order; return them in their order.

    Raises:
        ComponentError: one failed, when all others have ended.
    """
    progress = _Sums(report, parts.of)
    finished: dict[int, Part[ShardInfo]] = {}
    built = 0
    for part in run_parts(parts, runner, progress):
        finished[part.number] = part
        if part.error is None and not part.lost:
            built += 1
            report("built", built, parts.of)
    failures: list[tuple[str, Exception | None]] = []
    for number, name in enumerate(parts.names):
        part = finished.get(number, Part(number, lost="its worker was not started"))
        if part.error is not None:
            failures.append((f"{name}: {part.error}", part.error))
        elif part.lost:
            failures.append((f"{name}: {part.lost}", None))
    if failures:
        more = len(failures) - _SHOWN
        errors = "\n".join(f"  {message}" for message, _ in failures[:_SHOWN])
        further = f"\n  and {more} more" if more > 0 else ""
        cause = next((error for _, error in failures if error is not None), None)
        raise ComponentError(
            f"{len(failures)} of {parts.of} shards failed, and the others are in {parts.out}: "
            f"repair what is wrong, and build again, which goes on with them:\n{errors}{further}"
        ) from cause
    return [finished[number].result() for number in range(parts.of)]


class _Sums:
    """Reports the progress of all parts together."""

    def __init__(self, report: Progress, parts: int) -> None:
        self._report = report
        self._parts = parts
        self._done: dict[str, dict[int, int]] = defaultdict(dict)
        self._totals: dict[str, dict[int, int]] = defaultdict(dict)

    def __call__(self, part: int, stage: str, done: int, total: int | None) -> None:
        """Add what a part reports; how much there is in all is known when all parts know it."""
        if stage == "files":
            # The merge reports those of the version.
            return
        if stage == "kept":
            self._report(stage, done, None)
            return
        self._done[stage][part] = done
        if total is not None:
            self._totals[stage][part] = total
        totals = self._totals[stage].values()
        whole = sum(totals) if len(totals) == self._parts else None
        self._report(stage, sum(self._done[stage].values()), whole)


def _needs_training(spec: ComponentSpec[Retriever], retriever: Retriever) -> bool:
    """Return whether an index of a retriever must be trained before it takes vectors."""
    return supports(retriever, IndexTrainer) and any(
        getattr(index.config, "needs_training", False) for index in _indexes(spec.config)
    )


def _indexes(value: Any) -> Iterator[ComponentSpec[Any]]:
    """Yield the specs of indexes in a config, at any depth."""
    if isinstance(value, ComponentSpec):
        if value.kind == "index":
            yield value
        value = value.config
    match value:
        case Mapping():
            inner: Sequence[Any] = list(value.values())
        case list() | tuple():
            inner = value
        case _:
            inner = [getattr(value, name) for name in getattr(type(value), "model_fields", ())]
    for each in inner:
        yield from _indexes(each)


def _trained(
    pipeline: Path, overrides: Sequence[str], folder: Path, *, fresh: bool, report: Progress
) -> Path:
    """Train the index, unless an interrupted build did; return the folder."""
    if fresh and folder.exists():
        shutil.rmtree(folder)
    if not folder.exists():
        train_index(
            pipeline,
            *overrides,
            out=folder,
            progress=lambda stage, done, total: report("sampled", done, total),
        )
    return folder


def _check_training(folder: Path, spec: ComponentSpec[Retriever], retriever: Retriever) -> None:
    """Check a training before any shard is built with it, as one that was interrupted has left it.

    Raises:
        MemoryMismatchError: it was made with another encoder or index.
        StoreCorruptError: a file is missing or was changed.
    """
    try:
        use_training(folder, spec, retriever)
    except (MemoryMismatchError, StoreCorruptError) as error:
        raise type(error)(
            f"{error}; an interrupted build has left it: build with --fresh, which trains again"
        ) from error


def _refuse_other_shards(folder: Path, of: int) -> None:
    """Check that a folder has no shards of a build in another number of parts, before any is built.

    Raises:
        StoreError: it has; a merge would refuse them.
    """
    for name in Catalog(folder).names():
        there = Catalog(folder).manifest(name).shard
        if there is not None and there.of != of:
            raise StoreError(
                f"{folder} has {name!r}, of a build in {there.of} shards, and this one is in {of}: "
                f"go on with that one (--shards {there.of}), remove the folder, or choose another "
                "(--out)"
            )


def _remove(folder: Path) -> None:
    """Remove the shards, whose files the store has now.

    All are renamed first, so that a build that is killed meanwhile leaves none by half, which the
    next one would take for damaged.
    """
    catalog = Catalog(folder)
    parts = [catalog.versions / name for name in catalog.names()]
    try:
        for path in (*parts, folder / _TRAINING):
            if path.exists():
                path.rename(path.with_name(unique(f"{TRASH}{path.name}")))
        shutil.rmtree(folder)
    except OSError as error:
        _LOG.warning("%s: the shards are merged, but not removed: %s", folder, error)


def _with_figures(merged: BuildInfo, shards: Sequence[ShardInfo]) -> BuildInfo:
    """Add up what the builds of the shards say."""
    made = [shard.encodings for shard in shards if shard.encodings is not None]
    encodings = None
    if made:
        encodings = Encodings(
            sum(each.encoded for each in made),
            sum(each.from_cache for each in made),
            sum(each.resumed for each in made),
        )
    cut: dict[str, CutPassages] = {}
    for each in (each for shard in shards for each in shard.cut_passages):
        before = cut.get(each.encoder)
        if before is not None:
            each = replace(each, count=before.count + each.count, of=before.of + each.of)
        cut[each.encoder] = each
    summary = tuple(dict.fromkeys(line for shard in shards for line in shard.summary))
    return replace(merged, encodings=encodings, cut_passages=tuple(cut.values()), summary=summary)
