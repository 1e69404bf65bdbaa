"""The index `milvus`: finds rows by inner product in a collection of a Milvus server.

A collection is one immutable segment. The version's folder has a pointer to it; how to connect says
the config. Knows the contract of an index and the pointer; `collection.py` knows Milvus.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from ragcore.disk.loading import reading
from ragcore.disk.remote import POINTER, RemotePointer
from ragcore.errors import (
    ComponentError,
    MemoryMismatchError,
    MemoryUnavailableError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.filters.predicates import Predicate, columns_of, metadata_of, predicate_of
from ragcore.process.fork import new_rlock
from ragcore.scaling import checked_scale, common_scale, in_range, need_no_scale, scales
from ragcore.types import Hits
from ragcore_milvus.collection import LIMIT, Collection
from ragcore_milvus.columns import condition_of
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.searching import Searcher
from ragcore_milvus.selection import Selection, selections

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors

__all__ = ["Milvus"]

_KIND: Final = "index"
_USE: Final = "milvus"
_DIGEST_BYTES: Final = 16
_NAME: Final = re.compile(r"ragcore_[0-9a-f]{32}")
_FETCHED: Final = LIMIT // 16
"""Entities whose metadata one request returns: texts of 32,000 digits would take 32 MB."""

_LOG: Final = logging.getLogger("ragcore.milvus")


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a complete collection has in it.

    Attributes:
        dim: of the vectors.
        count: of the rows.
        first: the lowest row; 0 where there is none.
        last: the highest row; -1 where there is none.
        digest: the sum of all entities' digests, modulo 2**128: it depends on no order.
        scale: what the vectors are multiplied by; None where all are zeros.
    """

    dim: int
    count: int = 0
    first: int = 0
    last: int = -1
    digest: int = 0
    scale: float | None = None


