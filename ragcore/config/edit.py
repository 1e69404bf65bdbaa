"""Change what calibration fits in a pipeline file and nothing else: comments and layout stay.

A change is written only if the changed file reads as the same config but for these numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ragcore.config.load import parse_config, read_file
from ragcore.config.models import ConfidenceConfig, PipelineConfig
from ragcore.config.source import Mapping as MappingNode
from ragcore.config.source import Node, Scalar, Source
from ragcore.disk.atomic import sync
from ragcore.errors import ConfigError

__all__ = ["write_calibration"]

_MARK = "\ufeff"
"""The byte order mark: a file may begin with it, a text may not."""

_Value = float | Mapping[str, float]


def write_calibration(
    path: str | Path, temperature: float, confidence: ConfidenceConfig | None = None
) -> None:
    """Write `memory.temperature` and `rag.confidence` into a pipeline file.

    Both are written together and atomically: it is the old file or the new.

    Args:
        path: of the file.
        temperature: the new temperature.
        confidence: the new confidence, with slope and intercept; None leaves it as it is.

    Raises:
        ConfigError: the file is faulty, or a number cannot be written without risk: the section is
            an alias, or empty. The file is left as it was.
    """
    path = Path(path).resolve()
    _, config = read_file(path)
    # As bytes, so that line endings and a byte order mark stay.
    text = path.read_bytes().decode("utf-8")
    changes: dict[tuple[str, ...], _Value] = {("memory", "temperature"): temperature}
    if confidence is not None:
        changes["rag", "confidence"] = confidence.model_dump()
    changed = _changed(text, path, changes, _expected(config, temperature, confidence))
    if changed is None:
        lines = (f"{': '.join(keys)}: {_written(value)}" for keys, value in changes.items())
        raise ConfigError(
            f"{path}: {', '.join(keys[-1] for keys in changes)} cannot be written into this file "
            f"without risk: write it yourself: {'; '.join(lines)}"
        )
    staged = path.with_name(f".{path.name}.new")
    staged.write_bytes(changed.encode("utf-8"))
    staged.chmod(path.stat().st_mode & 0o7777)
    sync(staged)
    os.replace(staged, path)


def _expected(
    config: PipelineConfig, temperature: float, confidence: ConfidenceConfig | None
) -> PipelineConfig:
    """Return the config that the changed file must read as."""
    memory = config.memory.model_copy(update={"temperature": temperature})
    rag = config.rag
    if confidence is not None:
        rag = rag.model_copy(update={"confidence": confidence})
    return config.model_copy(update={"memory": memory, "rag": rag})


def _changed(
    text: str,
    path: Path,
    changes: Mapping[tuple[str, ...], _Value],
    expected: PipelineConfig,
) -> str | None:
    """Return the text with all changes, or None where a position is not certain."""
    mark = _MARK if text.startswith(_MARK) else ""
    changed: str | None = text.removeprefix(_MARK)
    for keys, value in changes.items():
        changed = None if changed is None else _with_value(changed, keys, value)
    if changed is None:
        return None
    try:
        reread = parse_config(changed, str(path), path.parent)
    except ConfigError:
        return None
    return mark + changed if reread == expected else None


def _with_value(text: str, keys: tuple[str, ...], value: _Value) -> str | None:
    """Return the text with a value at a key of nested sections; None where that fails."""
    tree = Source(text, "").tree()
    section = _at(tree, keys[:-1])
    if section is None and len(keys) > 1:
        return _with_section(text, keys, value)
    if not isinstance(section, MappingNode) or not section.entries:
        return None
    entry = section.entries.get(keys[-1])
    if entry is None:
        candidates = _insertions(text, section, len(keys) == 1, f"{keys[-1]}: {_written(value)}")
        return next((each for each in candidates if _reads(each, keys, value)), None)
    if isinstance(entry.value, MappingNode) and isinstance(value, Mapping):
        changed: str | None = text
        for key, number in value.items():
            changed = None if changed is None else _with_value(changed, (*keys, key), number)
        return changed
    if not isinstance(entry.value, Scalar) or not entry.value.text:
        return None
    lines = text.split("\n")
    row, begin = entry.value.position.line - 1, entry.value.position.column - 1
    end = begin + len(entry.value.text)
    line = lines[row] if row < len(lines) else ""
    if line[begin:end] != entry.value.text:
        return None
    lines[row] = line[:begin] + _written(value) + line[end:]
    return "\n".join(lines)


def _with_section(text: str, keys: tuple[str, ...], value: _Value) -> str | None:
    """Return the text with a section that it has not, as a line at its end."""
    if len(keys) != 2:
        return None
    line_ending = "\r\n" if "\r\n" in text else "\n"
    end = "" if text.endswith("\n") else line_ending
    changed = f"{text}{end}{keys[0]}: {{{keys[1]}: {_written(value)}}}{line_ending}"
    return changed if _reads(changed, keys, value) else None


def _insertions(text: str, section: MappingNode, top: bool, written: str) -> Iterator[str]:
    """Yield the text with an entry before a section's first: as a line, and between braces."""
    first = next(iter(section.entries.values()))
    row, begin = first.position.line - 1, first.position.column - 1
    lines = text.split("\n")
    if top or row >= len(lines):
        return
    line = lines[row]
    if not line[:begin].strip(" "):
        line_ending = "\r" if "\r\n" in text else ""
        inserted = f"{' ' * begin}{written}{line_ending}"
        yield "\n".join([*lines[:row], inserted, *lines[row:]])
    yield "\n".join([*lines[:row], f"{line[:begin]}{written}, {line[begin:]}", *lines[row + 1 :]])


def _reads(text: str, keys: tuple[str, ...], value: _Value) -> bool:
    """Tell whether a text is YAML that has a value at a key."""
    source = Source(text, "")
    tree = source.tree()
    if source.faults:
        return False
    values = value if isinstance(value, Mapping) else None
    if values is None:
        return _number(_at(tree, keys)) == value
    return all(_number(_at(tree, (*keys, key))) == number for key, number in values.items())


def _number(node: Node | None) -> object:
    return node.value if isinstance(node, Scalar) else None


def _at(tree: Node | None, keys: tuple[str, ...]) -> Node | None:
    """Return the node at a key of nested sections; None where a section or the key is missing."""
    for key in keys:
        entry = tree.entries.get(key) if isinstance(tree, MappingNode) else None
        tree = None if entry is None else entry.value
    return tree


def _written(value: _Value) -> str:
    """Write a value as YAML, on one line."""
    if not isinstance(value, Mapping):
        return repr(value)
    return f"{{{', '.join(f'{key}: {number!r}' for key, number in value.items())}}}"
