"""The pointer to a collection, which a version's folder has in place of an index's files.

See `ragcore.contracts.RemoteData`. Knows what is recorded, and that config and database must fit
it; knows nothing of how collections are made or searched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ragcore.disk.loading import reading
from ragcore.disk.remote import POINTER, RemotePointer
from ragcore.errors import MemoryMismatchError, StoreCorruptError
from ragcore.scaling import checked_scale
from ragcore_milvus.collection import Collection
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.contents import Contents

__all__ = ["SavedCollection", "check_database", "checked_name", "pointer_to", "read_pointer"]

_NAME: Final = re.compile(r"ragcore_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class SavedCollection:
    """What the pointer to a complete collection says.

    Attributes:
        name: of the collection.
        identity: of its database.
        contents: what it has in it.
        completed: when it was, in seconds since 1970.
        unfit: fields with a value that is no column's.
    """

    name: str
    identity: str
    contents: Contents
    completed: float
    unfit: frozenset[str]


def pointer_to(
    name: str,
    identity: str,
    config: MilvusConfig,
    contents: Contents,
    completed: float | None,
    unfit: frozenset[str],
) -> RemotePointer:
    """Return the pointer to a collection.

    Args:
        name: of the collection.
        identity: of its database.
        config: that it is built by.
        contents: what it has in it.
        completed: when it was, in seconds since 1970; None if it is not.
        unfit: fields with a value that is no column's.
    """
    details: dict[str, Any] = {
        "database": identity,
        "built": _built(config),
        "dim": contents.dim,
    }
    if completed is not None:
        details |= {
            "rows": contents.count,
            "first": contents.first,
            "last": contents.last,
            "digest": f"{contents.digest:032x}",
            "scale": contents.scale,
            "completed": completed,
        }
        if unfit:
            details["unfit"] = sorted(unfit)
    return RemotePointer("index", "milvus", name, details)


def read_pointer(folder: Path, config: MilvusConfig) -> SavedCollection:
    """Read the pointer to a complete collection, which must be built as a config says.

    Raises:
        MemoryMismatchError: the collection was built by another method.
        StoreCorruptError: the pointer is missing or broken.
    """
    pointer = RemotePointer.read(folder)
    with reading(folder / POINTER):
        details = pointer.details
        built = dict(details["built"])
        contents = _contents(details)
        completed = float(details["completed"])
        identity = str(details["database"])
        unfit = frozenset(map(str, details.get("unfit", ())))
    wanted = _built(config)
    if built != wanted:
        raise MemoryMismatchError(
            f"{folder} was built with {built}, but the configuration says {wanted}: build the "
            "memory again, or set the index as it was"
        )
    return SavedCollection(checked_name(pointer), identity, contents, completed, unfit)


def checked_name(pointer: RemotePointer) -> str:
    """Return the name of a pointer's collection.

    Raises:
        StoreCorruptError: no collection of ours has it.
    """
    if not _NAME.fullmatch(pointer.name):
        raise StoreCorruptError(
            f"{pointer.name[:80]!r} is no collection of vectors: restore the version's files, or "
            "build it again"
        )
    return pointer.name


def check_database(collection: Collection, identity: str) -> None:
    """Check that a collection's database is the one that a pointer names; any, for an empty name.

    Raises:
        MemoryMismatchError: it is another one.
    """
    if identity and not collection.connection.has(identity):
        raise MemoryMismatchError(
            f"{collection.connection.address} is not the database that the pointer to "
            f"{collection.name} leads to: it has no collection {identity}; set uri and database as "
            "they were"
        )


def _built(config: MilvusConfig) -> dict[str, Any]:
    """Return the settings that a collection depends on."""
    # Pairs, since their order counts, which that of mappings does not.
    columns = {"columns": [list(pair) for pair in config.columns.items()]} if config.columns else {}
    if config.method == "exact":
        return {"method": "exact", **columns}
    graph = {"m": config.m, "ef_construction": config.ef_construction}
    return {"method": "hnsw", **graph, **columns}


def _contents(details: Mapping[str, Any]) -> Contents:
    """Return what a pointer says of its collection.

    Raises:
        ValueError, KeyError, TypeError: it says something else.
    """
    scale = details["scale"]
    contents = Contents(
        int(details["dim"]),
        int(details["rows"]),
        int(details["first"]),
        int(details["last"]),
        int(details["digest"], 16),
        None if scale is None else checked_scale(scale),
    )
    span = contents.last - contents.first + 1
    if not (contents.dim > 0 <= contents.count <= span and contents.first >= 0):
        raise ValueError(f"it has {contents.count} rows from {contents.first} to {contents.last}")
    return contents
