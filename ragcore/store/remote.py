"""Data of versions that lie in databases: check them, and drop them with their last pointer.

A folder of a store leads to such data by pointers (`ragcore.disk.remote`). Two versions share a
table as they share a file: both have a pointer to it. Before the last folder with a pointer is
removed, the table is dropped; where that fails the folder stays, so that the next `gc` tries again,
and nothing is left behind that no folder names.

A merged memory shares the tables of its shards, which are in other stores. The file SHARED in each
of the stores says so:

    to /stores/world            in a store of shards: that store was merged from them
    from /stores/shards         in the merged one: its shards came from there

A store of shards that is deleted as a whole leaves its tables to the merged one; so a merged store
that cannot be found, since it has moved, is taken to use all that it once shared.

Knows pointers and who has them; knows nothing of the databases, which components reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel

from ragcore.contracts import RemoteData, Retriever, supports
from ragcore.disk.atomic import locked, replace_text
from ragcore.disk.remote import POINTER, RemotePointer, pointers_below
from ragcore.errors import ConfigError, MemoryMismatchError, RagcoreError, StoreError
from ragcore.memory.remote import KIND, drop_segment
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.registry.discovery import registry
from ragcore.registry.recorded import filled, recorded_spec
from ragcore.store.catalog import Catalog
from ragcore.store.layout import TRASH, VersionFolder
from ragcore.store.manifest import Manifest

__all__ = [
    "Left",
    "Unshared",
    "check_remote",
    "drop_data",
    "drop_unshared",
    "is_pointer",
    "note_shared",
    "raise_left",
    "unshared",
    "warn_left",
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
    """

    root: Path
    folder: Path
    pointer: RemotePointer


class Left(NamedTuple):
    """Data that could not be dropped.

    Attributes:
        root: the folder that has the pointer to them, which must stay.
        problem: why, and what to do.
        error: what was raised; None where a program elsewhere has the data open.
    """

    root: Path
    problem: str
    error: RagcoreError | None


def is_pointer(name: str) -> bool:
    """Return whether a file of a version, by its path from the folder, is a pointer."""
    return name.rpartition("/")[2] == POINTER


def unshared(catalog: Catalog, roots: Sequence[Path]) -> list[Unshared]:
    """List the data that only these folders use.

    Args:
        catalog: of the store, whose lock the caller holds.
        roots: folders in `versions` that are to be removed.

    Raises:
        StoreCorruptError: a pointer elsewhere is broken, so that it is not known what it uses.
    """
    own: dict[Key, Unshared] = {}
    for root in roots:
        for folder in pointers_below(root):
            pointer = _readable(folder)
            if pointer is not None:
                own.setdefault(pointer.key, Unshared(root, folder, pointer))
    if not own:
        return []
    used, unknown = _used_elsewhere(catalog, set(roots))
    if unknown is not None:
        _LOG.warning(
            "store %s: %s shared tables with %s, which is not there: it may have moved, so %s "
            "stay in the database",
            catalog.folder,
            "its shards",
            unknown,
            ", ".join(name for _, _, name in own),
        )
        return []
    return [each for key, each in own.items() if key not in used]


def drop_data(
    catalog: Catalog, data: Iterable[Unshared], retriever: ComponentSpec[Retriever] | None
) -> list[Left]:
    """Drop data, and return what could not be dropped.

    Args:
        catalog: of the store.
        data: see `unshared`.
        retriever: whose settings say how to connect; where it has no component of a pointer's
            name, those do that versions of the store record.
    """
    left = []
    for root, folder, pointer in data:
        what = f"{pointer.name} of {pointer.kind} {pointer.use!r}"
        try:
            if pointer.kind == KIND:
                dropped = _drop_passages(catalog, root, folder, pointer)
            else:
                specs = _specs_for(pointer, retriever, _records(catalog, root))
                dropped = _at_its_database(specs, partial(_drop, folder))
        except RagcoreError as error:
            problem = f"{what} stays in the database: {error}"
            if isinstance(error, MemoryMismatchError):
                problem += f"; or, if its database no longer exists, delete {folder}"
            left.append(Left(root, problem, error))
            continue
        if not dropped:
            problem = f"{what} stays in the database, since a program elsewhere has it open"
            left.append(Left(root, problem, None))
    return left


