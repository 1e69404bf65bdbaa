"""Turn YAML text into a tree in which every key and value knows its position.

Knows YAML and positions, and how a fault is shown with its line; knows nothing of pipelines. Plain
scalars follow YAML 1.2's core schema, so that `no`, `on` and `2018-12-01` are strings and `1e-4`
is a number. Everything that the tree cannot represent is a fault: tags, duplicate keys, keys that
are not text, merge keys, a second document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import yaml

__all__ = [
    "Entry",
    "Fault",
    "Items",
    "Mapping",
    "Node",
    "SourcePosition",
    "Scalar",
    "Source",
    "dump",
    "dump_line",
    "written_value",
]

_LONGEST_LINE: Final = 120
_USER: Final = re.compile(r"(?<=://)[^/\s@]+(?=@)")
"""A user and a password in an address."""

_MOST_NODES: Final = 100_000
_CORE: Final = "tag:yaml.org,2002:"
_SCALARS: Final = {
    "null": (re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), list("-+0123456789")),
    "float": (
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
        ),
        list("-+.0123456789"),
    ),
}


class SourcePosition(NamedTuple):
    """A position: origin 0 is the file, n the nth override; line and column count from 1."""

    origin: int
    line: int
    column: int


class Fault(NamedTuple):
    """One mistake in a file or an override, with its position."""

    position: SourcePosition
    message: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; `text` is how the file writes it."""

    position: SourcePosition
    value: str | int | float | bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    position: SourcePosition
    items: list[Node]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's position and its value."""

    position: SourcePosition
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with their values, in the file's order."""

    position: SourcePosition
    entries: dict[str, Entry]


Node = Scalar | Items | Mapping


class Source:
    """A file's text with its overrides: gives their trees, and collects and shows the faults."""

    def __init__(
        self, text: str, name: str, overrides: Sequence[str] = (), noun: str = "override"
    ) -> None:
        """Begin without faults; `noun` is what a message calls one of the overrides."""
        self.name = name
        self.noun = noun
        self.text = text
        self.overrides = list(overrides)
        self.faults: list[Fault] = []
        self._lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)
        self._concealed: set[str] = set()

    def tree(self) -> Node | None:
        """Return the file's tree, or None if it is not YAML; check `faults` in both cases."""
        return _TreeBuilder(self, self.text, 0).build()

    def override_value(self, text: str, origin: int) -> Node | None:
        """Return the tree of the text after the `=` of an override."""
        return _TreeBuilder(self, text, origin).build()

    def fault(self, position: SourcePosition, message: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(position, message))

    def conceal(self, text: str) -> None:
        """Show "…" for a text wherever a fault quotes the file or an override: it is a secret."""
        self._concealed.update(filter(None, text.splitlines()))

    def is_faulty(self, position: SourcePosition) -> bool:
        """Tell whether a position has a fault already: another may only follow from it."""
        return any(fault.position == position for fault in self.faults)

    def where(self, position: SourcePosition) -> str:
        """Write a position as text: `file:line:column`, or the override that it is in.

        A position without a line is the source as a whole.
        """
        if position.origin:
            override = self._quotable(self.overrides[position.origin - 1])
            return f"{self.noun} '{_short(_printable(override))}'"
        return f"{self.name}:{position.line}:{position.column}" if position.line else self.name

    def show(self, faults: Iterable[Fault] | None = None) -> str:
        """Write faults, by position: where, what, and for the file the line with a caret.

        Args:
            faults: some of the source's; all where None.
        """
        lines = []
        for fault in sorted(set(self.faults if faults is None else faults)):
            lines.append(f"{self.where(fault.position)}: {self._quotable(fault.message)}")
            if not fault.position.origin:
                lines.extend(self._excerpt(fault.position))
        return "\n".join(lines)

    def _excerpt(self, position: SourcePosition) -> Iterable[str]:
        line = self._lines[position.line - 1] if position.line <= len(self._lines) else ""
        if not line.strip():
            return
        # The caret stands under the same key, also where a secret before it is concealed.
        column = len(self._quotable(line[: position.column - 1])) + 1
        line = self._quotable(line)
        start = max(0, column - _LONGEST_LINE // 2) if len(line) > _LONGEST_LINE else 0
        before = line[start : column - 1]
        yield "    " + _printable(line[start : start + _LONGEST_LINE])
        yield "    " + "".join("\t" if char == "\t" else " " for char in before) + "^"

    def _quotable(self, text: str) -> str:
        """Return a part of the file or an override without secrets."""
        for secret in sorted(self._concealed, key=len, reverse=True):
            text = text.replace(secret, "…")
        return _USER.sub("…", text)


def dump(value: object) -> str:
    """Write YAML in block style, keys in their order; reads the same here and in YAML 1.1."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    if all(line.isprintable() for line in text.split("\n")):
        return text
    # With escapes, so that marks of direction and the like are seen, and not obeyed by a terminal.
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=100)


def dump_line(value: object) -> str:
    """Write a value as YAML in one line, as an override has it after its `=`."""

    def written(allow_unicode: bool) -> str:
        text = yaml.dump(
            value,
            Dumper=_Dumper,
            default_flow_style=True,
            sort_keys=False,
            allow_unicode=allow_unicode,
            width=float("inf"),
        )
        # A scalar alone is followed by the end of its document.
        return str(text).removesuffix("\n").removesuffix("\n...")

    text = written(allow_unicode=True)
    return text if text.isprintable() else written(allow_unicode=False)


def written_value(node: Node) -> Any:
    """Return a node's plain value as the file has it: paths and secrets stay as they are."""
    match node:
        case Mapping():
            return {key: written_value(entry.value) for key, entry in node.entries.items()}
        case Items():
            return [written_value(item) for item in node.items]
        case Scalar():
            return node.value


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own declaration is not a ClassVar)


