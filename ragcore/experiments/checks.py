"""Check an experiment as a whole before anything is computed: memories, metrics, questions.

Knows what systems, metrics and questions need of each other; knows nothing of how a system is run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ragcore.config import PipelineConfig
from ragcore.config.source import Entry, Items, Mapping, Scalar, Source, SourcePosition
from ragcore.errors import ConfigError, QuestionError, RagcoreError, nearest
from ragcore.evaluation.begun import settings_of
from ragcore.evaluation.checks import check_grades, check_labels, labels_of
from ragcore.evaluation.choosing import (
    default_metrics,
    make_metrics,
    ranking_metrics,
    search_depth,
)
from ragcore.evaluation.metrics.base import Metric
from ragcore.evaluation.report import QuestionSource
from ragcore.evaluation.trec_runs import read_trec_run
from ragcore.experiments.apart import check_apart, read_some
from ragcore.experiments.config import ExperimentConfig
from ragcore.experiments.folders import no_store
from ragcore.experiments.grid import PlacedSystem
from ragcore.experiments.output import output_faults
from ragcore.questions import LabelledQuestion
from ragcore.store.store import Store

__all__ = ["ExperimentChecker"]

_SHOWN: Final = 3
_NAMES: Final = 20
"""How many examples, and how many names of systems, a message shows."""


class ExperimentChecker:
    """Checks parts of one experiment, and adds the faults to its source."""

    def __init__(self, tree: Mapping, source: Source) -> None:
        self._tree = tree
        self._source = source

    def read_questions(self, key: str, questions: QuestionSource) -> list[LabelledQuestion] | None:
        """Read the questions under a key; None where they cannot be read."""
        position = self._at(key)
        try:
            asked = read_some(questions)
        except RagcoreError as error:
            self._source.fault(position, str(error))
            return None
        return asked

    def check_apart(
        self, asked: Sequence[LabelledQuestion], dev: Sequence[LabelledQuestion]
    ) -> None:
        """Refuse dev questions that are test questions too."""
        try:
            check_apart(asked, dev, "a threshold")
        except QuestionError as error:
            self._source.fault(self._at("dev"), f"dev: {error}")

    def metrics(self) -> dict[str, Metric] | None:
        """Make the metrics that the file names; None where it names none."""
        entry = self._tree.entries.get("metrics")
        if entry is None or not isinstance(entry.value, Items):
            return None
        metrics: dict[str, Metric] = {}
        for item in entry.value.items:
            if not isinstance(item, Scalar) or not isinstance(item.value, str):
                continue
            try:
                metrics |= make_metrics([item.value])
            except RagcoreError as error:
                self._source.fault(item.position, str(error))
        return metrics

    def check_memories(
        self, systems: Sequence[PlacedSystem], *, build: bool, retrieval: bool
    ) -> dict[str, str]:
        """Check that each memory is there, and that no two systems are the same.

        Args:
            systems: all of the experiment.
            build: whether missing memories are built.
            retrieval: whether only retrieval is measured.

        Returns:
            The version that each system reads, by the system's name; without those that will be
            built, and those of run files.
        """
        stores: dict[Path, tuple[list[str], str | None]] = {}
        versions: dict[str, str] = {}
        same: dict[str, str] = {}
        twins: dict[SourcePosition, list[tuple[str, str]]] = {}
        faults: dict[tuple[SourcePosition, str], list[str]] = {}
        for placed in systems:
            system, config = placed.system, placed.system.config
            position = placed.position
            try:
                if config is None:
                    assert system.run is not None
                    read_trec_run(system.run)
                    content = str(system.run.resolve())
                else:
                    position = placed.levels.get("memory.version", position)
                    names, current = _versions(config.memory.store, stores)
                    version = config.memory.version or current
                    if not build:
                        _check_version(config, names, version)
                    if version is not None and version in names:
                        versions[system.name] = version
                    content = _content(config, version, build=build, retrieval=retrieval)
            except RagcoreError as error:
                faults.setdefault((position, str(error)), []).append(system.name)
                continue
            first = same.setdefault(content, system.name)
            if first != system.name:
                twins.setdefault(placed.position, []).append((first, system.name))
        for (position, message), blamed in faults.items():
            self._source.fault(position, f"{_listed(blamed)}: {message}")
        for position, pairs in twins.items():
            (first, second), *more = pairs
            also = f" ({len(more)} more are the same as another, too)" if more else ""
            depends = "retrieval depends" if retrieval else "answers depend"
            self._source.fault(
                position,
                f"the systems {first!r} and {second!r} are the same{also}: no setting differs that "
                f"{depends} on; remove one",
            )
        return versions

    def check_answers(
        self,
        config: ExperimentConfig,
        systems: Sequence[PlacedSystem],
        metrics: dict[str, Metric] | None,
    ) -> bool:
        """Refuse metrics of answers where there are none; return whether retrieval is all there is.

        Args:
            config: of the experiment.
            systems: all of the experiment.
            metrics: those that the file names, if any.
        """
        answering = [
            name for name, each in (metrics or {}).items() if labels_of(each) != "passages"
        ]
        if config.retrieval:
            if answering:
                self._source.fault(
                    self._at("metrics"),
                    f"{', '.join(answering)}: of answers, and 'retrieval' measures none: name "
                    "metrics of passages, such as nDCG@10, or remove 'retrieval'",
                )
            return True
        silent = [each for each in systems if not _answers(each)]
        named: set[str] = set()
        for placed in silent:
            name = str(placed.system.factors["system"])
            what = "is a run file" if placed.system.run else "has no generator"
            if name in named:
                continue
            named.add(name)
            if answering:
                fault = f"{', '.join(answering)}: of answers: name metrics of passages alone"
            elif config.risk is not None:
                fault = "'risk' is of answers: leave the system out, or 'risk'"
            elif metrics is None and len(silent) < len(systems):
                fault = (
                    "others have one: set 'retrieval: true' to compare retrieval alone, or name "
                    "metrics of passages"
                )
            else:
                continue
            self._source.fault(placed.position, f"system {name!r} {what}, and {fault}")
        return bool(silent)

    def check_labels(
        self,
        asked: Sequence[LabelledQuestion],
        metrics: dict[str, Metric] | None,
        versions: dict[str, str],
        *,
        retrieval: bool,
        depth: int | None,
    ) -> None:
        """Refuse questions that the metrics cannot be computed of, and metrics below the depth.

        Args:
            asked: the questions; at least one.
            metrics: those that the file names; None for those that suit the questions.
            versions: that the systems read, by their names.
            retrieval: whether only retrieval is measured.
            depth: how deep the file says to search.
        """
        names = default_metrics(asked, retrieval=retrieval)
        metrics = make_metrics(names) if metrics is None else metrics
        try:
            search_depth(metrics, depth)
        except RagcoreError as error:
            self._source.fault(self._at("depth"), str(error))
        try:
            if ranking_metrics(metrics):
                check_grades(asked)
            for version in dict.fromkeys(versions.values()) or [""]:
                check_labels(asked, version, metrics)
        except QuestionError as error:
            self._source.fault(self._at("questions"), str(error))

    def baseline(self, name: str | None, systems: Sequence[PlacedSystem]) -> str:
        """Return the full name of the baseline: the first system that has its name."""
        if name is None:
            return systems[0].system.name
        for placed in systems:
            if name in (placed.system.name, placed.system.factors["system"]):
                return placed.system.name
        known = [placed.system.name for placed in systems]
        groups = [str(placed.system.factors["system"]) for placed in systems]
        choices = list(dict.fromkeys([*groups, *known]))
        close = nearest(name, choices)
        hint = f"did you mean {close!r}? " if close else ""
        shown = ", ".join(map(repr, choices[:_NAMES])) + (", …" if len(choices) > _NAMES else "")
        self._source.fault(
            self._at("baseline"), f"baseline: no system {name!r}: {hint}systems: {shown}"
        )
        return systems[0].system.name

    def check_output(self, output: Path) -> None:
        """Refuse an output that results cannot be written into."""
        for fault in output_faults(output):
            self._source.fault(self._at("output"), f"output: {fault}")

    def _at(self, key: str) -> SourcePosition:
        """Return the position of a key's value; that of the file where it has none."""
        entry: Entry | None = self._tree.entries.get(key)
        return entry.value.position if entry else self._tree.position