def _drop_passages(catalog: Catalog, root: Path, folder: Path, pointer: RemotePointer) -> bool:
    """Drop passages that a pointer leads to; see `RemoteData.drop`.

    Raises:
        ConfigError: neither the pipeline nor a version says how to connect.
        MemoryMismatchError: both lead to another database.
    """
    name = _name_now(pointer)
    specs = [] if catalog.passage_store is None else [catalog.passage_store]
    recorded = (
        recorded_spec(KIND, record.passages, base=record.base)
        for record in _records(catalog, root)
        if record.passages is not None
        and registry().current_name(KIND, str(record.passages.get("use"))) == name
    )
    mismatch: MemoryMismatchError | None = None
    # The pipeline's may lead elsewhere since; what versions record is read only where it does.
    for spec in chain(specs, recorded):
        if spec.use == name:
            try:
                return drop_segment(folder, spec.shared())
            except MemoryMismatchError as error:
                mismatch = error
    raise mismatch or _unknown(pointer)


def _drop(folder: Path, spec: ComponentSpec[Any]) -> bool:
    return bool(spec.component.drop(folder, spec.config))


def _check(folder: Path, full: bool, spec: ComponentSpec[Any]) -> None:
    component = spec.load(folder)
    if supports(component, RemoteData):
        component.check(full=full)


T = TypeVar("T")


def _at_its_database(specs: Sequence[ComponentSpec[Any]], action: Callable[[Any], T]) -> T:
    """Do something with that one of several specs which leads to a pointer's database.

    The members of a hybrid retriever may have indexes of the same name in different databases.

    Raises:
        MemoryMismatchError: none leads there.
    """
    *others, last = specs
    for spec in others:
        try:
            return action(spec)
        except MemoryMismatchError:
            continue
    return action(last)


def drop_unshared(
    catalog: Catalog, roots: Sequence[Path], retriever: ComponentSpec[Retriever] | None
) -> list[Left]:
    """Drop what only these folders use; the caller holds the store's lock. See `drop_data`."""
    try:
        return drop_data(catalog, unshared(catalog, roots), retriever)
    except StoreError as error:
        return [Left(root, str(error), error) for root in roots]


def warn_left(catalog: Catalog, left: Iterable[Left]) -> None:
    """Warn of data that stay until the next `gc`."""
    for each in left:
        _LOG.warning("store %s: %s: `ragcore memory gc` tries again", catalog.folder, each.problem)


def raise_left(left: Iterable[Left]) -> None:
    """Raise the error by which data stay in a database, if any do."""
    for each in left:
        advice = f"{each.problem}: run `ragcore memory gc` later"
        raise (type(each.error) if each.error else StoreError)(advice) from each.error


def check_remote(
    version: VersionFolder, retriever: ComponentSpec[Retriever] | None, *, full: bool
) -> None:
    """Check that the data which a version's pointers lead to are there.

    Args:
        version: that is checked.
        retriever: whose settings say how to connect; as the version records it where None.
        full: compare digests; see `RemoteData.check`.

    Raises:
        StoreCorruptError: they are not, or a pointer is broken.
        MemoryUnavailableError: a database does not answer.
        ConfigError: the version's record names a secret that is not in the environment.
    """
    for folder in pointers_below(version.path):
        pointer = RemotePointer.read(folder)
        if pointer.kind == KIND:
            # `VersionFolder.check_files` compares them.
            continue
        records = [] if retriever is not None else [_record_of(version)]
        specs = _specs_for(pointer, retriever, records, required=retriever is None)
        if specs:
            _at_its_database(specs, partial(_check, folder, full))


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
    with locked(catalog.lock):
        lines = list(_lines(catalog))
        if line not in lines:
            replace_text(catalog.folder / _SHARED, "".join(f"{each}\n" for each in [*lines, line]))


def _lines(catalog: Catalog) -> Iterator[str]:
    path = catalog.folder / _SHARED
    if path.exists():
        yield from path.read_text(encoding="utf-8").splitlines()


