"""The pointer to a table of vectors, which a version's folder has in place of an index's files.

See `ragcore.contracts.RemoteData`. Knows what is recorded, and that config and database must fit
it; knows nothing of how tables are made or searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragcore.disk.loading import reading
from ragcore.disk.remote import POINTER, RemotePointer
from ragcore.errors import MemoryMismatchError
from ragcore_pgvector.configs import PgvectorConfig
from ragcore_pgvector.tables import Finished, Tables, checked_name

if TYPE_CHECKING:
    from ragcore.filters.predicates import ColumnKind

__all__ = ["SavedTable", "check_identity", "pointer_to", "read_pointer"]


@dataclass(frozen=True, slots=True)
class SavedTable:
    """What the pointer to a finished table says.

    Attributes:
        name: of the table.
        identity: of its database.
        finished: what the table has.
        unfit: fields with a value that is no column's.
    """

    name: str
    identity: str
    finished: Finished
    unfit: frozenset[str]


def pointer_to(
    name: str,
    identity: str | None,
    finished: Finished | None,
    columns: Mapping[str, ColumnKind],
    unfit: frozenset[str],
) -> RemotePointer:
    """Return the pointer to a table.

    Args:
        name: of the table.
        identity: of its database.
        finished: what the table has; None while vectors are added to it.
        columns: the kind of each field, in the order of the columns.
        unfit: fields with a value that is no column's.
    """
    details: dict[str, Any] = {"database": identity}
    if finished is not None:
        details |= {
            "rows": finished.rows,
            "dim": finished.dim,
            "digest": finished.digest,
            "method": finished.method,
            "half": finished.half,
        }
        # Pointers of memories without columns are as they were before there were any.
        if columns:
            details |= {"columns": dict(columns), "unfit": sorted(unfit)}
    return RemotePointer("index", "pgvector", name, details)


def read_pointer(folder: Path, config: PgvectorConfig) -> SavedTable:
    """Read the pointer to a finished table, which must be as a config says.

    Raises:
        StoreCorruptError: the pointer is missing or broken.
        MemoryMismatchError: the table has no graph, or other vectors or columns than the config
            says.
    """
    pointer = RemotePointer.read(folder)
    with reading(folder / POINTER):
        details = pointer.details
        finished = Finished(
            int(details["rows"]),
            int(details["dim"]),
            str(details["digest"]),
            str(details["method"]),
            bool(details["half"]),
        )
        identity = str(details["database"])
        columns = dict(details.get("columns", {}))
        unfit = frozenset(map(str, details.get("unfit", ())))
    if list(columns.items()) != list(config.columns.items()):
        raise MemoryMismatchError(
            f"{folder} was built with columns: {columns}, but the index in use has "
            f"{config.columns}: set them as they were, in their order, or rebuild the memory"
        )
    if finished.half != config.half or (config.method, finished.method) == ("hnsw", "exact"):
        raise MemoryMismatchError(
            f"{folder} was built with method: {finished.method}, half: "
            f"{str(finished.half).lower()}, but the index in use has method: {config.method}, "
            f"half: {str(config.half).lower()}: set these as they were, or rebuild the memory"
        )
    return SavedTable(checked_name(pointer.name), identity, finished, unfit)


def check_identity(tables: Tables, identity: Any, folder: Path | None = None) -> None:
    """Check that this is the database of a pointer.

    Raises:
        MemoryMismatchError: it is another one.
    """
    actual = tables.schema.identity()
    if actual != identity:
        where = f" of {folder}" if folder else ""
        raise MemoryMismatchError(
            f"{tables.database.name} is not the one that the pointer{where} leads to: check `dsn` "
            "and `schema`"
        )
