"""Options of an experiment, from the command line or from Python: they override the file's keys.

Knows options, and how each is written into the tree of a file, so that it is checked like one;
knows nothing of what the values mean.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from ragcore.config.source import (
    Entry,
    Items,
    Mapping,
    Node,
    Scalar,
    Source,
    SourcePosition,
    dump_line,
)
from ragcore.questions.sources import is_dataset

__all__ = ["SWEEP_FORM", "Options", "apply_options", "split_sweep"]

SWEEP_FORM: Final = "write KEY=VALUE,VALUE, as in rag.k=1,5"

Systems = Sequence[str | Path] | Dict[str, str | Path]


class Options(TypedDict, total=False):
    """Options of an experiment; one that is None is as if it were left out.

    Relative paths start from the working folder.

    Attributes:
        systems: pipelines' files, each as "FILE" or "NAME=FILE", or by name; they replace the
            file's systems.
        runs: TREC run files, likewise; they are added to `systems`.
        questions: a file, a folder, or "ir_datasets:NAME".
        format: of the questions.
        limit: the most questions.
        qrels: a file of grades.
        dev: other questions, for `risk`.
        risk: the share of answers given that may be wrong.
        sweep: values by key, or texts such as "rag.k=1,5"; each replaces the key in `grid`.
        metrics: by name.
        baseline: the name of a system.
        retrieval: measure retrieval alone.
        depth: passages to search for.
        build: build missing memories.
        output: folder of the results.
        processes: processes that share the work.
        cost: questions by which cost is measured.
    """

    systems: Systems | None
    runs: Systems | None
    questions: str | Path | None
    format: str | None
    limit: int | None
    qrels: str | Path | None
    dev: str | Path | None
    risk: float | None
    sweep: Sequence[str] | Dict[str, Sequence[Any]] | None
    metrics: Sequence[str] | None
    baseline: str | None
    retrieval: bool | None
    depth: int | None
    build: bool | None
    output: str | Path | None
    processes: int | None
    cost: int | None


_PLAIN: Final = ("risk", "baseline", "retrieval", "depth", "build", "processes", "cost")
"""Options that are written into the file as they are, under their own names."""


def apply_options(tree: Mapping, source: Source, options: Options) -> None:
    """Write options into an experiment's tree; each fault is added to the source.

    Raises:
        TypeError: there is no option of a name.
    """
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unknown options {', '.join(sorted(unknown))}: expected "
            f"{', '.join(Options.__annotations__)}"
        )
    writer = _Writer(tree, source)
    writer.systems(options.get("systems"), options.get("runs"))
    writer.questions(options)
    writer.sweep(options.get("sweep"))
    metrics = options.get("metrics")
    if metrics is not None:
        items: list[Node] = [writer.node(name, f"metric {name}") for name in metrics]
        writer.put("metrics", Items(writer.origin("metrics"), items))
    output = options.get("output")
    if output is not None:
        writer.put("output", writer.node(_absolute(output), f"output {output}"))
    values: Dict[str, Any] = {**options}
    for name in _PLAIN:
        if values.get(name) is not None:
            writer.put(name, writer.node(values[name], f"{name} {values[name]}"))


def split_sweep(text: str) -> tuple[str, str]:
    """Return the key of a sweep such as "rag.k=1,5", and its values as a list in YAML.

    The key is empty where the text has no key or no values.
    """
    key, _, values = (part.strip() for part in text.partition("="))
    return (key, f"[{values}]") if values else ("", "")


class _Writer:
    """Writes options into a tree; each has a position of its own, which shows what was written."""

    def __init__(self, tree: Mapping, source: Source) -> None:
        self._tree = tree
        self._source = source

    def origin(self, text: str) -> SourcePosition:
        """Return the position of one more option."""
        self._source.overrides.append(text)
        return SourcePosition(len(self._source.overrides), 0, 0)

    def node(self, value: Any, text: str) -> Node:
        return self._node(value, self.origin(text))

    def put(self, key: str, value: Node) -> None:
        self._tree.entries[key] = Entry(value.position, value)

    def systems(self, pipelines: Systems | None, runs: Systems | None) -> None:
        """Write pipelines and runs; a name that occurs twice is a fault."""
        if not pipelines and not runs:
            return
        section = Mapping(self.origin("system"), {})
        for option, key, systems in (("system", "pipeline", pipelines), ("run", "run", runs)):
            for text, name, path in _named(systems or ()):
                position = self.origin(f"{option} {text}")
                if name in section.entries:
                    self._source.fault(
                        position, f"a second system {name!r}: give each a name, as NAME=FILE"
                    )
                    continue
                written = self._node({key: _absolute(path)}, position)
                section.entries[name] = Entry(position, written)
        self.put("systems", section)

    def questions(self, options: Options) -> None:
        """Write where the questions come from; a file's path becomes a mapping where needed."""
        for key in ("questions", "dev"):
            path = options.get(key)
            if isinstance(path, str | Path):
                written = str(path) if is_dataset(path) else _absolute(path)
                self.put(key, self.node(written, f"{key} {path}"))
        details: Dict[str, Any] = {
            "format": options.get("format"),
            "limit": options.get("limit"),
            "qrels": options.get("qrels"),
        }
        for key, value in details.items():
            if value is None:
                continue
            node = self.node(_absolute(value) if key == "qrels" else value, f"{key} {value}")
            entry = self._tree.entries.get("questions")
            if entry is None:
                self._source.fault(node.position, f"{key} of which questions? name their file too")
                continue
            if isinstance(entry.value, Scalar):
                inner = {"path": Entry(entry.position, entry.value)}
                entry = Entry(entry.position, Mapping(entry.value.position, inner))
                self._tree.entries["questions"] = entry
            if isinstance(entry.value, Mapping):
                entry.value.entries[key] = Entry(node.position, node)

    def sweep(self, sweep: Sequence[str] | Dict[str, Sequence[Any]] | None) -> None:
        """Write the keys to vary, next to those of the file."""
        if not sweep:
            return
        section = self._tree.entries.get("grid")
        if section is None or not isinstance(section.value, Mapping):
            section = Entry(self.origin("sweep"), Mapping(self.origin("sweep"), {}))
            self._tree.entries["grid"] = section
        assert isinstance(section.value, Mapping)
        entries = section.value.entries
        if isinstance(sweep, Dict):
            for key, levels in sweep.items():
                node = self.node(list(levels), f"sweep {key}")
                entries[key] = Entry(node.position, node)
            return
        written = set()
        for text in sweep:
            position = self.origin(f"sweep {text}")
            key, values_text = split_sweep(text)
            if not key:
                self._source.fault(position, f"not a sweep: {SWEEP_FORM}")
            elif key in written:
                self._source.fault(position, f"a second sweep of {key}: write all values in one")
            else:
                written.add(key)
                values = self._source.override_value(values_text, position.origin)
                if values is not None:
                    entries[key] = Entry(position, values)

    def _node(self, value: Any, position: SourcePosition) -> Node:
        match value:
            case Dict():
                entries = {
                    str(key): Entry(position, self._node(inner, position))
                    for key, inner in value.items()
                }
                return Mapping(position, entries)
            case list() | tuple():
                return Items(position, [self._node(item, position) for item in value])
            case Path():
                return Scalar(position, str(value), str(value))
            case float() if math.isfinite(value) and type(value) is not float:
                return Scalar(position, float(value), dump_line(float(value)))
            case None | bool() | int() | float() | str():
                text = value if isinstance(value, str) else dump_line(value)
                return Scalar(position, value, text)
            case _:
                self._source.fault(
                    position,
                    f"found {type(value).__name__}, expected what YAML can write: a string, a "
                    "number, true or false, a list, a mapping",
                )
                return Scalar(position, None, "")


def _named(systems: Systems) -> list[tuple[str, str, str | Path]]:
    """Return what was written, name and path of each system."""
    if isinstance(systems, Dict):
        return [(f"{name}={path}", name, path) for name, path in systems.items()]
    named: list[tuple[str, str, str | Path]] = []
    for written in systems:
        name, equals, path = str(written).partition("=")
        if isinstance(written, Path) or not equals or os.path.exists(written):
            name, path = _stem(Path(written)), str(written)
        named.append((str(written), name, path))
    return named


def _stem(path: Path) -> str:
    """Return a file's name without its endings .gz, .yaml, …; for a folder its name."""
    return Path(path.name.removesuffix(".gz")).stem or str(path)


def _absolute(path: str | Path) -> str:
    return str(Path(os.path.expanduser(path)).absolute())
