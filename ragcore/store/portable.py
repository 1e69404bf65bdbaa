"""Make a manifest portable: without the paths of the machine that wrote it.

Knows what in a manifest names a place on one machine; knows nothing of archives.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ragcore.registry.pointers import escaped
from ragcore.store.manifest import MANIFEST, Manifest, absolute_paths

__all__ = ["left_paths", "portable"]

# Of POSIX (more than a slash and a word), of a home folder, of Windows, or as a URL. Templates are
# none: they have fields in braces.
_PATH: Final = re.compile(
    r"/[^/{]+/[^/{][^{]*|~[^/{]*/[^{]+|[a-z]:[\\/][^{]+|\\\\[^{]+|file:/[^{]+", re.IGNORECASE
)


def portable(manifest: Manifest, folder: Path) -> bytes:
    """Return the text of a manifest without absolute paths; of one without these, as it is.

    What is a path says the manifest, or where it does not, the form of its texts. An absolute path
    of a model or a corpus becomes its last name, and relative ones lose the record of where they
    start from, unless that is a folder above the store. A manifest of before, which has no such
    record, stays as it is: an imported version is exported with the same bytes.

    Args:
        manifest: of the version.
        folder: of the version, whose manifest.json is read.
    """
    if manifest.base is None:
        return (folder / MANIFEST).read_bytes()
    base = manifest.base if _is_above(manifest.base) else "."
    recorded = {"retriever": manifest.retriever, "corpus": manifest.corpus}
    paths = manifest.paths
    pointers = frozenset(absolute_paths(recorded, "") if paths is None else paths)
    fields = {**_without_paths(recorded, pointers, ""), "base": base}
    moved = manifest.model_copy(update=fields)
    return (folder / MANIFEST).read_bytes() if moved == manifest else moved.spelled()


def left_paths(manifest: Manifest) -> list[str]:
    """List where texts that look like absolute paths stay in an exported manifest.

    Those are in settings that are annotated as texts, or not at all, so that it is not known
    whether they are paths: as JSON pointers into the manifest.
    """
    recorded = {"retriever": manifest.retriever, "corpus": manifest.corpus}
    if manifest.base is None:
        return list(_paths(recorded, ""))
    paths = manifest.paths
    cut = frozenset(absolute_paths(recorded, "") if paths is None else paths)
    return [pointer for pointer in _paths(recorded, "") if pointer not in cut]


def _paths(value: Any, pointer: str) -> Iterator[str]:
    """Yield where a record has texts that look like absolute paths of any system."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield from _paths(item, f"{pointer}/{escaped(key)}")
        case list():
            for number, item in enumerate(value):
                yield from _paths(item, f"{pointer}/{number}")
        case str() if _PATH.fullmatch(value):
            yield pointer


def _is_above(base: str) -> bool:
    """Return whether a relative path leads to the store's folder or to one above it."""
    return all(part in ("..", ".") for part in base.split("/"))


def _without_paths(value: Any, pointers: Collection[str], pointer: str) -> Any:
    """Replace absolute paths in a record by their last names.

    Args:
        value: the record, or a value in it.
        pointers: where its paths are.
        pointer: where the value is.
    """
    match value:
        case Mapping():
            return {
                key: _without_paths(item, pointers, f"{pointer}/{escaped(key)}")
                for key, item in value.items()
            }
        case list():
            return [
                _without_paths(item, pointers, f"{pointer}/{number}")
                for number, item in enumerate(value)
            ]
        case str() if pointer in pointers and PurePosixPath(value).is_absolute():
            return PurePosixPath(value).name
        case _:
            return value
