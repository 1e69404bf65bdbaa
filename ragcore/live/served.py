"""The memory of a running pipeline: the handle on it, and the store that others are opened from.

Knows how a version is opened to be served: verified, with the same retriever, at the same
temperature, and warmed up by one search. Knows nothing of who reads it (handle.py does) or of when
the store changes (watch.py does).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from ragcore.contracts import Retriever
from ragcore.disk.threads import yield_gil
from ragcore.errors import ConfigError, StoreError
from ragcore.live.handle import LiveMemory
from ragcore.live.others import OtherVersions
from ragcore.live.watch import Watch
from ragcore.memory.memory import Memory
from ragcore.process.fork import new_lock
from ragcore.process.log_fields import fields
from ragcore.registry.components import ComponentSpec
from ragcore.registry.discovery import registry
from ragcore.store.opening import ask_once
from ragcore.store.store import Store, Verify, VersionInfo

__all__ = ["ServedMemory"]

_LOG: Final = logging.getLogger("ragcore.memory")


class ServedMemory:
    """The memory that a `Rag` serves, as `rag.memory`; safe to use from several threads."""

    def __init__(
        self,
        memory: Memory,
        store: Store | None = None,
        retriever: ComponentSpec[Retriever] | None = None,
        *,
        verify: Verify = "sampled",
        pinned: bool = False,
        on_served: Callable[[Memory], object] = lambda memory: None,
    ) -> None:
        """Serve an opened version.

        Args:
            memory: belongs to this object from now on, and closes with it.
            store: where other versions are; None where there are none.
            retriever: how other versions are opened; each version's own record where None.
            verify: what of them is compared with its sha256; see `Store.open`.
            pinned: whether the version was chosen by name, so that `watch` does not replace it.
            on_served: called with the memory that is served after another one was closed, since no
                request reads that any more.
        """
        self._live = LiveMemory(memory, on_closed=self._another_closed)
        self._on_served = on_served
        self._store = store
        self._retriever = retriever
        self._temperature = memory.temperature
        self._verify = verify
        self._pinned = pinned
        self._swapping = new_lock()
        # The store's version that a watch or an activation has served, or tried to, last.
        self._followed: str | None = None
        self._others = OtherVersions(self.open)

    @property
    def version(self) -> str:
        """The name of the version that a request beginning now would read."""
        return self._live.version

    @contextmanager
    def reading(self, version: str | None = None) -> Iterator[Memory]:
        """Read the memory that is served, which stays open and the same until the block ends.

        Args:
            version: another to read. It is opened like one that is to be served, and the two that
                were asked for last stay open until `release`, or until the pipeline is closed.

        Raises:
            StoreError: the pipeline is closed, or the version cannot be opened.
            ConfigError: the version is not the one that is served, and there is no store.
        """
        if version is None:
            with self._live.reading() as memory:
                yield memory
            return
        # Entered for another version too: a closed pipeline reads none.
        with self._live.reading(served=True) as served:
            if served.version == version:
                yield served
                return
        with self._others.reading(version) as memory:
            yield memory

    def release(self) -> None:
        """Close the versions that requests have asked for, when their last readers have left.

        `gc` keeps a version as long as it is open.
        """
        self._others.release()

    def versions(self) -> list[VersionInfo]:
        """List the versions of the store, by name; see `Store.versions`.

        Raises:
            ConfigError: there is no store.
        """
        return self._store_to_open().versions()

    def open(self, version: str) -> Memory:
        """Open another version as it would be served; the caller closes it.

        Its files are verified, and one search warms it up.

        Raises:
            ConfigError: there is no store.
            StoreError: no such version, a damaged file, or another encoder.
        """
        started, began = time.time_ns(), time.perf_counter()
        memory = self._store_to_open().open(
            version,
            retriever=self._retriever,
            temperature=self._temperature,
            verify=self._verify,
            low_priority=True,
        )
        try:
            ask_once(memory)
            yield_gil()
        except BaseException:
            memory.close()
            raise
        seconds = time.perf_counter() - began
        _LOG.info(
            "opened version %r: %d passages, %.2f s",
            version,
            len(memory),
            seconds,
            extra=fields(event="open", version=version, passages=len(memory), seconds=seconds),
        )
        registry().hook.ragcore_timed(
            stage="open", started=started, seconds=seconds, questions=0, memory=version
        )
        return memory

    def swap(self, version: str) -> str:
        """Serve another version; see `Rag.swap`. A second swap waits for the first."""
        with self._swapping:
            return self._serve(self.open(version))

    def _follow(self, version: str) -> bool:
        """Serve a version as the store's current one; return whether another was served before.

        Nothing changes where the store has another current version by now, which may be one that
        this pipeline has activated meanwhile: the next look of a watch sees that.
        """
        with self._swapping:
            if self._store_to_open().current() != version:
                return False
            self._followed = version
            if version == self._live.served:
                return False
            self._serve(self.open(version))
            return True

    def activate(self, version: str) -> str:
        """Make a version the store's current one, and serve it; see `Rag.activate`."""
        store = self._store_to_change("activate")
        with self._swapping:
            memory = self.open(version)
            try:
                store.activate(version)
            except BaseException:
                memory.close()
                raise
            old = self._serve(memory)
            self._followed = version
            return old

    def rollback(self) -> str:
        """Go back to the store's version before, and serve it; see `Rag.rollback`."""
        store = self._store_to_change("roll back")
        with self._swapping:
            target = store.previous()
            # Opened before the store changes: where that fails, nothing has.
            memory = None if target is None else self.open(target)
            try:
                _, current = store.rollback()
            except BaseException:
                if memory is not None:
                    memory.close()
                raise
            if memory is not None and current != target:
                # Another program changed the store meanwhile.
                memory.close()
                memory = None
            self._serve(memory or self.open(current))
            self._followed = current
        return current

    def _serve(self, memory: Memory) -> str:
        """Serve an opened version from now on, or close it; return the one served before."""
        try:
            old = self._live.swap(memory)
        except BaseException:
            memory.close()
            raise
        new = memory.version
        # It has just been opened once more.
        self._others.release(new)
        _LOG.info(
            "swapped version %r for %r", old, new, extra=fields(event="swap", old=old, new=new)
        )
        registry().hook.ragcore_memory_swapped(old=old, new=new)
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

        A version that the pipeline names (`memory.version`) stays: it is not replaced.

        Args:
            interval: seconds between two looks at the store.
            on_error: called with the error when a version cannot be served.

        Raises:
            ConfigError: there is no store.
        """
        store = self._store_to_open()
        # The first look serves the store's current version, also after a `swap`.
        self._followed = None
        return Watch(
            store,
            self._follow,
            lambda: self._followed,
            lambda: self._live.served,
            interval,
            on_error,
            pinned=self._pinned,
        )

    def close(self) -> None:
        """Serve nothing from now on; the memory closes when its last reader has left."""
        self._live.close()
        self._others.release()

    def _another_closed(self) -> None:
        """Call `on_served` with the current memory, unless the pipeline was closed meanwhile."""
        with ExitStack() as stack:
            try:
                memory = stack.enter_context(self._live.reading(served=True))
            except StoreError:
                return
            self._on_served(memory)

    def _store_to_open(self) -> Store:
        """Return the store, which there must be."""
        if self._store is None:
            raise ConfigError(
                f"version {self.version!r} is served without a store, so there is no other: load "
                "a pipeline, or give `store=` to Rag"
            )
        return self._store

    def _store_to_change(self, what: str) -> Store:
        """Return the store, whose current version this pipeline serves.

        Raises:
            ConfigError: there is no store, or the pipeline does not follow it.
            StoreError: the pipeline is closed.
        """
        store = self._store_to_open()
        if self._pinned:
            raise ConfigError(
                f"cannot {what}: this pipeline serves version {self._live.served!r} because "
                "memory.version names one, so it would not follow the store: leave memory.version "
                "out, or serve another version here alone, with swap"
            )
        with self._live.reading(served=True):
            return store
