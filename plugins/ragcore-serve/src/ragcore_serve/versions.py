"""Open the versions of a memory that requests name, each in a thread of its own.

Knows which versions are wanted, and how many may be open at a time; knows nothing of questions.
Opening a version may take minutes. Who asks for one waits for it, and nobody else does: it is open
before its questions are computed, and stays open until they are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final

from ragcore.live.served import ServedMemory

__all__ = ["RequestedVersions"]

_MOST: Final = 4
"""Versions that may be open at a time for requests, besides the one that is served."""
_THREADS: Final = 64
"""Each opens one version, or waits until it may."""


@dataclass(eq=False)
class _Wanted:
    """A version that requests wait for or read.

    Attributes:
        opened: its result is what failed, None where it is open.
        callers: how many wait for it or read it.
        counted: whether it is one of the versions that may be open.
        reading: keeps it open.
    """

    opened: Future[Exception | None] = field(default_factory=Future)
    callers: int = 0
    counted: bool = False
    reading: ExitStack = field(default_factory=ExitStack)


class RequestedVersions:
    """The versions that requests of one pipeline name; safe to use from any thread and loop."""

    def __init__(self, memory: ServedMemory) -> None:
        """Open none yet."""
        self._memory = memory
        self._changed = threading.Condition()
        self._wanted: dict[str, _Wanted] = {}
        self._open = 0
        self._threads = ThreadPoolExecutor(_THREADS, "ragcore-versions")

    @asynccontextmanager
    async def reading(self, version: str | None) -> AsyncIterator[None]:
        """Keep a version open inside the block; the served one, for None, is open already.

        Raises:
            StoreError, ConfigError: it cannot be opened.
        """
        if version is None:
            yield
            return
        wanted = self._join(version)
        try:
            # A caller that is cancelled must not cancel what others wait for.
            error = await asyncio.shield(asyncio.wrap_future(wanted.opened))
            if error is not None:
                raise error
            yield
        finally:
            self._leave(version, wanted)

    def close(self) -> None:
        """End the threads when they have opened and closed what they began with."""
        self._threads.shutdown(wait=False)

    def _join(self, version: str) -> _Wanted:
        with self._changed:
            wanted = self._wanted.get(version)
            if wanted is None:
                wanted = self._wanted[version] = _Wanted()
                # In the first caller's context, of whose span it is a part.
                self._threads.submit(copy_context().run, self._enter, version, wanted)
            wanted.callers += 1
            return wanted

    def _leave(self, version: str, wanted: _Wanted) -> None:
        with self._changed:
            wanted.callers -= 1
            if wanted.callers:
                return
            del self._wanted[version]
            self._changed.notify_all()
            if not wanted.opened.done():
                # Its thread closes it.
                return
        try:
            # Not here, in an event loop: to close a large version takes a while.
            self._threads.submit(self._close, wanted)
        except RuntimeError:
            # The threads have ended.
            self._close(wanted)

    def _enter(self, version: str, wanted: _Wanted) -> None:
        """Open a version, once there is room for it, unless all callers have left."""
        with self._changed:
            other = version != self._memory.version
            while wanted.callers and other and self._open >= _MOST:
                self._changed.wait()
            if not wanted.callers:
                return
            wanted.counted = other
            self._open += other
        error = None
        try:
            wanted.reading.enter_context(self._memory.reading(version))
        except Exception as caught:
            error = caught
        with self._changed:
            wanted.opened.set_result(error)
            left = not wanted.callers
        if left:
            self._close(wanted)

    def _close(self, wanted: _Wanted) -> None:
        """Read a version no longer."""
        wanted.reading.close()
        with self._changed:
            self._open -= wanted.counted
            self._changed.notify_all()
