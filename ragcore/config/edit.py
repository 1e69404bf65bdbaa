"""Change one number of a pipeline file and nothing else: comments and layout stay.

A change is written only if the changed file reads as the same config but for that number.
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
    """Write `memory.temperature` into a pipeline file, atomically: it is the old file or the new.

    Raises:
        ConfigError: the file is faulty, or the number cannot be written without risk: `memory` is
            written in braces, or is an alias. The file is left as it was.
    """
    path = Path(path).resolve()
    tree, config = read_file(path)
    # As bytes, so that line endings and a byte order mark stay.
    text = path.read_bytes().decode("utf-8")
    changed = _changed(text, tree, repr(temperature))
    if changed is not None:
        section = config.memory.model_copy(update={"temperature": temperature})
        expected = config.model_copy(update={"memory": section})
        try:
            # A file may begin with a byte order mark, a text may not.
            reread = parse_config(changed.removeprefix("\ufeff"), str(path), path.parent)
        except ConfigError:
            changed = None
        else:
            changed = changed if reread == expected else None
    if changed is None:
        raise ConfigError(
            f"{path}: temperature cannot be written into this file without risk: write it "
            f"yourself, into the section memory: temperature: {temperature!r}"
        )
    staged = path.with_name(f".{path.name}.new")
    staged.write_bytes(changed.encode("utf-8"))
    staged.chmod(path.stat().st_mode & 0o7777)
    sync(staged)
    os.replace(staged, path)


def _changed(text: str, tree: Mapping, number: str) -> str | None:
    """Return the text with the number in it, or None where its position is not certain."""
    lines = text.split("\n")
    memory = tree.entries["memory"].value
    if not isinstance(memory, Mapping) or not memory.entries:
        return None
    entry = memory.entries.get("temperature")
    if entry is not None:
        if not isinstance(entry.value, Scalar) or not entry.value.text:
            return None
        row, begin = entry.value.position.line - 1, entry.value.position.column - 1
        end = begin + len(entry.value.text)
        line = lines[row] if row < len(lines) else ""
        if line[begin:end] != entry.value.text:
            return None
        lines[row] = line[:begin] + number + line[end:]
        return "\n".join(lines)
    first = next(iter(memory.entries.values()))
    row, begin = first.position.line - 1, first.position.column - 1
    if (
        row >= len(lines)
        or lines[row][:begin].strip(" ")
        or first.position.line == tree.position.line
    ):
        return None
    line_ending = "\r" if lines[row].endswith("\r") else ""
    lines.insert(row, f"{' ' * begin}temperature: {number}{line_ending}")
    return "\n".join(lines)
