"""Changes one number of a pipeline file and nothing else: comments and layout stay.

A change is made where it is safe, and only if the file then says what it said but for that number.
"""

from __future__ import annotations

import os
from pathlib import Path

from ragcore.config.load import parse_config, read_file
from ragcore.config.source import Mapping, Scalar
from ragcore.disk.atomic import sync
from ragcore.errors import ConfigError

__all__ = ["write_temperature"]


def write_temperature(path: str | Path, temperature: float) -> None:
    """Put `memory.temperature` into a pipeline file; it is the old one or the new at every moment.

    Raises:
        ConfigError: the file is faulty, or the number cannot be put in without risk: `memory` is
            written in braces, or comes from elsewhere in the file. It is left as it was.
    """
    path = Path(path).resolve()
    tree, config = read_file(path)
    # As bytes, so that the ends of lines and a byte order mark stay.
    text = path.read_bytes().decode("utf-8")
    changed = _changed(text, tree, repr(temperature))
    if changed is not None:
        section = config.memory.model_copy(update={"temperature": temperature})
        expected = config.model_copy(update={"memory": section})
        try:
            # `parse_config` takes no byte order mark, which a file may begin with.
            said = parse_config(changed.removeprefix("\ufeff"), str(path), path.parent)
        except ConfigError:
            changed = None
        else:
            changed = changed if said == expected else None
    if changed is None:
        raise ConfigError(
            f"{path}: temperature cannot be written into this file without risk: put it in "
            f"yourself, into the section memory: temperature: {temperature!r}"
        )
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(changed.encode("utf-8"))
    beside.chmod(path.stat().st_mode & 0o7777)
    sync(beside)
    os.replace(beside, path)


def _changed(text: str, tree: Mapping, number: str) -> str | None:
    """The text with the number in it, or None where its place is not plain to see."""
    lines = text.split("\n")
    memory = tree.entries["memory"].value
    if not isinstance(memory, Mapping) or not memory.entries:
        return None
    entry = memory.entries.get("temperature")
    if entry is not None:
        if not isinstance(entry.value, Scalar) or not entry.value.text:
            return None
        at, begin = entry.value.place.line - 1, entry.value.place.column - 1
        end = begin + len(entry.value.text)
        line = lines[at] if at < len(lines) else ""
        if line[begin:end] != entry.value.text:
            return None
        lines[at] = line[:begin] + number + line[end:]
        return "\n".join(lines)
    first = next(iter(memory.entries.values()))
    at, begin = first.place.line - 1, first.place.column - 1
    if at >= len(lines) or lines[at][:begin].strip(" ") or first.place.line == tree.place.line:
        return None
    end_of_line = "\r" if lines[at].endswith("\r") else ""
    lines.insert(at, f"{' ' * begin}temperature: {number}{end_of_line}")
    return "\n".join(lines)
