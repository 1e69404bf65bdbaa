"""One collection of Milvus: for each entity a row number, a vector, and columns of metadata.

Creates, fills, completes, searches and drops it. Knows entities, and how many of them fit in a
request; knows nothing of ties, filters of rows, or files. `sending.py` sends, and waits until what
was inserted is stored, indexed and in memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pymilvus import DataType, MilvusClient

from ragcore.errors import StoreCorruptError
from ragcore.filters.predicates import LONGEST_TEXT
from ragcore.types import MISSING_ROW
from ragcore_milvus.columns import Values, add_fields, fields_of, read_value, stored_value
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.connection import MissingError
from ragcore_milvus.sending import Sender

if TYPE_CHECKING:
    from ragcore.types import Rows, Scores, Vectors

__all__ = ["LIMIT", "Collection"]

LIMIT: Final = 16_384
"""The most hits, queries or entities that one request may ask for."""

_REQUEST_BYTES: Final = 8 << 20
"""Of vectors in one request or reply; Milvus refuses 64 MB."""

_HITS_AT_ONCE: Final = 1 << 19
"""In one reply, 12 bytes each, and some 300 in this process."""

_COMPARED_AT_ONCE: Final = 1 << 22
"""Vectors with queries in one request: some tenths of a second, far from any time-out."""

_SETTLED_SECONDS: Final = 600.0
"""Searches wait for the latest writes for so long after a collection was completed.

