"""The files of the page, and its modules joined to one script.

Knows their names and how JavaScript imports; knows nothing of what they show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

__all__ = ["joined_script", "page_files"]

_SUFFIXES: Final = (".css", ".html", ".js", ".svg")
_NAMES: Final = r"\s*\w+(?:,\s*\w+)*,?\s*"
_IMPORT: Final = re.compile(rf'^import \{{{_NAMES}\}} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:const|function|class)\b)", re.MULTILINE)
_LEFT: Final = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


@cache
def page_files() -> Mapping[str, bytes]:
    """Return the content of each file of the page by its name; `index.html` loads the others."""
    folder = files(__package__)
    contents = {
        each.name: each.read_bytes() for each in folder.iterdir() if each.name.endswith(_SUFFIXES)
    }
    return MappingProxyType(contents)


def joined_script(modules: Mapping[str, str], entry: str) -> str:
    """Join a module and all that it imports to one script, each module after those it imports.

    The modules share one scope then: no two may declare the same name at their top level. They
    import by `import { name } from "./module.js";` and export where they declare, by name.

    Args:
        modules: the text of each module by its file's name.
        entry: the name of the module that the page loads.

    Raises:
        ValueError: a module imports or exports in another way, or imports itself by others.
    """
    parts: dict[str, str] = {}
    _join(modules, entry, (), parts)
    return "\n".join(parts.values())


def _join(
    modules: Mapping[str, str], name: str, importers: tuple[str, ...], parts: dict[str, str]
) -> None:
    """Add a module to the parts, behind those that it imports."""
    if name in parts:
        return
    if name in importers:
        cycle = " → ".join((*importers[importers.index(name) :], name))
        raise ValueError(f"modules import each other: {cycle}: move what they share to another one")
    for imported in _IMPORT.findall(modules[name]):
        _join(modules, imported, (*importers, name), parts)
    text = _EXPORT.sub("", _IMPORT.sub("", modules[name]))
    if left := _LEFT.search(text):
        raise ValueError(f"{name}: {left.group()!r} cannot be joined: see joined_script")
    parts[name] = text
