"""Which folders use a table in a database: those of a store, and of stores that share it.

A folder of a store leads to tables by pointers (`ragcore.disk.remote`). Two versions share a table
as they share a file: both have a pointer to it.

A merged memory shares the tables of its shards, which are in other stores. The file SHARED in each
of the stores says so:

    to /stores/world            in a store of shards: that store was merged from them
    from /stores/shards         in the merged one: its shards came from there

A store of shards that is deleted as a whole leaves its tables to the merged one. A merged store
that cannot be found may have moved, or be deleted: what it once shared stays, with the pointers to
it, until somebody says which.

Knows pointers and who has them; knows nothing of how databases are reached.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ragcore.disk.atomic import locked, replace_text, writing
from ragcore.disk.remote import POINTER, RemotePointer, pointers_below
from ragcore.errors import StoreError
from ragcore.store.catalog import Catalog
from ragcore.store.layout import BUILDING, SCRATCH, TRASH, VersionFolder

__all__ = [
    "Unshared",
    "check_deleted",
    "is_pointer",
    "note_deleted",
    "note_moved",
    "note_shared",
    "readable_pointer",
    "unshared",
]

_LOG: Final = logging.getLogger("ragcore.store")
_SHARED: Final = "SHARED"

Key = tuple[str, str, str]


class Unshared(NamedTuple):
    """A pointer to data that no other folder of a store uses.

    Attributes:
        root: the folder that is to be removed.
        folder: of the pointer, in that folder.
        pointer: what it says.
        missing: a store that was merged from this one, cannot be found, and may use the data; None
            where there is none.
    """

    root: Path
    folder: Path
    pointer: RemotePointer
    missing: Path | None = None


def is_pointer(name: str) -> bool:
    """Return whether a file of a version, by its path from the folder, is a pointer."""
    return name.rpartition("/")[2] == POINTER


def unshared(
    catalog: Catalog, roots: Sequence[Path], deleted: Iterable[Path] = ()
) -> list[Unshared]:
    """List the data that only these folders use.

    Args:
        catalog: of the store, whose lock the caller holds.
        roots: folders in `versions` that are to be removed.
        deleted: merged stores that are deleted, so that they use nothing.

    Raises:
        StoreCorruptError: a pointer elsewhere is broken, so that it is not known what it uses.
    """
    own: dict[Key, Unshared] = {}
    for root in roots:
        for folder in pointers_below(root):
            pointer = readable_pointer(folder)
            if pointer is not None:
                own.setdefault(pointer.key, Unshared(root, folder, pointer))
    if not own:
        return []
    used, missing = _used_elsewhere(catalog, set(roots), _lines_to(catalog, deleted))
    # What is written in a working folder was never merged.
    return [
        each
        if missing is None or each.root.name.startswith((BUILDING, SCRATCH))
        else each._replace(missing=missing)
        for key, each in own.items()
        if key not in used
    ]


def check_deleted(catalog: Catalog, stores: Iterable[Path]) -> None:
    """Check that stores were merged from this one, and that none is there any longer.

    Raises:
        StoreError: one is there, or was never merged from this one.
    """
    lines = list(_lines(catalog))
    for store in stores:
        if not _lines_to(catalog, [store]):
            merged = [line.removeprefix("to ") for line in lines if line.startswith("to ")]
            raise StoreError(
                f"{store}: no memory there was merged from the shards in {catalog.folder}: "
                f"expected one of these: {', '.join(merged) or 'none'}"
            )
        if Catalog(store).versions.is_dir():
            raise StoreError(
                f"{store} is not deleted: delete its folder first; its tables stay as long as "
                f"the shards in {catalog.folder} have them"
            )


def note_deleted(catalog: Catalog, stores: Sequence[Path]) -> None:
    """Record that stores which were merged from this one are deleted, and share nothing any longer.

    Raises:
        StoreError: see `check_deleted`; then nothing is recorded.
    """
    if not stores:
        return
    with locked(catalog.lock):
        check_deleted(catalog, stores)
        removed = _lines_to(catalog, stores)
        lines = [line for line in _lines(catalog) if line not in removed]
        replace_text(catalog.folder / _SHARED, "".join(f"{line}\n" for line in lines))


def note_moved(catalog: Catalog) -> None:
    """Tell the stores of a merged memory's shards where it is now, if it has moved.

    Raises:
        StoreError: one of them cannot be written.
    """
    for line in list(_lines(catalog)):
        direction, _, path = line.partition(" ")
        if direction == "from" and Catalog(path).versions.is_dir():
            _add_line(Catalog(path), f"to {catalog.folder.resolve()}")


def note_shared(catalog: Catalog, versions: Iterable[VersionFolder]) -> None:
    """Record that a store is about to share tables of shards in other stores.

    Before the first pointer is copied, so that a merge that is killed loses nothing.

    Args:
        catalog: of the merged store.
        versions: the shards.
    """
    stores = {
        version.store.resolve() for version in versions if any(pointers_below(version.path))
    } - {catalog.folder.resolve()}
    for store in sorted(stores):
        _add_line(Catalog(store), f"to {catalog.folder.resolve()}")
        _add_line(catalog, f"from {store}")


def _add_line(catalog: Catalog, line: str) -> None:
    if line in _lines(catalog):
        # Without the lock: a store that is read-only here needs no change.
        return
    with writing(catalog.folder), locked(catalog.lock):
        lines = list(_lines(catalog))
        if line not in lines:
            replace_text(catalog.folder / _SHARED, "".join(f"{each}\n" for each in [*lines, line]))


def _lines(catalog: Catalog) -> Iterator[str]:
    path = catalog.folder / _SHARED
    if path.exists():
        yield from path.read_text(encoding="utf-8").split("\n")[:-1]


def _lines_to(catalog: Catalog, stores: Iterable[Path]) -> set[str]:
    """Return the lines that name merged stores, by the path that they have, or had with links."""
    spelled = {f"to {path}" for store in stores for path in (store.absolute(), store.resolve())}
    return spelled.intersection(_lines(catalog))


def _used_elsewhere(
    catalog: Catalog, roots: set[Path], ignored: set[str]
) -> tuple[set[Key], Path | None]:
    """Return the keys of all pointers that are in no folder of `roots`, and in no trash.

    Also those in stores that share tables with this one, but for the lines in `ignored`.

    Returns:
        The keys, and a merged store that cannot be found; None where there is none.
    """
    used, missing = _keys_in(catalog, roots), None
    for line in _lines(catalog):
        if line in ignored:
            continue
        direction, _, path = line.partition(" ")
        other = Catalog(path)
        if other.versions.is_dir():
            used |= _keys_in(other, set())
        elif direction == "to":
            missing = other.folder
    return used, missing


def _keys_in(catalog: Catalog, without: set[Path]) -> set[Key]:
    """Return the keys of the pointers in a store's folders, those being removed left out."""
    return {
        RemotePointer.read(folder).key
        for root in catalog.versions.iterdir()
        if root not in without and not root.name.startswith(TRASH)
        for folder in pointers_below(root)
    }


def readable_pointer(folder: Path) -> RemotePointer | None:
    """Read a pointer of a folder that is removed; None, with a warning, where it is broken."""
    try:
        return RemotePointer.read(folder)
    except StoreError as error:
        _LOG.warning("%s: what it led to may be left in the database", error)
        return None