class Milvus:
    """See `ragcore.contracts.Index`; searches may run in several threads, changes in one.

    Its first `add` creates the collection. Before that, and after `load`, it does not connect.
    """

    Config: ClassVar[type[MilvusConfig]] = MilvusConfig
    capabilities: frozenset[str] = frozenset({"filter", "remote", "scratch", "vectors"})

    def __init__(self, config: MilvusConfig, *, dim: int) -> None:
        self._adopt(config, _Contents(dim), f"ragcore_{secrets.token_hex(16)}", None)

    def _adopt(
        self, config: MilvusConfig, contents: _Contents, name: str, completed: float | None
    ) -> None:
        self._config = config
        self.columns = config.columns
        # Fields with a value that is no column's.
        self._unfit: frozenset[str] = frozenset()
        self._contents = contents
        self._collection = Collection(config, name, completed)
        self._searcher = Searcher(
            self._collection, exact=config.method == "exact", ef=config.ef_search
        )
        self._completed = completed
        self._identity = ""
        # Of the rows that were added; empty after `load`.
        self._rows: list[Rows] = []
        self._created = completed is not None
        # Whether all that was added can be searched.
        self._settled = True
        self._loaded = False
        self._broken = False
        self._scratch: Path | None = None
        self._abandoned: weakref.finalize[..., Milvus] | None = None
        self._lock = new_rlock()
        if config.method == "exact":
            self.capabilities = self.capabilities | {"exact"}
        if config.columns:
            self.capabilities = self.capabilities | {"where"}

    def __len__(self) -> int:
        return self._contents.count

    def use_scratch(self, folder: Path) -> int:
        """Keep the pointer to the collection here until it is saved; see `ScratchUser`.

        Returns:
            0: all vectors are added again.
        """
        self._scratch = folder
        return 0

    def add(self, rows: Rows, vectors: Vectors) -> None:
        """Add vectors [n, d] under rows [n].

        Raises:
            UnsupportedOperation: the index was loaded, or saved: a collection never changes.
            ComponentError: shapes do not fit, a vector is not finite, a row is negative or taken.
            MemoryUnavailableError: Milvus does not answer, or refuses; the index cannot be used
                any longer.
        """
        self.add_with_metadata(rows, vectors, [{}] * len(rows))

    def add_with_metadata(
        self, rows: Rows, vectors: Vectors, metadata: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add vectors, and the values of the config's columns; see `FilteringIndex`.

        Raises as `add` does.
        """
        if self._loaded or self._completed is not None:
            raise UnsupportedOperation.of(self._name, "add")
        new = np.ascontiguousarray(rows, np.int64)
        values = self._checked(vectors)
        if new.shape != (len(values),):
            raise ComponentError(
                f"{self._name}: {len(values)} vectors were added under rows of shape {new.shape}: "
                "give one row for each vector"
            )
        if not len(new):
            return
        with self._lock:
            self._refuse_broken()
            self._refuse_taken(new)
            old = self._contents
            scale = common_scale(values) if old.scale is None else old.scale
            stored = values * np.float32(scale or 1)
            if not in_range(stored):
                raise ComponentError(
                    f"{self._name} was given a vector that is much longer than the first ones, by "
                    "which all are scaled: build the memory again, with the longest first"
                )
            columns, unfit = columns_of(self.columns, metadata)
            lines = list(zip(*columns, strict=True))
            self._create()
            # What follows may store a part.
            self._broken, self._settled = True, False
            self._collection.insert(new, stored, columns)
            self._broken = False
            self._unfit |= unfit
            self._contents = _Contents(
                old.dim,
                old.count + len(new),
                min(old.first, int(new.min())) if old.count else int(new.min()),
                max(old.last, int(new.max())),
                (old.digest + _digest(new, stored, lines)) % (1 << 8 * _DIGEST_BYTES),
                scale,
            )
            self._rows.append(new.copy())

    def search(self, queries: Vectors, k: int, *, allowed: Rows | None = None) -> Hits:
        """Return the k rows of highest inner product for each of queries [B, d], ties by row.

        Each query gets min(k, rows that may be found) hits.

        Raises:
            ComponentError: k is less than 1, or shapes do not fit.
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        contents = self._contents
        chosen = list(selections(contents.first, contents.last, contents.count, allowed))
        return self._search(queries, k, chosen)

    def expresses(self, where: Filter) -> bool:
        """Return whether a filter is on columns alone, which have all values of their fields."""
        return self._predicate(where) is not None

    def search_where(self, queries: Vectors, k: int, where: Filter) -> Hits:
        """Return the k best rows among those that match a filter, which Milvus evaluates.

        Raises:
            UnsupportedOperation: the index does not express the filter.
            ComponentError: k is less than 1, or shapes do not fit.
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        predicate = self._predicate(where)
        if predicate is None:
            raise UnsupportedOperation.of(self._name, "where")
        contents, condition = self._contents, condition_of(predicate, self.columns)
        whole = Selection(contents.first, contents.last, whole=True, condition=condition)
        return self._search(queries, k, [whole])

    def metadata(self, rows: Rows) -> list[dict[str, Any]]:
        """Return the columns of rows [n] as metadata; see `FilteringIndex`.

        Raises:
            ComponentError: a row is not there.
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        rows = np.asarray(rows, np.int64)
        if not self.columns or not len(rows):
            return [{} for _ in range(len(rows))]
        self._settle()
        contents, values = self._contents, dict[int, list[str | int | None]]()
        distinct = np.unique(rows)
        for start in range(0, len(distinct), _FETCHED):
            part = distinct[start : start + _FETCHED]
            for selection in selections(contents.first, contents.last, contents.count, part):
                values |= self._collection.values(selection.expression or "row >= 0")
        missing = [row for row in distinct.tolist() if row not in values]
        if missing:
            raise ComponentError(f"{self._name} has no row {missing[0]}")
        return metadata_of(self.columns, [values[row] for row in rows.tolist()], self._unfit)

    def _predicate(self, where: Filter) -> Predicate | None:
        """Return a filter as conditions on columns; None where they cannot say what it means."""
        columns = {field: kind for field, kind in self.columns.items() if field not in self._unfit}
        return predicate_of(where, columns)

    def _search(self, queries: Vectors, k: int, chosen: list[Selection]) -> Hits:
        if k < 1:
            raise ComponentError(f"{self._name} was asked for {k} hits: ask for 1 or more")
        values, contents = self._checked(queries), self._contents
        if not len(values) or not contents.count or not chosen:
            return Hits.empty(len(values), k)
        self._settle()
        depth = min(k, contents.count)
        factors = None if need_no_scale(values) and contents.scale in (None, 1) else scales(values)
        if factors is None:
            scores, rows = self._searcher.best(values, depth, chosen)
        else:
            scores, rows = self._searcher.best(values * factors[:, None], depth, chosen)
            scores = scores / (factors * np.float32(contents.scale or 1))[:, None]
        hits = Hits.empty(len(values), k)
        hits.rows[:, :depth], hits.scores[:, :depth] = rows, scores
        return Hits(hits.rows, hits.scores)

    def remove(self, rows: Rows) -> None:
        """Refuse: a collection never changes.

        Raises:
            UnsupportedOperation: always.
        """
        raise UnsupportedOperation.of(self._name, "remove")

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows [n] as they were added, float32 [n, d] (capability `vectors`).

        Raises:
            ComponentError: a row is not there.
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        rows = np.asarray(rows, np.int64)
        contents = self._contents
        distinct, places = np.unique(rows, return_inverse=True)
        vectors = np.empty((len(distinct), contents.dim), np.float32)
        unknown = distinct[(distinct < contents.first) | (distinct > contents.last)]
        if len(unknown):
            raise ComponentError(f"{self._name} has no row {unknown[0]}")
        if len(distinct):
            self._settle()
        size = Collection.at_once(contents.dim)
        for start in range(0, len(distinct), size):
            part = distinct[start : start + size]
            (selection,) = selections(contents.first, contents.last, contents.count, part)
            fetched, values = self._collection.fetch(selection.expression, contents.dim)
            order = np.argsort(fetched)
            if not np.array_equal(fetched[order], part):
                missing = np.setdiff1d(part, fetched)
                raise ComponentError(f"{self._name} has no row {missing[0]}")
            vectors[start : start + size] = values[order]
        return vectors[places] / np.float32(contents.scale or 1)

    def save(self, folder: Path) -> None:
        """Complete the collection, and write the pointer to it into an existing folder.

        Raises:
            StoreCorruptError: the collection was dropped, or does not have all that was added.
            MemoryUnavailableError: Milvus does not answer, refuses, or takes too long.
            OSError: there is no room for the pointer.
        """
        with self._lock:
            self._refuse_broken()
            self._settle()
            if self._completed is None:
                self._completed = time.time()
            self._pointer(completed=True).write(folder)
            if self._abandoned is not None:
                self._abandoned.detach()

    @classmethod
    def load(cls, folder: Path, config: MilvusConfig, *, mmap: bool = True) -> Milvus:
        """Read the pointer that `save` wrote; does not connect.

        `config` may differ in how to connect, and in what only searching depends on.

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
        loaded = cls.__new__(cls)
        loaded._adopt(config, contents, _checked_name(pointer), completed)
        loaded._identity, loaded._unfit = identity, unfit
        loaded._loaded = True
        return loaded

    def check(self, *, full: bool) -> None:
        """Check that the collection is there, and has what the pointer says; see `RemoteData`.

        Raises:
            StoreCorruptError: the collection is missing, or has other entities.
            MemoryMismatchError: the config leads to another database than the pointer.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        contents = self._contents
        if not contents.count:
            return
        _check_database(self._collection, self._identity)
        if not full:
            self._settle()
            stored = self._collection.count()
            if stored != contents.count:
                self._refuse_contents(f"{stored} entities, not {contents.count}")
            return
        count = digest = 0
        pages = self._collection.pages("", contents.dim, with_columns=bool(self.columns))
        for rows, vectors, values in pages:
            count += len(rows)
            digest = (digest + _digest(rows, vectors, values)) % (1 << 8 * _DIGEST_BYTES)
        if (count, digest) != (contents.count, contents.digest):
            self._refuse_contents(
                f"{count} entities with digest {digest:032x}, not {contents.count} with "
                f"{contents.digest:032x}"
            )

    @classmethod
    def drop(cls, folder: Path, config: MilvusConfig) -> bool:
        """Drop the collection that a pointer leads to; see `RemoteData`.

        Returns:
            True: Milvus does not tell who has a collection open.

        Raises:
            StoreCorruptError: the pointer is broken.
            MemoryMismatchError: the config leads to another database than the pointer.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        pointer = RemotePointer.read(folder)
        collection = Collection(config, _checked_name(pointer))
        _check_database(collection, str(pointer.details.get("database", "")))
        collection.drop()
        return True

    @property
    def _name(self) -> str:
        return f"index 'milvus' ({self._config.method})"

    def _create(self) -> None:
        """Create the collection, once; its pointer is on the disk before."""
        if self._created:
            return
        collection = self._collection
        self._identity = collection.connection.identity(make=True)
        if self._scratch is not None:
            folder = self._scratch / collection.name
            folder.mkdir()
            self._pointer(completed=False).write(folder)
        else:
            # Where no store knows of it, nobody else drops it.
            self._abandoned = weakref.finalize(self, _drop_abandoned, collection)
        collection.create(self._contents.dim)
        self._created = True

    def _settle(self) -> None:
        """Have Milvus store, index and load what was added; nothing where it has done so."""
        if self._settled:
            return
        with self._lock:
            self._refuse_broken()
            if not self._settled:
                self._collection.complete(self._contents.count)
                self._settled = True

    def _pointer(self, *, completed: bool) -> RemotePointer:
        contents = self._contents
        details: dict[str, Any] = {
            "database": self._identity,
            "built": _built(self._config),
            "dim": contents.dim,
        }
        if completed:
            details |= {
                "rows": contents.count,
                "first": contents.first,
                "last": contents.last,
                "digest": f"{contents.digest:032x}",
                "scale": contents.scale,
                "completed": self._completed,
            }
            if self._unfit:
                details["unfit"] = sorted(self._unfit)
        return RemotePointer(_KIND, _USE, self._collection.name, details)

    def _checked(self, vectors: Vectors) -> Vectors:
        values = np.ascontiguousarray(vectors, np.float32)
        if values.ndim != 2 or values.shape[1] != self._contents.dim:
            raise ComponentError(
                f"{self._name} holds vectors of {self._contents.dim} dimensions and was given an "
                f"array of shape {values.shape}: it must be [n, {self._contents.dim}]"
            )
        if not (need_no_scale(values) or in_range(values)):
            raise ComponentError(
                f"{self._name} was given a vector that is not finite, or has a number above 1e18"
            )
        return values

    def _refuse_taken(self, new: Rows) -> None:
        if new.min() < 0:
            raise ComponentError(f"{self._name}: row {new.min()} is negative: rows count from 0")
        if len(np.unique(new)) < len(new):
            raise ComponentError(f"{self._name}: the same row was given twice in one call")
        # Rows mostly ascend; only when they do not, all must be compared.
        if self._rows and new.min() <= self._contents.last:
            taken = new[np.isin(new, np.concatenate(self._rows))]
            if len(taken):
                raise ComponentError(f"{self._name}: row {taken[0]} is already there")

    def _refuse_broken(self) -> None:
        if self._broken:
            raise MemoryUnavailableError(
                f"{self._collection} does not have all that was added, since a request failed: "
                "build again"
            )

    def _refuse_contents(self, what: str) -> None:
        raise StoreCorruptError(
            f"{self._collection} has {what}: it was changed after the build; build again"
        )


def _built(config: MilvusConfig) -> dict[str, Any]:
    """Return the settings that a collection depends on."""
    # Pairs, since their order counts, which that of mappings does not.
    columns = {"columns": [list(pair) for pair in config.columns.items()]} if config.columns else {}
    if config.method == "exact":
        return {"method": "exact", **columns}
    graph = {"m": config.m, "ef_construction": config.ef_construction}
    return {"method": "hnsw", **graph, **columns}


def _checked_name(pointer: RemotePointer) -> str:
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


def _check_database(collection: Collection, identity: str) -> None:
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


def _contents(details: Mapping[str, Any]) -> _Contents:
    """Return what a pointer says of its collection.

    Raises:
        ValueError, KeyError, TypeError: it says something else.
    """
    scale = details["scale"]
    contents = _Contents(
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


def _digest(
    rows: Rows, vectors: Vectors, columns: Sequence[Sequence[str | int | None]] = ()
) -> int:
    """Return the sum of a digest of each row, its vector and its columns' values, in any order."""
    total = 0
    numbers = np.ascontiguousarray(rows, "<i8")
    values = np.ascontiguousarray(vectors, "<f4")
    # None: as in collections that have no columns.
    texts = [json.dumps(list(each)).encode() for each in columns] or [b""] * len(numbers)
    for row, vector, text in zip(numbers, values, texts, strict=True):
        whole = hashlib.blake2b(row.tobytes() + vector.tobytes() + text, digest_size=_DIGEST_BYTES)
        total += int.from_bytes(whole.digest(), "little")
    return total


def _drop_abandoned(collection: Collection) -> None:
    """Drop the collection of an index that nobody saved."""
    try:
        collection.drop()
    except MemoryUnavailableError as error:
        _LOG.warning("%s stays, though nothing leads to it: %s", collection, error)