class _Dumper(yaml.SafeDumper):
    """Quotes each string that YAML 1.1 or 1.2 would take for something else."""


for _name, (_pattern, _first) in _SCALARS.items():
    _whole = re.compile(f"(?:{_pattern.pattern})$")
    _Loader.add_implicit_resolver(_CORE + _name, _whole, _first)
    _Dumper.add_implicit_resolver(_CORE + _name, _whole, _first)


class _TreeBuilder:
    """Turns PyYAML's nodes into nodes of the tree, and adds faults to the source."""

    def __init__(self, source: Source, text: str, origin: int) -> None:
        self._source = source
        self._text = text
        self._origin = origin
        self._open: set[int] = set()
        self._count = 0

    def build(self) -> Node | None:
        try:
            loader = _Loader(self._text)
            try:
                node = loader.get_single_node()
            finally:
                loader.dispose()
            # PyYAML returns None for an empty document.
            return Scalar(self._position(1, 1), None, "") if node is None else self._node(node)
        except yaml.reader.ReaderError as error:
            lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", self._text[: error.position])
            self._source.fault(
                self._position(len(lines), len(lines[-1]) + 1),
                f"the character U+{ord(self._text[error.position]):04X} is not allowed in YAML: "
                "remove it, or write it as an escape in double quotes",
            )
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self._source.fault(self._position(line, column), _syntax(error, mark))
        except RecursionError:
            self._source.fault(
                self._position(1, 1), "nested too deeply: write the file with less nesting"
            )
        return None

    def _position(self, line: int, column: int) -> SourcePosition:
        return (
            SourcePosition(self._origin, 0, 0) if self._origin else SourcePosition(0, line, column)
        )

    def _node(self, node: yaml.Node) -> Node:
        position = self._position(node.start_mark.line + 1, node.start_mark.column + 1)
        self._count += 1
        if id(node) in self._open:
            self._source.fault(position, "an alias that contains itself: write the value out")
            return Scalar(position, None, "")
        if self._count > _MOST_NODES:
            if self._count == _MOST_NODES + 1:
                self._source.fault(position, f"more than {_MOST_NODES:,} values, aliases counted")
            return Scalar(position, None, "")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                self._check_tag(node, position, ("map",))
                return self._mapping(node, position)
            if isinstance(node, yaml.SequenceNode):
                self._check_tag(node, position, ("seq",))
                return Items(position, [self._node(item) for item in node.value])
            self._check_tag(node, position, ("str", *_SCALARS))
            return self._scalar(node.tag, str(node.value), position)
        finally:
            self._open.discard(id(node))

    def _check_tag(
        self, node: yaml.Node, position: SourcePosition, allowed: tuple[str, ...]
    ) -> None:
        if node.tag not in [_CORE + name for name in allowed]:
            tag = node.tag.replace(_CORE, "!!")
            self._source.fault(position, f"the tag {tag!r} is refused: write a plain value")

    def _mapping(self, node: yaml.MappingNode, position: SourcePosition) -> Mapping:
        entries: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key_position = self._position(
                key_node.start_mark.line + 1, key_node.start_mark.column + 1
            )
            key = key_node.value
            value = self._node(value_node)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _CORE + "str":
                found = describe(self._node(key_node))
                hint = f": write '{key}'" if isinstance(key, str) and key else ""
                self._source.fault(key_position, f"a key must be a string, found {found}{hint}")
            elif key == "<<":
                self._source.fault(key_position, "merge keys (<<) are refused: write the keys out")
            elif key in entries:
                first = entries[key].position
                line = f" in line {first.line}" if not self._origin else ""
                self._source.fault(
                    key_position, f"the key {key!r} is already there{line}: remove one of the two"
                )
            else:
                entries[key] = Entry(key_position, value)
        return Mapping(position, entries)

    def _scalar(self, tag: str, text: str, position: SourcePosition) -> Scalar:
        name = tag.removeprefix(_CORE)
        if name not in _SCALARS:
            return Scalar(position, text, text)
        if _SCALARS[name][0].fullmatch(text) is None or len(text) > 400:
            self._source.fault(position, f"not a value of the tag '!!{name}': {clip(text)}")
            return Scalar(position, None, text)
        return Scalar(position, _construct(name, text), text)


