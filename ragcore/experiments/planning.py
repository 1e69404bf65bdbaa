"""Decide what is left to do: check systems against the questions, open their memories, find runs.

Everything that can be wrong with a system is found here, before anything is computed. Knows
systems, memories and folders of runs; knows nothing of searching or answering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ragcore.build import open_memory
from ragcore.errors import MemoryMismatchError, RagcoreError, StoreError
from ragcore.evaluation.checks import absent_passages, check_answered, check_labels
from ragcore.evaluation.choosing import limited_search, ranking_metrics
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.searching import deepest_ranking
from ragcore.experiments.folders import (
    DEV,
    Record,
    digest_of,
    identity,
    is_complete,
    remove_run,
    run_folder,
)
from ragcore.experiments.memories import Located, build, located, stores_of
from ragcore.experiments.resources import Resources, memory_key
from ragcore.experiments.results import Counters
from ragcore.experiments.searching import Needs
from ragcore.experiments.systems import Experiment, System
from ragcore.filters.expressions import read_where
from ragcore.memory.memory import Memory
from ragcore.questions import LabelledQuestion

__all__ = ["FILTER", "TEST", "Measured", "Plan", "Planner", "is_retrieval"]

TEST: Final = "test"
FILTER: Final = "filter"
"""The part of a record's warnings that are of `rag.where`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What all systems are measured by.

    Attributes:
        asked: the questions, by part: "test", and "dev" where the experiment has it.
        digests: of these, with their labels.
        metrics: by name.
        chosen: whether the user named them.
        depth: how deep they want to search; None where none reads a ranking.
    """

    asked: Mapping[str, Sequence[LabelledQuestion]]
    digests: Mapping[str, str]
    metrics: Mapping[str, Metric]
    chosen: bool
    depth: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How one system is run.

    Attributes:
        system: which one.
        located: its memory.
        retrieval: whether retrieval alone is measured.
        folder: of its run.
        record: what the run is of.
        reused: whether the run is complete.
        needs: which searches it needs.
    """

    system: System
    located: Located
    retrieval: bool
    folder: Path
    record: Record
    reused: bool
    needs: Needs


def is_retrieval(system: System, experiment: Experiment) -> bool:
    """Tell whether retrieval alone is measured of a system."""
    return experiment.retrieval or system.config is None or system.config.generator is None


class Planner:
    """Plans the systems of an experiment; opens each memory once."""

    def __init__(
        self, experiment: Experiment, measured: Measured, resources: Resources, *, fresh: bool
    ) -> None:
        self._experiment = experiment
        self._measured = measured
        self._resources = resources
        self._fresh = fresh
        self._opened: dict[str, Memory] = {}
        self._checked: set[tuple[str, str]] = set()
        self.counters = Counters()

    def plans(self) -> list[Plan]:
        """Plan all systems that are pipelines, in order.

        Raises:
            RagcoreError: a memory cannot be opened, or a system cannot be measured by the metrics;
                names the system.
        """
        plans = []
        for system in self._experiment.systems:
            if system.run is not None:
                continue
            try:
                plans.append(self._plan(system))
            except RagcoreError as error:
                raise type(error)(f"system {system.name!r}: {error}") from error
        for key, memory in self._opened.items():
            self._resources.keep(memory, key)
        return plans

    def _plan(self, system: System) -> Plan:
        if is_retrieval(system, self._experiment):
            check_answered(self._measured.metrics)
        stores = stores_of(system, self._experiment.output, build=self._experiment.build)
        candidates = [each for store in stores if (each := located(system, store)) is not None]
        for candidate in () if self._fresh else candidates:
            folder = self._complete(system, candidate)
            if folder is not None:
                record = Record.read(folder)
                assert record is not None
                return self._planned(system, candidate, folder, record, reused=True)
        candidate, memory = self._open(system, candidates)
        self._resources.keep_config(candidate.pipeline, candidate.config)
        identical, digest = self._digests(system, candidate)
        folder = run_folder(self._experiment.output, system.name, digest)
        if self._fresh:
            remove_run(folder)
        record = Record(
            system.name,
            digest,
            identical,
            self._measured.depth,
            deepest_ranking(memory),
            "exact" in memory.retriever.capabilities,
            self._warnings(candidate, memory),
        )
        return self._planned(system, candidate, folder, record, reused=False)

    def _planned(
        self, system: System, candidate: Located, folder: Path, record: Record, *, reused: bool
    ) -> Plan:
        """Check the metrics against the memory, and return the plan."""
        measured = self._measured
        for asked in measured.asked.values():
            check_labels(asked, candidate.version, measured.metrics)
        _, depth, _ = limited_search(
            measured.metrics, measured.depth, record.deepest, chosen=measured.chosen
        )
        retrieval = is_retrieval(system, self._experiment)
        needs = Needs(0 if retrieval else candidate.config.rag.k, depth)
        return Plan(system, candidate, retrieval, folder, record, reused, needs)

    def _digests(self, system: System, candidate: Located) -> tuple[str, str]:
        """Return the digests of a run's identity, and of that with the depth."""
        retrieval = is_retrieval(system, self._experiment)
        value = identity(
            candidate.config, candidate.manifest, self._measured.digests, retrieval=retrieval
        )
        return digest_of(value), digest_of([value, self._measured.depth])

    def _complete(self, system: System, candidate: Located) -> Path | None:
        """Return the folder of a complete run that can be used again, or None."""
        dev = DEV in self._measured.asked
        identical, digest = self._digests(system, candidate)
        folder = run_folder(self._experiment.output, system.name, digest)
        if is_complete(folder, dev=dev):
            return folder
        return Record.find(self._experiment.output, identical, self._measured.depth, dev=dev)

    def _open(self, system: System, candidates: Sequence[Located]) -> tuple[Located, Memory]:
        """Open the first memory that fits, or build one where that is asked for."""
        may_build = self._experiment.build
        for candidate in candidates:
            try:
                return candidate, self._memory(candidate)
            except MemoryMismatchError:
                if not may_build:
                    raise
        config = system.config
        assert config is not None
        if not may_build:
            # Raises what is missing.
            open_memory(config).close()
        store, encodings = build(system, self._experiment.output)
        if encodings is not None:
            self.counters = replace(
                self.counters,
                encodings=self.counters.encodings + encodings.encoded,
                encodings_shared=self.counters.encodings_shared + encodings.from_cache,
            )
        built = located(system, store)
        if built is None:
            raise StoreError(f"{store}: the version that was built is not there: build it again")
        return built, self._memory(built)

    def _memory(self, candidate: Located) -> Memory:
        """Open a memory; the files of a version are compared with their sha256 once."""
        key = memory_key(candidate.config)
        if key not in self._opened:
            section = candidate.config.memory
            files = str(section.store), candidate.version
            verify = False if files in self._checked else section.verify
            self._opened[key] = open_memory(candidate.config, verify=verify)
            self._checked.add(files)
        return self._opened[key]

    def _warnings(self, candidate: Located, memory: Memory) -> dict[str, tuple[str, ...]]:
        """Return warnings about the memory, by part of the questions."""
        warnings: dict[str, tuple[str, ...]] = {}
        if ranking_metrics(self._measured.metrics):
            for part, asked in self._measured.asked.items():
                warnings[part] = tuple(absent_passages(asked, memory))
        where = candidate.config.rag.where
        if where is not None:
            warnings[FILTER] = memory.filter_notes(read_where(where))
        return warnings
