"""The handle on the memory that is served now: it is swapped while requests run.

Knows when a version's last reader has left; what a version is, and where others come from, it does
not care (`serving.py` does).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ragcore.errors import StoreError
from ragcore.memory.memory import Memory

__all__ = ["LiveMemory"]


@dataclass(slots=True)
class _Held:
    """A memory, how many read it, and whether it is to close with the last of them."""

    memory: Memory
    readers: int = 0
    retired: bool = False


_PINNED: Final[ContextVar[Mapping[LiveMemory, _Held]]] = ContextVar(
    "ragcore_pinned", default=MappingProxyType({})
)
"""What this thread or task reads instead of what is served, by handle."""


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
        return _PINNED.get().get(self, self._held).memory.version

    @contextmanager
    def reading(self) -> Iterator[Memory]:
        """The current memory, which stays open and the same until the context is left.

        The pinned one inside `pinned`.

        Raises:
            StoreError: the handle is closed, or what was pinned is.
        """
        held = self._enter(_PINNED.get().get(self))
        try:
            yield held.memory
        finally:
            self._leave(held)

    @contextmanager
    def pinned(self, memory: Memory | None = None) -> Iterator[Memory]:
        """Let this thread or task, and those that it starts, read one memory until the end.

        What is swapped meanwhile does not matter to it, and what others read does not change.

        Args:
            memory: which; the one that is served now where None. One that is given belongs to the
                handle, and closes at the end, when its last reader has left.

        Raises:
            StoreError: the handle is closed.
        """
        held = self._enter(None if memory is None else _Held(memory))
        before = _PINNED.set({**_PINNED.get(), self: held})
        try:
            yield held.memory
        finally:
            _PINNED.reset(before)
            if memory is not None:
                held.retired = True
            self._leave(held)

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
                raise self._closed(old)
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

    def _enter(self, held: _Held | None) -> _Held:
        """Count one reader more, of what is served where None."""
        with self._lock:
            held = held or self._held
            # What is pinned has been swapped out, maybe, and is read until its block has ended.
            if held.retired and (held is self._held or not held.readers):
                raise self._closed(held)
            held.readers += 1
            return held

    def _leave(self, held: _Held) -> None:
        with self._lock:
            held.readers -= 1
            last = held.retired and not held.readers
        if last:
            held.memory.close()

    def _closed(self, held: _Held) -> StoreError:
        version = held.memory.version
        if held is self._held:
            return StoreError(f"the memory (last version {version!r}) is closed: load it again")
        return StoreError(
            f"version {version!r} was pinned, and the block that pinned it has ended: begin what "
            "reads it inside, and wait for it there"
        )