def _construct(name: str, text: str) -> int | float | bool | None:
    match name:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            return int(text, base)
        case _:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _syntax(error: yaml.MarkedYAMLError, mark: yaml.Mark | None) -> str:
    """Say what PyYAML complains of, in plain words where it is a common mistake."""
    problem = error.problem or "it cannot be read"
    if r"'\t'" in problem or _starts_at(mark, "\t"):
        return "a tab: YAML is indented with spaces"
    if _starts_at(mark, "{env:"):
        return "write a secret between braces or brackets in quotes: '${env:NAME}'"
    if problem == "but found another document":
        return "a second document begins here: a file has one document, remove the '---'"
    if problem.startswith("found undefined alias"):
        name = problem.removeprefix("found undefined alias ")
        return f"there is no anchor {name} above: define it, or quote a value that begins with '*'"
    if problem.startswith("mapping values are not allowed here"):
        return "not valid YAML: a ':' where no key can stand; check the indentation, or quote it"
    if problem.startswith("found character") and problem.endswith("cannot start any token"):
        char = problem.removeprefix("found character ").split(" that ")[0]
        return f"not valid YAML: a value cannot begin with {char}: put it in quotes"
    problem = problem.replace("but got '<stream end>'", "but the file ends")
    opening = f" that begins in line {error.context_mark.line + 1}" if error.context_mark else ""
    context = f" {error.context}{opening}" if error.context else ""
    return f"not valid YAML{context}: {problem}"


def _starts_at(mark: yaml.Mark | None, text: str) -> bool:
    if mark is None or mark.buffer is None or mark.pointer is None:
        return False
    return mark.buffer[mark.pointer :].startswith(text)


def describe(node: Node) -> str:
    """Describe a node in plain words."""
    match node:
        case Mapping():
            return "a mapping"
        case Items():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return f"the boolean {node.text}"
        case Scalar(value=int()):
            return f"the integer {node.text}"
        case Scalar(value=float()):
            return f"the number {node.text}"
        case _:
            return f"the string {clip(node.text)}"


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."


def clip(text: str) -> str:
    """Quote a text, cut to a length that fits in a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)
