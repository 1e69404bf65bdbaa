"""Write settings into a pipeline file and change nothing else: comments and layout stay.

A change is written only if the changed file reads as the same config but for these settings. Knows
YAML's layout; knows nothing of which settings are good.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ragcore.config.load import PipelineFile, parse_config
from ragcore.config.source import Items, Node, Scalar, Source, dump_line, written_value
from ragcore.config.source import Mapping as Section
from ragcore.disk.replacing import replacing
from ragcore.errors import ConfigError

__all__ = ["write_settings"]

_MARK: Final = "\ufeff"
"""The byte order mark: a file may begin with it, a text may not."""


def write_settings(
    path: str | Path, settings: Mapping[str, Any], to: str | Path | None = None
) -> None:
    """Write settings into a pipeline file, atomically: it is the old file or the new.

    Args:
        path: of the file, or of its folder.
        settings: values by key, such as {"memory.retriever.k1": 0.9}.
        to: the file to write in place of it; relative paths must lead to the same files from there.

    Raises:
        ConfigError: the file or a setting is faulty, or a setting cannot be written without risk:
            a section is an alias, for example. The file is left as it was.
        StoreError: what is to be replaced is no regular file, or its folder is missing.
    """
    file = PipelineFile(path)
    # A link stays one.
    source = file.path.resolve()
    target = source if to is None else Path(to).absolute().resolve()
    lines = [f"{key}={dump_line(value)}" for key, value in settings.items()]
    expected, checked = file.check(lines)
    if expected is None:
        raise ConfigError(checked.show())
    # As bytes, so that line endings and a byte order mark stay.
    text = source.read_bytes().decode("utf-8")
    mark = _MARK if text.startswith(_MARK) else ""
    changed = text.removeprefix(_MARK)
    for key, value in settings.items():
        rewritten = _with_setting(changed, key.split("."), value)
        if rewritten is None:
            raise ConfigError(
                f"{source}: {key} cannot be written into this file without risk: write it "
                f"yourself: {', '.join(lines)}"
            )
        changed = rewritten
    try:
        same = parse_config(changed, str(target), target.parent) == expected
    except ConfigError:
        same = False
    if not same:
        reason = (
            "the changed file would not read as the same pipeline"
            if target.parent == source.parent
            else f"paths in it start from its folder, and from {target.parent} they lead "
            f"elsewhere: name a file in {source.parent}"
        )
        raise ConfigError(f"{target}: not written: {reason}; the settings: {', '.join(lines)}")
    with replacing(target) as written:
        os.fchmod(written.fileno(), source.stat().st_mode & 0o7777)
        written.write((mark + changed).encode("utf-8"))


def _with_setting(text: str, keys: list[str], value: Any) -> str | None:
    """Return the text with a value at a key; None where no way of writing it is certain."""
    tree = Source(text, "").tree()
    if not isinstance(tree, Section):
        return None
    wanted = written_value(tree)
    if not _set(wanted, keys, value):
        return None
    for candidate in _candidates(text, tree, keys, value):
        source = Source(candidate, "")
        reread = source.tree()
        if reread is not None and not source.faults and written_value(reread) == wanted:
            return candidate
    return None


def _set(plain: Any, keys: list[str], value: Any) -> bool:
    """Set a value in nested dicts and lists; tell whether there was a place for it."""
    for key in keys[:-1]:
        if isinstance(plain, dict):
            if plain.get(key) is None:
                plain[key] = {}
            plain = plain[key]
        elif isinstance(plain, list):
            plain = plain[int(key)]
        else:
            return False
    if isinstance(plain, dict):
        plain[keys[-1]] = value
    elif isinstance(plain, list):
        plain[int(keys[-1])] = value
    else:
        return False
    return True


def _candidates(text: str, tree: Section, keys: list[str], value: Any) -> Iterator[str]:
    """Yield texts that may have the value at the key: replaced, or as an entry more."""
    node: Node = tree
    for depth, key in enumerate(keys):
        if isinstance(node, Items):
            node = node.items[int(key)]
            continue
        if not isinstance(node, Section):
            return
        entry = node.entries.get(key)
        if entry is None:
            # As written in one line: `k1: 0.9`, or `retriever: {k1: 0.9}` with its section.
            written = dump_line(value)
            for inner in reversed(keys[depth + 1 :]):
                written = f"{{{inner}: {written}}}"
            yield from _insertions(text, node, f"{key}: {written}", top=depth == 0)
            return
        node = entry.value
    if isinstance(node, Scalar):
        yield from _replacements(text, node, dump_line(value))


def _replacements(text: str, scalar: Scalar, written: str) -> Iterator[str]:
    """Yield the text with a scalar replaced, as it stands there: plain or in quotes."""
    lines = text.split("\n")
    row, begin = scalar.position.line - 1, scalar.position.column - 1
    if row >= len(lines):
        return
    line = lines[row]
    for known in (f'"{scalar.text}"', f"'{scalar.text}'", scalar.text):
        if known and line.startswith(known, begin):
            changed = line[:begin] + written + line[begin + len(known) :]
            yield "\n".join([*lines[:row], changed, *lines[row + 1 :]])


def _insertions(text: str, section: Section, entry: str, *, top: bool) -> Iterator[str]:
    """Yield the text with one entry more in a section: as a line, or between braces."""
    lines = text.split("\n")
    ending = "\r" if "\r\n" in text else ""
    if top:
        # As the last line of the file.
        yield text + ("" if text.endswith("\n") else f"{ending}\n") + f"{entry}{ending}\n"
        return
    if not section.entries:
        return
    name, first = next(iter(section.entries.items()))
    row, begin = first.position.line - 1, first.position.column - 1
    if row >= len(lines):
        return
    line = lines[row]
    if not line[:begin].strip(" "):
        # What a component is stays its first line.
        at = row + 1 if name == "use" else row
        inserted = f"{' ' * begin}{entry}{ending}"
        yield "\n".join([*lines[:at], inserted, *lines[at:]])
    if isinstance(first.value, Scalar):
        value = first.value
        end = value.position.column - 1 + len(value.text)
        if value.position.line - 1 == row and line[value.position.column - 1 : end] == value.text:
            changed = f"{line[:end]}, {entry}{line[end:]}"
            yield "\n".join([*lines[:row], changed, *lines[row + 1 :]])
    yield "\n".join([*lines[:row], f"{line[:begin]}{entry}, {line[begin:]}", *lines[row + 1 :]])
