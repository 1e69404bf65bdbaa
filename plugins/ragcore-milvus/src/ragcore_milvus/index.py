"""The index `milvus`: finds rows by inner product in a collection of a Milvus server.

A collection is one immutable segment. The version's folder has a pointer to it; how to connect says
the config. Knows the contract of an index, and when a collection is made, completed and dropped.
Knows nothing of requests: `collection.py` knows Milvus, `searching.py` searches, `fetching.py`
reads rows, `inputs.py` refuses what cannot be stored, `contents.py` counts and digests,
`pointers.py` writes and reads the pointer.
"""

from __future__ import annotations

import logging
import secrets
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from ragcore.disk.remote import RemotePointer
from ragcore.errors import (
    ComponentError,
    MemoryUnavailableError,
    StoreCorruptError,
    UnsupportedOperation,
)
from ragcore.filters.predicates import Predicate, columns_of, metadata_of, predicate_of
from ragcore.process.fork import new_rlock
from ragcore.scaling import common_scale, in_range, need_no_scale, scales
from ragcore.types import Hits
from ragcore_milvus.collection import Collection
from ragcore_milvus.columns import condition_of
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.contents import Contents, digest_of
from ragcore_milvus.fetching import values_of, vectors_of
from ragcore_milvus.inputs import checked_vectors, refuse_repeated, refuse_taken
from ragcore_milvus.pointers import check_database, checked_name, pointer_to, read_pointer
from ragcore_milvus.searching import Searcher
from ragcore_milvus.selection import Selection, selections

if TYPE_CHECKING:
    from ragcore.filters.expressions import Filter
    from ragcore.types import Rows, Vectors

__all__ = ["Milvus"]

_LOG: Final = logging.getLogger("ragcore.milvus")


class Milvus:
    """See `ragcore.contracts.Index`; searches may run in several threads, changes in one.

    Its first `add` creates the collection. Before that, and after `load`, it does not connect.
    """

    Config: ClassVar[type[MilvusConfig]] = MilvusConfig
    capabilities: frozenset[str] = frozenset({"filter", "remote", "scratch", "vectors"})

    def __init__(self, config: MilvusConfig, *, dim: int) -> None:
        self._adopt(config, Contents(dim), f"ragcore_{secrets.token_hex(16)}", None)

    def _adopt(
        self, config: MilvusConfig, contents: Contents, name: str, completed: float | None
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
        values = checked_vectors(self._name, vectors, self._contents.dim)
        if new.shape != (len(values),):
            raise ComponentError(
                f"{self._name}: {len(values)} vectors were added under rows of shape {new.shape}: "
                "give one row for each vector"
            )
        if not len(new):
            return
        with self._lock:
            self._refuse_broken()
            old = self._contents
            refuse_repeated(self._name, new)
            # Rows mostly ascend; only when they do not, all must be compared.
            if self._rows and new.min() <= old.last:
                refuse_taken(self._name, new, np.concatenate(self._rows))
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
            self._contents = old.with_added(new, stored, lines, scale)
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
        values = values_of(self._collection, self._contents, np.unique(rows))
        return metadata_of(self.columns, [values[row] for row in rows.tolist()], self._unfit)

    def _predicate(self, where: Filter) -> Predicate | None:
        """Return a filter as conditions on columns; None where they cannot say what it means."""
        columns = {field: kind for field, kind in self.columns.items() if field not in self._unfit}
        return predicate_of(where, columns)

    def _search(self, queries: Vectors, k: int, chosen: list[Selection]) -> Hits:
        if k < 1:
            raise ComponentError(f"{self._name} was asked for {k} hits: ask for 1 or more")
        contents = self._contents
        values = checked_vectors(self._name, queries, contents.dim)
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
        unknown = contents.outside(distinct)
        if len(unknown):
            raise ComponentError(f"{self._name} has no row {unknown[0]}")
        if len(distinct):
            self._settle()
        vectors = vectors_of(self._collection, contents, distinct)
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
            self._pointer().write(folder)
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
        saved = read_pointer(folder, config)
        loaded = cls.__new__(cls)
        loaded._adopt(config, saved.contents, saved.name, saved.completed)
        loaded._identity, loaded._unfit = saved.identity, saved.unfit
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
        check_database(self._collection, self._identity)
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
            digest = digest_of(rows, vectors, values, to=digest)
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
        collection = Collection(config, checked_name(pointer))
        check_database(collection, str(pointer.details.get("database", "")))
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
            self._pointer().write(folder)
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

    def _pointer(self) -> RemotePointer:
        return pointer_to(
            self._collection.name,
            self._identity,
            self._config,
            self._contents,
            self._completed,
            self._unfit,
        )

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


def _drop_abandoned(collection: Collection) -> None:
    """Drop the collection of an index that nobody saved."""
    try:
        collection.drop()
    except MemoryUnavailableError as error:
        _LOG.warning("%s stays, though nothing leads to it: %s", collection, error)
