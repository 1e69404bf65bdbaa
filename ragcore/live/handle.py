"""The handle on the memory that is served: it is swapped while requests run.

Knows when a version's last reader has left; knows nothing of where versions come from (served.py
does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ragcore.errors import StoreError
from ragcore.memory.memory import Memory
from ragcore.process.fork import new_lock

__all__ = ["LiveMemory"]


@dataclass(slots=True)
class _Counted:
    """A memory, how many read it, and whether it closes when the last of them leaves."""

    memory: Memory
    readers: int = 0
    retired: bool = False


_PINNED: Final[ContextVar[Mapping[LiveMemory, _Counted]]] = ContextVar(
    "ragcore_pinned", default=MappingProxyType({})
)
"""What this thread or task reads instead of the current memory, by handle."""


class LiveMemory:
    """One reference to a memory, safe to read and to swap from any thread.

        with live.reading() as memory:
            results = memory.search(questions, 5)   # the same version until the end

    A memory that is passed to the handle belongs to it: the handle closes it when it has been
    swapped out and its last reader has left.
    """

    def __init__(self, memory: Memory, *, on_closed: Callable[[], object] = lambda: None) -> None:
        """Begin with a memory.

        Args:
            memory: see the class.
            on_closed: called after a memory that was swapped out, or pinned, was closed.
        """
        self._current = _Counted(memory)
        self._on_closed = on_closed
        self._lock = new_lock()

    @property
    def version(self) -> str:
        """The name of the version that a request beginning now would read."""
        return _PINNED.get().get(self, self._current).memory.version

    @property
    def served(self) -> str:
        """The name of the version that is served, whatever this thread or task has pinned."""
        return self._current.memory.version

    @property
    def unread(self) -> bool:
        """Whether nothing reads the current memory."""
        return not self._current.readers

    @contextmanager
    def reading(self, *, served: bool = False) -> Iterator[Memory]:
        """Read the current memory, or the pinned one; it stays open until the block ends.

        Args:
            served: read the current one, whatever this thread or task has pinned.

        Raises:
            StoreError: the handle is closed, or the pinned memory is.
        """
        counted = self._enter(None if served else _PINNED.get().get(self))
        try:
            yield counted.memory
        finally:
            self._leave(counted)

    @contextmanager
    def pinned(self, memory: Memory | None = None) -> Iterator[Memory]:
        """Let this thread or task, and those that it starts, read one memory until the block ends.

        Swaps meanwhile do not affect them, and other threads and tasks read what they read before.

        Args:
            memory: which; the current one where None. One that is passed belongs to the handle,
                and closes after the block, when its last reader has left.

        Raises:
            StoreError: the handle is closed.
        """
        counted = self._enter(None if memory is None else _Counted(memory))
        token = _PINNED.set({**_PINNED.get(), self: counted})
        try:
            yield counted.memory
        finally:
            _PINNED.reset(token)
            if memory is not None:
                counted.retired = True
            self._leave(counted)

    def swap(self, memory: Memory) -> str:
        """Serve another memory from now on; readers of the old one finish with it.

        Returns:
            The version served before.

        Raises:
            StoreError: the handle is closed; the memory passed stays the caller's.
        """
        with self._lock:
            old = self._current
            if old.retired:
                raise self._closed(old)
            if memory is old.memory:
                return memory.version
            self._current = _Counted(memory)
            old.retired = True
            unread = not old.readers
        if unread:
            old.memory.close()
            self._on_closed()
        return old.memory.version

    def close(self) -> None:
        """Serve nothing from now on; the memory closes when its last reader has left."""
        with self._lock:
            current = self._current
            if current.retired:
                return
            current.retired = True
            unread = not current.readers
        if unread:
            current.memory.close()

    def _enter(self, counted: _Counted | None) -> _Counted:
        """Count one more reader of a memory; of the current one where None."""
        with self._lock:
            counted = counted or self._current
            # A pinned memory may have been swapped out; it is read on until its block has ended.
            if counted.retired and (counted is self._current or not counted.readers):
                raise self._closed(counted)
            counted.readers += 1
            return counted

    def _leave(self, counted: _Counted) -> None:
        """Count one reader less, and close a retired memory after its last."""
        with self._lock:
            counted.readers -= 1
            unread = counted.retired and not counted.readers
        if unread:
            counted.memory.close()
            if counted is not self._current:
                self._on_closed()

    def _closed(self, counted: _Counted) -> StoreError:
        version = counted.memory.version
        if counted is self._current:
            return StoreError(f"the memory (last version {version!r}) is closed: load it again")
        return StoreError(
            f"version {version!r} was pinned, and the block that pinned it has ended: begin "
            "requests for it inside the block, and wait for them there"
        )
