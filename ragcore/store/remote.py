"""Data of versions that lie in databases: check them, and drop them with their last pointer.

Before the last folder with a pointer to a table is removed, the table is dropped; where that fails
the folder stays, so that the next `gc` tries again, and nothing is left behind that no folder
names.

Knows where it is written how to connect; knows nothing of the databases, which components reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from shlex import quote
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel

from ragcore.contracts import RemoteData, Retriever, supports
from ragcore.disk.remote import RemotePointer, pointers_below
from ragcore.errors import ConfigError, MemoryMismatchError, RagcoreError, StoreError
from ragcore.memory.remote import KIND, drop_segment
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.registry.recorded import recorded_spec
from ragcore.store.catalog import Catalog
from ragcore.store.layout import VersionFolder
from ragcore.store.manifest import Manifest
from ragcore.store.shared_tables import Unshared, readable_pointer, unshared

__all__ = [
    "Left",
    "check_remote",
    "drop_data",
    "drop_unshared",
    "raise_left",
    "uncertain",
    "warn_left",
]

_LOG: Final = logging.getLogger("ragcore.store")

T = TypeVar("T")


class Left(NamedTuple):
    """Data that could not be dropped.

    Attributes:
        root: the folder that has the pointer to them, which must stay.
        problem: why, and what to do.
        error: what was raised; None where the data may be in use elsewhere.
        advice: what comes of it.
    """

    root: Path
    problem: str
    error: RagcoreError | None
    advice: str = "the next `ragcore memory gc` tries again"


def drop_data(
    catalog: Catalog, data: Iterable[Unshared], retriever: ComponentSpec[Retriever] | None
) -> list[Left]:
    """Drop data, and return what could not be dropped.

    Args:
        catalog: of the store.
        data: see `unshared`.
        retriever: whose settings say how to connect, as those of the catalog's passage store do;
            where none of them leads to a pointer's database, those do that versions record.
    """
    listed = list(data)
    left = uncertain(listed)
    for root, folder, pointer, _ in (each for each in listed if each.missing is None):
        what = _named(pointer)
        specs = chain(
            _specs_in(pointer, [retriever, catalog.passage_store]),
            # The pipeline's may lead elsewhere since; what versions record is read only where so.
            _recorded_specs(pointer, _records(catalog, root, pointer)),
        )
        try:
            dropped = _at_its_database(pointer, specs, partial(_drop, folder))
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


def uncertain(data: Iterable[Unshared]) -> list[Left]:
    """List the data that stay, since a merged store that is missing may use them."""
    return [
        Left(
            each.root,
            f"{_named(each.pointer)} stays in the database, since {each.missing} may use it, "
            "which is missing",
            None,
            f"if that was deleted, `ragcore memory gc … --deleted {quote(str(each.missing))}`; if "
            "it has moved, run `ragcore memory gc` on it first",
        )
        for each in data
        if each.missing is not None
    ]


def _named(pointer: RemotePointer) -> str:
    return f"{pointer.name} of {pointer.kind} {pointer.use!r}"


def _drop(folder: Path, spec: ComponentSpec[Any]) -> bool:
    """Drop what a pointer leads to; see `RemoteData.drop`."""
    if spec.kind == KIND:
        return drop_segment(folder, spec.shared())
    return bool(spec.component.drop(folder, spec.config))


def _check(folder: Path, full: bool, spec: ComponentSpec[Any]) -> None:
    component = spec.load(folder)
    if supports(component, RemoteData):
        component.check(full=full)


def _at_its_database(
    pointer: RemotePointer,
    specs: Iterable[ComponentSpec[Any]],
    action: Callable[[ComponentSpec[Any]], T],
) -> T:
    """Do something with that one of several specs which leads to a pointer's database.

    The members of a hybrid retriever may have indexes of the same name in different databases.

    Raises:
        ConfigError: there is no spec.
        MemoryMismatchError: none leads there.
    """
    tried: list[ComponentSpec[Any]] = []
    mismatch: MemoryMismatchError | None = None
    for spec in specs:
        if spec in tried:
            continue
        tried.append(spec)
        try:
            return action(spec)
        except MemoryMismatchError as error:
            mismatch = mismatch or error
    raise mismatch or ConfigError(
        f"{pointer.kind} {pointer.use!r} has {pointer.name} in a database, and no version here "
        "records how to connect: name the pipeline file in place of the store"
    )


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
        _LOG.warning("store %s: %s: %s", catalog.folder, each.problem, each.advice)


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
        action = partial(_check, folder, full)
        if retriever is None:
            specs = _recorded_specs(pointer, [_record_of(version)])
            _at_its_database(pointer, specs, action)
        elif in_pipeline := list(_specs_in(pointer, retriever)):
            _at_its_database(pointer, in_pipeline, action)


class _Record(NamedTuple):
    """What a version records of its components, and where relative paths in it start from."""

    retriever: Mapping[str, Any]
    passages: Mapping[str, Any] | None
    base: Path


def _record_of(version: VersionFolder) -> _Record:
    manifest = version.manifest
    return _Record(manifest.retriever, manifest.passage_store, manifest.base_folder(version.store))


def _records(catalog: Catalog, root: Path, pointer: RemotePointer) -> Iterator[_Record]:
    """Yield what versions record, the one that is removed first.

    Of the others, those that have data of the same component in a database. A version that was
    imported has none: its record could have secrets sent to another host.
    """
    for path in (root, *(catalog.versions / name for name in catalog.names())):
        try:
            manifest = Manifest.read(path)
        except StoreError:
            # It is a working folder, or damaged: another version may say how to connect.
            continue
        if _has_data(path, pointer):
            yield _record_of(VersionFolder(path, manifest, store=catalog.folder))


def _has_data(folder: Path, pointer: RemotePointer) -> bool:
    """Return whether a folder has a pointer of the component that wrote another one."""
    others = filter(None, map(readable_pointer, pointers_below(folder)))
    return any((each.kind, each.use) == (pointer.kind, pointer.use) for each in others)


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


def _recorded_specs(
    pointer: RemotePointer, records: Iterable[_Record]
) -> Iterator[ComponentSpec[Any]]:
    """Yield the specs of a pointer's component in what versions record.

    Raises:
        ConfigError: a record names a secret that is not set.
    """
    for record in records:
        value = record.passages if pointer.kind == KIND else record.retriever
        for section in _sections_of(pointer, value):
            yield recorded_spec(pointer.kind, section, base=record.base)


def _sections_of(pointer: RemotePointer, value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the sections of a pointer's component in a version's record."""
    match value:
        case Mapping():
            use = value.get("use")
            name = registry().current_name(pointer.kind, use) if isinstance(use, str) else None
            if name == _name_now(pointer):
                yield value
            for item in value.values():
                yield from _sections_of(pointer, item)
        case list():
            for item in value:
                yield from _sections_of(pointer, item)


def _name_now(pointer: RemotePointer) -> str:
    """Return the name that a pointer's component has today."""
    return str(registry().current_name(pointer.kind, pointer.use))
