"""The settings that tuning may choose from: lists of values, and ranges of numbers.

Knows a pipeline file and how its settings are written; knows nothing of questions or metrics.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ragcore.config.load import PipelineFile
from ragcore.config.source import Items, Source, dump_line, written_value
from ragcore.errors import ConfigError
from ragcore.experiments.grid import MOST_SYSTEMS
from ragcore.experiments.options import SWEEP_FORM, split_sweep
from ragcore.experiments.systems import System
from ragcore.registry.components import to_plain

__all__ = ["Candidate", "Range", "Ranges", "Space", "Sweep", "read_space"]

Sweep = Sequence[str] | Mapping[str, Sequence[Any]]
Ranges = Sequence[str] | Mapping[str, tuple[float, float]]

_RANGE: Final = "write KEY=LOW:HIGH, as in memory.retriever.k1=0.5:2"
_DIGITS: Final = 4
"""Of a number from a range: more would be noise in a file that people read."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends, both included; whole numbers where the ends are ints."""

    key: str
    low: int | float
    high: int | float

    def rounded(self, number: float) -> int | float:
        """Round a number of the range as it is written into a pipeline."""
        if isinstance(self.low, int):
            return round(number)
        return min(max(float(f"{number:.{_DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The pipeline with some settings.

    Attributes:
        settings: values by key; empty for the pipeline as it is.
        changes: those of them that differ from the pipeline's own.
        system: for the runner.
    """

    settings: Mapping[str, Any]
    changes: Mapping[str, Any]
    system: System


@dataclass(frozen=True, slots=True)
class Space:
    """All settings that may be chosen.

    Attributes:
        file: of the pipeline.
        overrides: changes to it that all candidates share.
        original: the pipeline as it is.
        sweeps: the values of each key that has a list.
        ranges: the others.
    """

    file: PipelineFile
    overrides: tuple[str, ...]
    original: Candidate
    sweeps: Mapping[str, tuple[Any, ...]]
    ranges: tuple[Range, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """What is varied."""
        return (*self.sweeps, *(each.key for each in self.ranges))

    def grid(self) -> list[Candidate]:
        """Return the pipeline as it is, and all combinations of the lists that differ from it.

        Raises:
            ConfigError: two values cannot be combined, or there are too many combinations.
        """
        points = math.prod(len(values) for values in self.sweeps.values())
        if points > MOST_SYSTEMS:
            raise ConfigError(
                f"the sweep has {points:,} combinations, and {MOST_SYSTEMS:,} are allowed: vary "
                "fewer keys together, or give ranges (--range)"
            )
        combinations = itertools.product(*self.sweeps.values())
        made = (self.candidate(dict(zip(self.sweeps, each, strict=True))) for each in combinations)
        return [self.original, *(each for each in made if each is not self.original)]

    def candidate(self, settings: Mapping[str, Any]) -> Candidate:
        """Return the pipeline with settings; `original` itself where they change nothing.

        Raises:
            ConfigError: the settings cannot be combined.
        """
        written = {key: dump_line(value) for key, value in settings.items()}
        levels = tuple(f"{key}={text}" for key, text in written.items())
        overrides = (*self.overrides, *levels)
        config, source = self.file.check(overrides)
        if config is None:
            raise ConfigError(
                f"{', '.join(levels)} cannot be combined:\n{source.show()}\nleave values out, or "
                "narrow a range"
            )
        known = self.original.system
        if config == known.config:
            return self.original
        own, plain = to_plain(known.config), to_plain(config)
        changes = {
            key: value for key, value in settings.items() if _at(plain, key) != _at(own, key)
        }
        name = ", ".join((known.name, *levels))
        return Candidate(
            dict(settings),
            changes,
            System(name, self.file.path.absolute(), overrides, config, None, dict(settings)),
        )


def read_space(
    pipeline: str, overrides: Sequence[str], sweep: Sweep = (), ranges: Ranges = ()
) -> Space:
    """Read what may be chosen, and check each value in the pipeline.

    Args:
        pipeline: path of the file, or of its folder.
        overrides: changes to it that stay.
        sweep: lists of values by key, or texts such as "rag.k=1,5".
        ranges: ends by key, or texts such as "memory.retriever.b=0:1".

    Raises:
        ConfigError: lists all faults: of the file, unknown keys, values that a key does not take,
            ends of a range that are no numbers or in the wrong order, a key that is named twice.
    """
    file = PipelineFile(pipeline)
    config, source = file.check(overrides)
    if config is None:
        raise ConfigError(source.show())
    reader = _Reader(file, tuple(overrides))
    sweeps = reader.sweeps(sweep)
    read = reader.ranges(ranges)
    reader.check_keys([*sweeps, *(each.key for each in read)])
    if reader.faults:
        raise ConfigError("\n".join(dict.fromkeys(reader.faults)))
    if not sweeps and not read:
        raise ConfigError(
            "nothing to choose from: name keys with their values (--sweep rag.k=1,5), or with "
            "ranges of numbers (--range memory.retriever.b=0:1)"
        )
    name = file.path.stem
    system = System(name, file.path.absolute(), tuple(overrides), config)
    return Space(file, tuple(overrides), Candidate({}, {}, system), sweeps, tuple(read))


class _Reader:
    """Reads lists and ranges, and collects their faults."""

    def __init__(self, file: PipelineFile, overrides: tuple[str, ...]) -> None:
        self._file = file
        self._overrides = overrides
        self.faults: list[str] = []

    def sweeps(self, sweep: Sweep) -> dict[str, tuple[Any, ...]]:
        sweeps: dict[str, tuple[Any, ...]] = {}
        for key, values in self._written(sweep):
            if key in sweeps:
                self.faults.append(f"--sweep {key}: a second time: write all values in one")
                continue
            texts = [dump_line(value) for value in values]
            repeated = {text for text in texts if texts.count(text) > 1}
            self.faults += [f"--sweep {key}: {text} is there twice" for text in sorted(repeated)]
            if self._all_valid(key, texts):
                sweeps[key] = tuple(values)
        return sweeps

    def _written(self, sweep: Sweep) -> Iterator[tuple[str, list[Any]]]:
        if isinstance(sweep, Mapping):
            for key, values in sweep.items():
                if isinstance(values, str) or not values:
                    self.faults.append(f"--sweep {key}: expected a list of values, found {values}")
                else:
                    yield key, list(values)
            return
        for text in sweep:
            key, values_text = split_sweep(text)
            source = Source("", "the options", [f"--sweep {text}"], noun="option")
            node = source.override_value(values_text, 1) if key else None
            if isinstance(node, Items) and node.items and not source.faults:
                yield key, [written_value(item) for item in node.items]
            else:
                self.faults.append(source.show() or f"--sweep {text}: not a sweep: {SWEEP_FORM}")

    def ranges(self, ranges: Ranges) -> list[Range]:
        if isinstance(ranges, Mapping):
            texts = [f"{key}={low}:{high}" for key, (low, high) in ranges.items()]
        else:
            texts = list(ranges)
        read = (self._range(text) for text in texts)
        return [each for each in read if each is not None]

    def _range(self, text: str) -> Range | None:
        key, equals, written = (part.strip() for part in text.partition("="))
        ends = [_number(end.strip()) for end in written.split(":")]
        if not equals or not key or len(ends) != 2 or ends[0] is None or ends[1] is None:
            self.faults.append(f"--range {text}: not a range of numbers: {_RANGE}")
            return None
        low, high = ends[0], ends[1]
        if not low < high:
            self.faults.append(
                f"--range {text}: {low} is not less than {high}: write the lower end first"
            )
            return None
        if not self._all_valid(key, [dump_line(low), dump_line(high)]):
            return None
        plain, _ = self._plain(key, dump_line(low))
        if isinstance(plain, bool) or not isinstance(plain, int | float):
            self.faults.append(f"--range {text}: {key} takes no numbers: list its values (--sweep)")
            return None
        # A number between the ends that is not whole: only a key of whole numbers refuses it.
        between = low + min(0.5, (high - low) / 2)
        fraction = between if between != int(between) else low + (high - low) / 3
        if self._plain(key, dump_line(float(fraction)))[1]:
            return Range(key, float(low), float(high))
        if low != int(low) or high != int(high):
            self.faults.append(f"--range {text}: {key} takes whole numbers: write such ends")
            return None
        return Range(key, int(low), int(high))

    def check_keys(self, keys: Sequence[str]) -> None:
        """Refuse a key that is in two options, or that an override has set."""
        changed = {override.partition("=")[0].strip() for override in self._overrides}
        for key in dict.fromkeys(keys):
            if keys.count(key) > 1:
                self.faults.append(f"{key} is varied twice: name it in one --sweep or --range")
            if key in changed:
                self.faults.append(f"{key} is set, and is varied: remove one of the two")

    def _all_valid(self, key: str, texts: Sequence[str]) -> bool:
        """Check each value in the pipeline; a fault that values share is reported once."""
        faults: dict[str, str] = {}
        for text in texts:
            _, source = self._file.check((*self._overrides, f"{key}={text}"))
            for fault in source.faults:
                where = source.where(fault.position)
                faults.setdefault(fault.message, f"{where}: {fault.message}")
        self.faults += faults.values()
        return not faults

    def _plain(self, key: str, text: str) -> tuple[Any, bool]:
        """Return the value of a key as the pipeline has it, and whether it is allowed."""
        config, _ = self._file.check((*self._overrides, f"{key}={text}"))
        return (None, False) if config is None else (_at(to_plain(config), key), True)


def _number(text: str) -> int | float | None:
    """Read a finite number; None where a text is none."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None


def _at(plain: Any, key: str) -> Any:
    """Return the value at a key of nested dicts and lists; None where there is none."""
    for part in key.split("."):
        if isinstance(plain, dict):
            plain = plain.get(part)
        elif isinstance(plain, list) and part.isdecimal() and int(part) < len(plain):
            plain = plain[int(part)]
        else:
            return None
    return plain