def _used_elsewhere(catalog: Catalog, roots: set[Path]) -> tuple[set[Key], Path | None]:
    """Return the keys of all pointers that are in no folder of `roots`, and in no trash.

    Also those in stores that share tables with this one.

    Returns:
        The keys, and a store that may use any, since it cannot be found; None where there is none.
    """
    used = _keys_in(catalog, roots)
    for line in _lines(catalog):
        direction, _, path = line.partition(" ")
        other = Catalog(path)
        if other.versions.is_dir():
            used |= _keys_in(other, set())
        elif direction == "to":
            return used, other.folder
    return used, None


def _keys_in(catalog: Catalog, without: set[Path]) -> set[Key]:
    """Return the keys of the pointers in a store's folders, those being removed left out."""
    return {
        RemotePointer.read(folder).key
        for root in catalog.versions.iterdir()
        if root not in without and not root.name.startswith(TRASH)
        for folder in pointers_below(root)
    }


def _readable(folder: Path) -> RemotePointer | None:
    """Read a pointer of a folder that is removed; None, with a warning, where it is broken."""
    try:
        return RemotePointer.read(folder)
    except StoreError as error:
        _LOG.warning("%s: what it led to may be left in the database", error)
        return None


class _Record(NamedTuple):
    """What a version records of its components, and where relative paths in it start from."""

    retriever: Mapping[str, Any]
    passages: Mapping[str, Any] | None
    base: Path


def _record_of(version: VersionFolder) -> _Record:
    manifest = version.manifest
    return _Record(manifest.retriever, manifest.passage_store, manifest.base_folder(version.store))


def _records(catalog: Catalog, root: Path) -> Iterator[_Record]:
    """Yield what versions record, the one that is removed first."""
    for path in (root, *(catalog.versions / name for name in catalog.names())):
        try:
            manifest = Manifest.read(path)
        except StoreError:
            # It is a working folder, or damaged: another version may say how to connect.
            continue
        yield _record_of(VersionFolder(path, manifest, store=catalog.folder))


def _specs_for(
    pointer: RemotePointer,
    retriever: ComponentSpec[Retriever] | None,
    records: Iterable[_Record],
    *,
    required: bool = True,
) -> list[ComponentSpec[Any]]:
    """Return the different specs of the component that wrote a pointer.

    Raises:
        ConfigError: there is none; or that of a record names a secret that is not set.
    """
    found = list(_specs_in(pointer, retriever))
    if not found:
        for record in records:
            found = list(_recorded_specs(pointer, record.retriever, record.base))
            if found:
                break
    if not found and required:
        raise _unknown(pointer)
    return [spec for number, spec in enumerate(found) if spec not in found[:number]]


def _unknown(pointer: RemotePointer) -> ConfigError:
    return ConfigError(
        f"{pointer.kind} {pointer.use!r} has {pointer.name} in a database, and no version here "
        "records how to connect: name the pipeline file in place of the store"
    )


def _specs_in(pointer: RemotePointer, value: Any) -> Iterator[ComponentSpec[Any]]:
    """Yield the specs of a pointer's component in a spec, or in a value of its config."""
    match value:
        case ComponentSpec():
            if (value.kind, value.use) == (pointer.kind, _name_now(pointer)):
                yield value
            yield from _specs_in(pointer, value.config)
        case BaseModel():
            for name in type(value).model_fields:
                yield from _specs_in(pointer, getattr(value, name))
        case Mapping():
            for item in value.values():
                yield from _specs_in(pointer, item)
        case list() | tuple():
            for item in value:
                yield from _specs_in(pointer, item)


def _recorded_specs(pointer: RemotePointer, value: Any, base: Path) -> Iterator[ComponentSpec[Any]]:
    """Yield the specs of a pointer's component in a version's record of its retriever."""
    match value:
        case Mapping():
            use = value.get("use")
            name = registry().current_name(pointer.kind, use) if isinstance(use, str) else None
            if name == _name_now(pointer):
                yield spec_from_dict(pointer.kind, filled(value), base=base)
            for item in value.values():
                yield from _recorded_specs(pointer, item, base)
        case list():
            for item in value:
                yield from _recorded_specs(pointer, item, base)


def _name_now(pointer: RemotePointer) -> str:
    """Return the name that a pointer's component has today."""
    return str(registry().current_name(pointer.kind, pointer.use))
