"""Apply overrides such as `rag.k=10` to the tree of a pipeline file.

Knows paths of keys and trees; knows nothing of which keys are allowed. The reader checks that, and
its message then names the override instead of a line of the file.
"""

from __future__ import annotations

from typing import Final

from ragcore.config.reasons import count
from ragcore.config.source import (
    Entry,
    Items,
    Mapping,
    Node,
    Scalar,
    Source,
    SourcePosition,
    describe,
)
from ragcore.registry.conformance import article

__all__ = ["apply_overrides"]

_FORM: Final = "write KEY.KEY=VALUE, as in rag.k=10"


def apply_overrides(tree: Mapping, source: Source) -> None:
    """Apply the source's overrides to its tree, in order: the last one wins."""
    for origin, override in enumerate(source.overrides, start=1):
        position = SourcePosition(origin, 0, 0)
        path, equals, text = override.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            source.fault(position, f"not {article(source.noun)}: {_FORM}")
            continue
        value = source.override_value(text.strip(), origin)
        if value is not None:
            _set(tree, keys, value, position, source)


def _set(
    tree: Mapping, keys: list[str], value: Node, position: SourcePosition, source: Source
) -> None:
    node: Node = tree
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, Items):
            index = int(key) if key.isascii() and key.isdecimal() else -1
            if not 0 <= index < len(node.items):
                path = ".".join(keys[:depth])
                source.fault(
                    position,
                    f"{path!r} is a list of {count(len(node.items), 'item')}: {key!r} is not an "
                    "index of it; they are counted from 0",
                )
                return
            if last:
                node.items[index] = value
                return
            node = node.items[index]
        elif isinstance(node, Mapping):
            entry = node.entries.get(key)
            if last:
                node.entries[key] = Entry(position, value)
                return
            if entry is None or (isinstance(entry.value, Scalar) and entry.value.value is None):
                entry = Entry(position, Mapping(position, {}))
                node.entries[key] = entry
            node = entry.value
        else:
            path = ".".join(keys[:depth])
            source.fault(position, f"{path!r} has no keys: it is {describe(node)}")
            return
