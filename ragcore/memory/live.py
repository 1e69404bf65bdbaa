"""The handle on the memory that is served now: it is swapped while requests run.

Knows when a version's last reader has left; what a version is, it does not care.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ragcore.errors import StoreError
from ragcore.memory.version import Memory

__all__ = ["LiveMemory"]


@dataclass(slots=True)
class _Held:
    """A memory, how many read it, and whether it has been replaced."""

    memory: Memory
    readers: int = 0
    retired: bool = False


class LiveMemory:
    """One reference to a memory, safe to read and to swap from any thread.

        with live.reading() as memory:
            hits = memory.search(questions, 5)   # the same version until the end

    A memory belongs to the handle once it is given: the handle closes it, when it has been swapped
    out and its last reader has left.
    """

    def __init__(self, memory: Memory) -> None:
        self._held = _Held(memory)
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """The name of the version that a request beginning now would read."""
        return self._held.memory.version

    @contextmanager
    def reading(self) -> Iterator[Memory]:
        """The current memory, which stays open and the same until the context is left.

        Raises:
            StoreError: the handle is closed.
        """
        with self._lock:
            held = self._held
            if held.retired:
                raise self._closed()
            held.readers += 1
        try:
            yield held.memory
        finally:
            with self._lock:
                held.readers -= 1
                last = held.retired and not held.readers
            if last:
                held.memory.close()

    def swap(self, memory: Memory) -> str:
        """Serve another memory from now on; those who read the old one finish with it.

        Returns:
            The version served before.

        Raises:
            StoreError: the handle is closed; the memory given stays the caller's.
        """
        with self._lock:
            old = self._held
            if old.retired:
                raise self._closed()
            if memory is old.memory:
                return memory.version
            self._held = _Held(memory)
            old.retired = True
            unread = not old.readers
        if unread:
            old.memory.close()
        return old.memory.version

    def close(self) -> None:
        """Serve nothing from now on; the memory closes when its last reader has left."""
        with self._lock:
            held = self._held
            if held.retired:
                return
            held.retired = True
            unread = not held.readers
        if unread:
            held.memory.close()

    def _closed(self) -> StoreError:
        return StoreError(
            f"the memory (last version {self._held.memory.version!r}) is closed: load the "
            "pipeline again"
        )
