"""The memory of a running pipeline: the live one, and the store that others are opened from.

Knows how a version is opened so that it can be served: verified, by the same retriever, at the same
temperature, and asked once. Who reads it is `live.py`'s, what follows the store is `watching.py`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ragcore.contracts import Retriever
from ragcore.disk.threads import yield_gil
from ragcore.errors import ConfigError
from ragcore.live.handle import LiveMemory
from ragcore.live.watch import Watch
from ragcore.memory.memory import Memory
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.store.store import Store, VersionInfo

__all__ = ["ServedMemory"]


class ServedMemory:
    """What `rag.memory` is; safe to use from several threads."""

    def __init__(
        self,
        memory: Memory,
        store: Store | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        *,
        verify: bool = True,
    ) -> None:
        """Serve an opened version.

        Args:
            memory: belongs to this from now on, and closes with it.
            store: where the other versions are; without it there are none.
            retriever: how they are opened; each version's own record where None.
            verify: whether every file is compared with its sha256 then, or only its size.
        """
        self._live = LiveMemory(memory)
        self._store = store
        self._retriever = retriever
        self._temperature = memory.temperature
        self._verify = verify
        self._swapping = threading.Lock()

    @property
    def version(self) -> str:
        """The name of the version that a request beginning now would read."""
        return self._live.version

    def reading(self) -> AbstractContextManager[Memory]:
        """The memory that is served, open and the same until the context is left."""
        return self._live.reading()

    def versions(self) -> list[VersionInfo]:
        """The versions of the store, by name; see `Store.versions`.

        Raises:
            ConfigError: there is no store.
        """
        return self._from().versions()

    def open(self, version: str) -> Memory:
        """Another version, as it would be served; it is the caller's, to be closed by them.

        Its files are verified, and one question is asked.

        Raises:
            ConfigError: there is no store.
            StoreError: no such version, a corrupt file, or another encoder.
        """
        memory = self._from().open(
            version,
            retriever=self._retriever,
            temperature=self._temperature,
            verify=self._verify,
            low_priority=True,
        )
        try:
            memory.search(["warm up"], 1)
            yield_gil()
        except BaseException:
            memory.close()
            raise
        return memory

    def swap(self, version: str) -> str:
        """Serve another version; see `Rag.swap`. One swap waits for another."""
        with self._swapping:
            memory = self.open(version)
            try:
                old = self._live.swap(memory)
            except BaseException:
                memory.close()
                raise
        registry().hook.ragcore_memory_swapped(old=old, new=version)
        return old

    @contextmanager
    def pinned(self, version: str) -> Iterator[Memory]:
        """Read one version in this thread or task; see `Rag.pinned`."""
        with self._live.pinned() as served:
            if served.version == version:
                yield served
                return
        with self._live.pinned(self.open(version)) as memory:
            yield memory

    def watch(
        self, interval: float = 1.0, *, on_error: Callable[[Exception], object] | None = None
    ) -> Watch:
        """Follow the store's current version: see `Watch`.

        Args:
            interval: seconds between two looks.
            on_error: called with what kept a version from being served.

        Raises:
            ConfigError: there is no store.
        """
        return Watch(self._from(), self.swap, lambda: self.version, interval, on_error)

    def close(self) -> None:
        """Serve nothing from now on; the memory closes when its last reader has left."""
        self._live.close()

    def _from(self) -> Store:
        if self._store is None:
            raise ConfigError(
                f"version {self.version!r} is served without a store, so there is no other: load "
                "a pipeline, or give `store=` to Rag"
            )
        return self._store
