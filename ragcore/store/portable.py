"""Make a manifest portable: without the paths of the machine that wrote it.

Knows what in a manifest names a place on one machine; knows nothing of archives.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ragcore.store.manifest import MANIFEST, Manifest, is_absolute

__all__ = ["portable"]


def portable(manifest: Manifest, folder: Path) -> bytes:
    """Return the text of a manifest without absolute paths; of one without these, as it is.

    An absolute path of a model or a corpus becomes its last name, and relative ones lose the
    record of where they start from, unless that is a folder above the store. A manifest of before,
    which has no such record, stays as it is: an imported version is exported with the same bytes.

    Args:
        manifest: of the version.
        folder: of the version, whose manifest.json is read.
    """
    if manifest.base is None:
        return (folder / MANIFEST).read_bytes()
    base = manifest.base if _is_above(manifest.base) else "."
    fields = {
        "retriever": _without_paths(manifest.retriever),
        "corpus": _without_paths(manifest.corpus),
        "base": base,
    }
    moved = manifest.model_copy(update=fields)
    return (folder / MANIFEST).read_bytes() if moved == manifest else moved.spelled()


def _is_above(base: str) -> bool:
    """Return whether a relative path leads to the store's folder or to one above it."""
    return all(part in ("..", ".") for part in base.split("/"))


def _without_paths(value: Any) -> Any:
    """Replace absolute paths in a record by their last names."""
    match value:
        case Mapping():
            return {key: _without_paths(item) for key, item in value.items()}
        case list():
            return [_without_paths(item) for item in value]
        case str() if is_absolute(value):
            return PurePosixPath(value).name
        case _:
            return value
