"""Send requests about one collection, and wait for what Milvus does after it replied.

Knows when a collection is stored, indexed and in memory, and what it means that it is missing.
Knows nothing of its entities; `connection.py` knows time-outs and errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pymilvus import MilvusClient

from ragcore.errors import MemoryUnavailableError, StoreCorruptError
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.connection import MissingError, NotLoadedError, connection

__all__ = ["Sender"]

T = TypeVar("T")

_POLL: Final = 0.1


class Sender:
    """Send requests about a collection of a name; it may not exist yet.

    Attributes:
        name: of the collection.
        connection: to its database.
    """

    def __init__(self, config: MilvusConfig, name: str) -> None:
        self._config = config
        self.name = name
        self.connection = connection(config)

    def __str__(self) -> str:
        return f"collection {self.name} of {self.connection.address}"

    def send(
        self, what: str, send: Callable[[MilvusClient, float], T], *, repeatable: bool = True
    ) -> T:
        """Send a request, as `Connection.request` does.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        try:
            return self.connection.request(what, send, repeatable=repeatable)
        except MissingError as missing:
            raise StoreCorruptError(
                f"{missing}{self} is not there: it was dropped, or the pipeline names another "
                "Milvus than the one that this version was built with; set uri and database, or "
                "build again"
            ) from None

    def send_loaded(self, what: str, send: Callable[[MilvusClient, float], T]) -> T:
        """Send a request for which the collection must be loaded; load it where it is not.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        try:
            return self.send(what, send)
        except NotLoadedError:
            self.load()
            return self.send(what, send)

    def flush(self) -> None:
        """Have Milvus write to its storage what it has in memory.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, refuses, or takes too long.
        """
        ends = time.monotonic() + self._config.build_timeout
        while True:
            try:
                self.send("store vectors", lambda c, t: c.flush(self.name, timeout=t))
                return
            except MemoryUnavailableError:
                # It goes on with it, as long as it answers.
                if time.monotonic() > ends or not self.connection.has(self.name):
                    raise

    def index(self) -> None:
        """Have Milvus index the vectors, and wait until all that are stored are.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, refuses, or takes too long.
        """
        config = self._config

        def begin(client: MilvusClient, seconds: float) -> None:
            params = client.prepare_index_params()
            graph = {"M": config.m, "efConstruction": config.ef_construction}
            params.add_index(
                "vector",
                index_type="FLAT" if config.method == "exact" else "HNSW",
                metric_type="IP",
                params={} if config.method == "exact" else graph,
            )
            client.create_index(self.name, params, timeout=seconds, sync=False)

        def state(client: MilvusClient, seconds: float) -> tuple[bool, Any]:
            reply = client.describe_index(self.name, "vector", timeout=seconds)
            if reply["state"] == "Failed":
                raise MemoryUnavailableError(f"{self} cannot be indexed: see the logs of Milvus")
            left = reply["pending_index_rows"]
            return reply["state"] == "Finished" and not left, left

        self.send("index a collection", begin)
        self._wait("index a collection", state)

    def load(self) -> None:
        """Have Milvus load it into memory, and wait for it.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, refuses, or takes too long.
        """

        def begin(client: MilvusClient, seconds: float) -> None:
            client.load_collection(
                self.name, timeout=seconds, replica_number=self._config.replicas, _async=True
            )

        def state(client: MilvusClient, seconds: float) -> tuple[bool, Any]:
            reply = client.get_load_state(self.name, timeout=seconds)
            return getattr(reply["state"], "name", "") == "Loaded", reply.get("progress")

        self.send("load a collection", begin)
        self._wait("load a collection", state)

    def release(self) -> None:
        """Have Milvus remove it from its memory.

        Raises:
            StoreCorruptError: the collection was dropped.
            MemoryUnavailableError: Milvus does not answer, or refuses.
        """
        self.send("release a collection", lambda c, t: c.release_collection(self.name, timeout=t))

    def _wait(self, what: str, state: Callable[[MilvusClient, float], tuple[bool, Any]]) -> None:
        """Wait until a state is reached; the time starts again at each sign of progress."""
        limit = self._config.build_timeout
        ends, before = time.monotonic() + limit, None
        while True:
            reached, progress = self.send(what, state)
            if reached:
                return
            if progress != before:
                ends, before = time.monotonic() + limit, progress
            if time.monotonic() > ends:
                raise MemoryUnavailableError(
                    f"{self.connection.address} did not {what} in {limit:g} s: see its logs, or "
                    "raise build_timeout"
                )
            time.sleep(_POLL)