Afterwards they wait for those up to some seconds ago, which are there without waiting: the wait of
the former is 0.2 s. Much longer than those seconds, since clocks differ.
"""


class Collection:
    """A collection of a name; it may not exist yet."""

    def __init__(self, config: MilvusConfig, name: str, completed: float | None = None) -> None:
        """Connect to nothing yet.

        Args:
            config: how to connect, and how to search.
            name: of the collection.
            completed: when it was, in seconds since 1970; None if it is not.
        """
        self.config = config
        self.name = name
        self.sender = Sender(config, name)
        self.connection = self.sender.connection
        self._kinds = list(config.columns.values())
        self._completed = completed

    def create(self, dim: int) -> None:
        """Create it, for vectors of so many dimensions; nothing where it is there.

        Raises:
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """

        def send(client: MilvusClient, seconds: float) -> None:
            schema = client.create_schema(auto_id=False)
            schema.add_field("row", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
            add_fields(schema, self.config.columns)
            client.create_collection(
                self.name,
                schema=schema,
                num_shards=self.config.shards,
                consistency_level="Strong",
                timeout=seconds,
            )

        self.sender.send("create a collection", send)

    def insert(self, rows: Rows, vectors: Vectors, columns: Sequence[Values] = ()) -> None:
        """Insert vectors [n, d] under rows [n], with n values for each column.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses; some may be there.
        """
        size = max(1, min(_REQUEST_BYTES // vectors[0].nbytes, LIMIT))
        for start in range(0, len(rows), size):
            numbers = rows[start : start + size].tolist()
            block = vectors[start : start + size]
            data = [
                {"row": row, "vector": vector} for row, vector in zip(numbers, block, strict=True)
            ]
            for number, values in enumerate(columns):
                for entity, value in zip(data, values[start : start + size], strict=True):
                    entity.update(stored_value(number, self._kinds[number], value))

            def send(client: MilvusClient, seconds: float, data: Any = data) -> None:
                client.insert(self.name, data, timeout=seconds)

            # Sent again, entities that had arrived would be there twice.
            self.sender.send("insert vectors", send, repeatable=False)

    def complete(self, count: int) -> None:
        """Store all that was inserted, index it, load it, and check that it is there.

        Args:
            count: of entities.

        Raises:
            StoreCorruptError: the collection was dropped, or has another number of entities.
            MemoryUnavailableError: Milvus does not answer, refuses, or takes too long.
        """
        self.sender.flush()
        self.sender.index()
        if self._completed is not None:
            # What was inserted since is loaded without its index, and exchanged some time later.
            self.sender.release()
        self.sender.load()
        self._completed = time.time()
        stored = self.count()
        if stored != count:
            raise StoreCorruptError(
                f"{self} has {stored} entities, not {count}: the connection was lost while they "
                "were written; build again"
            )

    def search(
        self, queries: Vectors, limit: int, expression: str, *, ef: int | None, compared: int = 1
    ) -> tuple[Scores, Rows]:
        """Find the entities of highest inner product with each of queries [B, d].

        Args:
            queries: float32.
            limit: hits per query, at most `LIMIT`.
            expression: a filter; empty for none.
            ef: candidates in a graph; None where all are compared.
            compared: with how many vectors each query is compared at most.

        Returns:
            Scores float32 and rows int64 [B, limit], by falling score, in any order where scores
            are equal; -inf and -1 where there are fewer.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        scores = np.full((len(queries), limit), -np.inf, np.float32)
        rows = np.full((len(queries), limit), MISSING_ROW, np.int64)
        at_once = (
            _HITS_AT_ONCE // limit,
            _REQUEST_BYTES // queries[0].nbytes,
            _COMPARED_AT_ONCE // compared,
        )
        size = max(1, min(*at_once, LIMIT))
        params: dict[str, Any] = {"metric_type": "IP", "params": {} if ef is None else {"ef": ef}}
        for start in range(0, len(queries), size):
            block = queries[start : start + size]

            def send(client: MilvusClient, seconds: float, block: Vectors = block) -> Any:
                return client.search(
                    self.name,
                    data=list(block),
                    anns_field="vector",
                    limit=limit,
                    filter=expression,
                    search_params=params,
                    timeout=seconds,
                    consistency_level=self._consistency,
                )

            for number, hits in enumerate(self.sender.send_loaded("search", send), start):
                scores[number, : len(hits.ids)] = hits.distances
                rows[number, : len(hits.ids)] = hits.ids
        return scores, rows

    def count(self, expression: str = "") -> int:
        """Count the entities that a filter selects.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """

        def send(client: MilvusClient, seconds: float) -> Any:
            return client.query(
                self.name,
                filter=expression,
                output_fields=["count(*)"],
                timeout=seconds,
                consistency_level=self._consistency,
            )

        return int(self.sender.send_loaded("count entities", send)[0]["count(*)"])

    def fetch(self, expression: str, dim: int) -> tuple[Rows, Vectors]:
        """Return the rows [n] that a filter selects, with their vectors [n, d], in any order.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """

        def send(client: MilvusClient, seconds: float) -> Any:
            return client.query(
                self.name,
                filter=expression,
                output_fields=["row", "vector"],
                timeout=seconds,
                consistency_level=self._consistency,
            )

        return _arrays(self.sender.send_loaded("return vectors", send), dim)

    def values(self, expression: str) -> dict[int, list[str | int | None]]:
        """Return the values of the columns by row, of the rows that a filter selects.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        fields = ["row", *fields_of(len(self._kinds))]

        def send(client: MilvusClient, seconds: float) -> Any:
            return client.query(
                self.name,
                filter=expression,
                output_fields=fields,
                timeout=seconds,
                consistency_level=self._consistency,
            )

        return {
            int(entity["row"]): [
                read_value(entity, number, kind) for number, kind in enumerate(self._kinds)
            ]
            for entity in self.sender.send_loaded("return metadata", send)
        }

    def pages(
        self, expression: str, dim: int, *, with_columns: bool = False
    ) -> Iterator[tuple[Rows, Vectors, list[list[str | int | None]]]]:
        """Yield the rows [n] that a filter selects, with their vectors [n, d], some at a time.

        Each with its n lists of values of the columns, or no list without `with_columns`.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """

        kinds = self._kinds if with_columns else []
        # A text may take as much as a vector of some thousand dimensions.
        size = self.at_once(dim + LONGEST_TEXT // 2 * len(kinds))

        def begin(client: MilvusClient, seconds: float) -> Any:
            return client.query_iterator(
                self.name,
                batch_size=size,
                filter=expression,
                output_fields=["row", "vector", *fields_of(len(kinds))],
                timeout=seconds,
                consistency_level=self._consistency,
            )

        iterator = self.sender.send_loaded("return vectors", begin)
        try:
            while entities := self.sender.send("return vectors", lambda _, __: iterator.next()):
                values = [
                    [read_value(entity, number, kind) for number, kind in enumerate(kinds)]
                    for entity in (entities if kinds else ())
                ]
                yield *_arrays(entities, dim), values
        finally:
            iterator.close()

    @staticmethod
    def at_once(dim: int) -> int:
        """Return of how many entities the vectors can be fetched in one request."""
        return max(1, min(_REQUEST_BYTES // (4 * dim), LIMIT))

    def drop(self) -> None:
        """Drop it; nothing where it is not there.

        Raises:
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        try:
            self.connection.request(
                "drop a collection", lambda c, t: c.drop_collection(self.name, timeout=t)
            )
        except MissingError:
            return

    def __str__(self) -> str:
        return str(self.sender)

    @property
    def _consistency(self) -> str:
        recent = self._completed is None or time.time() - self._completed < _SETTLED_SECONDS
        return "Strong" if recent else "Bounded"


def _arrays(entities: Any, dim: int) -> tuple[Rows, Vectors]:
    """Return rows [n] and vectors [n, d] of entities as the client has them."""
    vectors = np.empty((len(entities), dim), np.float32)
    for number, entity in enumerate(entities):
        vectors[number] = entity["vector"]
    return np.array([entity["row"] for entity in entities], np.int64), vectors
