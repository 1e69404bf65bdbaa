"""Expand the systems of an experiment by its grid, and check the config of each.

Knows pipelines, overrides and names; knows nothing of questions and metrics, or of what a store
has in it (checks.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ragcore.config.load import PipelineFile
from ragcore.config.source import (
    Items,
    Node,
    Source,
    SourcePosition,
    dump_line,
    written_value,
)
from ragcore.config.source import Mapping as Tree
from ragcore.errors import ConfigError
from ragcore.experiments.config import SystemSection, SystemsPart
from ragcore.experiments.systems import System

__all__ = ["MOST_SYSTEMS", "Expansion", "PlacedSystem", "expand"]

MOST_SYSTEMS: Final = 10_000
_LONGEST_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class PlacedSystem:
    """A system, and where the file says what it is.

    Attributes:
        system: the system.
        position: of its name in the file.
        levels: the position of each value that a grid or `set` chose for it, by key.
    """

    system: System
    position: SourcePosition
    levels: Mapping[str, SourcePosition] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expansion:
    """What the systems of a file are.

    Attributes:
        systems: those without a fault, in order.
        pipeline_faults: faults of pipeline files themselves, each as `load_config` shows it.
    """

    systems: tuple[PlacedSystem, ...]
    pipeline_faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Level:
    """One value of a key; `count` is of how many."""

    key: str
    text: str
    value: Any
    key_position: SourcePosition
    position: SourcePosition
    count: int = 1

    @property
    def override(self) -> str:
        return f"{self.key}={self.text}"


_Grid = dict[str, list[_Level]]


def expand(part: SystemsPart, tree: Tree, source: Source) -> Expansion:
    """Return all systems, each with its checked config; faults are added to the source.

    Args:
        part: systems and grid of the file, read from `tree`.
        tree: of the whole file.
        source: of the tree.
    """
    return _Expander(part, tree, source).expand()


class _Expander:
    def __init__(self, part: SystemsPart, tree: Tree, source: Source) -> None:
        self._part = part
        self._tree = tree
        self._source = source
        self._common = self._grid(tree)
        # By position and message: the systems and the positions of values that have the fault.
        self._faults: dict[tuple[SourcePosition, str], _Blamed] = {}
        self._pipeline_faults: dict[str, None] = {}

    def expand(self) -> Expansion:
        planned = list(self._plan())
        if not self._within_bounds(planned):
            return Expansion((), ())
        names = _short_keys([key for plan in planned for key in plan.grid])
        systems: list[PlacedSystem] = []
        for plan in planned:
            systems += self._systems(plan, names)
        for (position, message), blamed in self._faults.items():
            if len(blamed.positions) >= blamed.count:
                # A fault of every value is one of the key.
                message += self._advice(position, planned)
                blamed.positions = {position}
            for blamed_position in blamed.positions:
                self._source.fault(blamed_position, f"{_listed(blamed.systems)}: {message}")
        self._check_names(systems)
        return Expansion(tuple(systems), tuple(self._pipeline_faults))

    def _plan(self) -> Iterator[_Plan]:
        """Yield for each system of the file its settings and its grid."""
        section = self._tree.entries["systems"].value
        assert isinstance(section, Tree)
        for name, written in self._part.systems.items():
            entry = section.entries[name]
            if not name.isprintable() or name != name.strip() or not name:
                self._source.fault(
                    entry.position,
                    f"the name {name!r} of a system: expected printable characters, without "
                    "spaces at its ends",
                )
            if len(name) > _LONGEST_NAME:
                self._source.fault(
                    entry.position,
                    f"the name of a system has {len(name)} characters: {_LONGEST_NAME} at most",
                )
            settings: list[_Level] = []
            grid: _Grid = {}
            if isinstance(written, SystemSection) and written.run is not None:
                yield _Plan(name, entry.position, None, written.run.absolute(), settings, grid)
                continue
            path: Path | None = written if isinstance(written, Path) else written.pipeline
            assert path is not None
            if isinstance(entry.value, Tree):
                settings = self._settings(entry.value)
                grid = self._grid(entry.value)
            grid = {key: grid.get(key, levels) for key, levels in (self._common | grid).items()}
            for level in settings:
                if level.key in grid:
                    self._source.fault(
                        level.key_position,
                        f"system {name!r}: {level.key} is set, and is varied by a grid: remove "
                        "one of the two",
                    )
            yield _Plan(name, entry.position, path.absolute(), None, settings, grid)

    def _within_bounds(self, planned: Sequence[_Plan]) -> bool:
        total = sum(math.prod(len(levels) for levels in plan.grid.values()) for plan in planned)
        if total <= MOST_SYSTEMS:
            return True
        entry = self._tree.entries.get("grid", self._tree.entries["systems"])
        self._source.fault(
            entry.position,
            f"the grid makes {total:,} systems of {len(planned)}, and {MOST_SYSTEMS:,} are "
            "allowed: vary fewer keys together",
        )
        return False

    def _systems(self, plan: _Plan, names: Mapping[str, str]) -> Iterator[PlacedSystem]:
        """Yield the systems of one plan, without those that have faults."""
        factors: dict[str, Any] = {"system": plan.name}
        if plan.pipeline is None:
            system = System(plan.name, run=plan.run, factors=factors)
            yield PlacedSystem(system, plan.position)
            return
        try:
            file = PipelineFile(plan.pipeline)
        except ConfigError as error:
            self._source.fault(plan.position, f"system {plan.name!r}: {error}")
            return
        own = file.check()[1]
        for point in itertools.product(*plan.grid.values()):
            name = ", ".join([plan.name, *(f"{names[level.key]}={level.text}" for level in point)])
            levels = [*plan.settings, *point]
            overrides = tuple(level.override for level in levels)
            config, checked = file.check(overrides)
            if config is None:
                self._blame(plan, name, levels, own, checked)
                continue
            system = System(
                name,
                pipeline=file.path.absolute(),
                overrides=overrides,
                config=config,
                factors=factors | {level.key: level.value for level in point},
            )
            positions = {level.key: level.position for level in levels}
            yield PlacedSystem(system, plan.position, positions)

    def _blame(
        self, plan: _Plan, name: str, levels: Sequence[_Level], own: Source, checked: Source
    ) -> None:
        """Report the faults of a config: at a key of the grid, or as the pipeline file's own."""
        of_file = []
        for fault in set(checked.faults):
            if fault.position.origin:
                level = levels[fault.position.origin - 1]
                blamed = self._faults.setdefault(
                    (level.key_position, fault.message), _Blamed(level.count)
                )
                blamed.systems[plan.name] = None
                blamed.positions.add(level.position)
            elif fault in own.faults:
                of_file.append(fault)
            else:
                where = checked.where(fault.position)
                self._source.fault(plan.position, f"system {name!r}: {where}: {fault.message}")
        if of_file:
            self._pipeline_faults[own.show(of_file)] = None

    def _advice(self, position: SourcePosition, planned: Sequence[_Plan]) -> str:
        """Advise where some of the systems accept a key that the experiment's grid varies."""
        if position not in {level.key_position for each in self._common.values() for level in each}:
            return ""
        blamed = {
            name
            for (faulty, _), each in self._faults.items()
            if faulty == position
            for name in each.systems
        }
        concerned = {
            plan.name
            for plan in planned
            if any(levels[0].key_position == position for levels in plan.grid.values())
        }
        if blamed == concerned:
            return ""
        return "; or vary it only in the systems that have it, in a 'grid' of theirs"

    def _settings(self, section: Tree) -> list[_Level]:
        entry = section.entries.get("set")
        if entry is None or not isinstance(entry.value, Tree):
            return []
        return [
            self._level(key, inner.value, inner.position, inner.position)
            for key, inner in entry.value.entries.items()
            if self._is_key(key, inner.position)
        ]

    def _grid(self, section: Tree) -> _Grid:
        """Read a grid; a value that occurs twice is a fault."""
        entry = section.entries.get("grid")
        grid: _Grid = {}
        if entry is None or not isinstance(entry.value, Tree):
            return grid
        for key, inner in entry.value.entries.items():
            if not self._is_key(key, inner.position) or not isinstance(inner.value, Items):
                continue
            items = inner.value.items
            levels: dict[str, _Level] = {}
            for item in items:
                level = self._level(key, item, inner.position, item.position, len(items))
                if level.text in levels:
                    self._source.fault(item.position, f"{key}: {level.text} is there twice")
                levels[level.text] = level
            grid[key] = list(levels.values())
        return grid

    def _is_key(self, key: str, position: SourcePosition) -> bool:
        if key and "=" not in key and all(part.strip() for part in key.split(".")):
            return True
        self._source.fault(
            position,
            f"{key!r} is no key of a pipeline: write its path with dots, as memory.retriever.k1",
        )
        return False

    def _level(
        self,
        key: str,
        node: Node,
        key_position: SourcePosition,
        position: SourcePosition,
        count: int = 1,
    ) -> _Level:
        # As it is written: a secret stays ${env:NAME}.
        value = written_value(node)
        return _Level(key, dump_line(value), value, key_position, position, count)

    def _check_names(self, systems: Sequence[PlacedSystem]) -> None:
        seen = set()
        for placed in systems:
            name = placed.system.name
            if name in seen:
                self._source.fault(placed.position, f"a second system {name!r}: rename one")
            seen.add(name)


@dataclass(frozen=True, slots=True)
class _Plan:
    """One system of the file, with the values that are set and those that are varied."""

    name: str
    position: SourcePosition
    pipeline: Path | None
    run: Path | None
    settings: list[_Level]
    grid: _Grid


@dataclass(slots=True)
class _Blamed:
    """Which systems have a fault, and at how many of `count` values of a key."""

    count: int
    systems: dict[str, None] = field(default_factory=dict)
    positions: set[SourcePosition] = field(default_factory=set)


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Shorten each key to its last parts, as few as tell it from the others."""
    short = {}
    for key in dict.fromkeys(keys):
        parts = key.split(".")
        others = [other.split(".") for other in set(keys) if other != key]
        length = next(
            (n for n in range(1, len(parts)) if all(parts[-n:] != each[-n:] for each in others)),
            len(parts),
        )
        short[key] = ".".join(parts[-length:])
    return short


def _listed(names: Mapping[str, None]) -> str:
    listed = ", ".join(map(repr, names))
    return f"system{'s' if len(names) > 1 else ''} {listed}"
