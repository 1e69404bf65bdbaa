"""Versions other than the served one that requests have asked for, open for the next such request.

Knows which were asked for last; knows nothing of how a version is opened, which is a function that
it calls.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from ragcore.live.handle import LiveMemory
from ragcore.memory.memory import Memory
from ragcore.process.fork import new_lock

__all__ = ["MOST", "OtherVersions"]

MOST: Final = 2
"""So many stay open that nothing reads: each takes memory, and is kept by `gc`."""


class OtherVersions:
    """The versions that were asked for last; safe to use from several threads."""

    def __init__(self, open_version: Callable[[str], Memory]) -> None:
        """Open none yet.

        Args:
            open_version: opens a version by its name.
        """
        self._open_version = open_version
        self._open: OrderedDict[str, LiveMemory] = OrderedDict()
        self._lock = new_lock()
        self._opening = new_lock()

    @contextmanager
    def reading(self, version: str) -> Iterator[Memory]:
        """Read a version until the block ends; a second request waits while it is opened.

        Raises:
            StoreError, ConfigError: it cannot be opened.
        """
        try:
            with ExitStack() as stack:
                memory = self._entered(version, stack)
                if memory is None:
                    with self._opening:
                        memory = self._entered(version, stack)
                        if memory is None:
                            opened = LiveMemory(self._open_version(version))
                            memory = stack.enter_context(opened.reading())
                            with self._lock:
                                self._open[version] = opened
                yield memory
        finally:
            self._release_surplus()

    def release(self, version: str | None = None) -> None:
        """Close a version, or all, when its last reader has left; unknown names are ignored."""
        with self._lock:
            names = list(self._open) if version is None else [version]
            released = [self._open.pop(name) for name in names if name in self._open]
        for live in released:
            live.close()

    def _entered(self, version: str, stack: ExitStack) -> Memory | None:
        """Begin to read a version until the stack unwinds; None where it is not open."""
        with self._lock:
            live = self._open.get(version)
            if live is None:
                return None
            self._open.move_to_end(version)
            # Under the lock, so that it is not released in between.
            return stack.enter_context(live.reading(served=True))

    def _release_surplus(self) -> None:
        """Release, of the versions that nothing reads, all but those that were asked for last."""
        with self._lock:
            unread = [name for name, live in self._open.items() if live.unread]
            released = [self._open.pop(name) for name in unread[:-MOST]]
        for live in released:
            live.close()