def _listed(names: Sequence[str]) -> str:
    """Name systems for a message; of many, the first few."""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"system{'s' if len(names) > 1 else ''} {shown}{more}"


def _versions(
    folder: Path, stores: dict[Path, tuple[list[str], str | None]]
) -> tuple[list[str], str | None]:
    """Return the versions of a store, and the current one; each store is read once."""
    if folder not in stores:
        store = Store(folder)
        stores[folder] = [info.name for info in store.versions()], store.current()
    return stores[folder]


def _check_version(config: PipelineConfig, names: Sequence[str], version: str | None) -> None:
    """Check that a memory can be opened.

    Raises:
        ConfigError: its store is missing or empty, or lacks the version.
    """
    store = config.memory.store
    if not store.is_dir():
        raise ConfigError(no_store(store))
    if not names:
        raise ConfigError(
            f"the store {store} has no version: build one (ragcore memory build), or set "
            "'build: true'"
        )
    if version is None:
        raise ConfigError(
            f"the store {store} has no current version: name one under memory.version: "
            f"{', '.join(names)}"
        )
    if version not in names:
        close = nearest(version, names)
        hint = f"did you mean {close!r}? " if close else ""
        raise ConfigError(
            f"memory.version is {version!r}, which the store {store} does not have: {hint}"
            f"versions: {', '.join(names)}"
        )


def _content(config: PipelineConfig, version: str | None, *, build: bool, retrieval: bool) -> str:
    """Write all that answers, or retrieval alone, depend on as a text."""
    memory = config.memory
    # A memory that is there is of the corpus that it was built from.
    corpus = memory.corpus.to_dict() if build and memory.corpus is not None else None
    settings = settings_of(config, retrieval=retrieval)
    return json.dumps([settings, str(memory.store), version, corpus], sort_keys=True)


def _answers(placed: PlacedSystem) -> bool:
    return placed.system.config is not None and placed.system.config.generator is not None
