"""Following a store: what is made its current version is served, in a thread of its own.

Knows when to look and what to do about failure; how a version is served it is told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Self

from ragcore.errors import StoreError
from ragcore.store.store import Store

__all__ = ["RETRY", "Watch"]

RETRY: Final = 60.0
"""Seconds after which a version that could not be served is tried again."""

_LOG: Final = logging.getLogger("ragcore.memory")


class Watch:
    """Serves what the store says is current, whenever it says something new.

        with rag.memory.watch():
            serve_requests()

    A version that cannot be served leaves the one before it serving. That is logged as an error of
    `ragcore.memory`, told to `on_error`, and tried again after a minute, or when the store says
    another. A version that was chosen by `rag.swap` is served until the store says something new.
    """

    def __init__(
        self,
        store: Store,
        swap: Callable[[str], object],
        served: Callable[[], str],
        interval: float = 1.0,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        """Look once, and go on looking in a thread.

        Args:
            store: whose current version is served.
            swap: serves a version.
            served: the version that is served.
            interval: seconds between two looks.
            on_error: called with what went wrong: here, and in the watch's thread.
        """
        self._store = store
        self._swap = swap
        self._served = served
        self._interval = interval
        self._on_error = on_error
        self._seen: str | None = None
        self._failed_at: float | None = None
        self._looking = threading.Lock()
        self._stopped = threading.Event()
        self._try()
        self._thread = threading.Thread(target=self._follow, name="ragcore-watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop watching; returns when a swap that is under way has ended."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def look(self) -> str | None:
        """Look once, and serve what is new; the version that is served since, or None.

        Raises:
            StoreError: the store's current version cannot be told, or served.
        """
        with self._looking:
            current = self._store.current()
            again = self._failed_at is not None and time.monotonic() - self._failed_at >= RETRY
            if current is None or (current == self._seen and not again):
                return None
            self._seen, self._failed_at = current, None
            if current == self._served():
                return None
            try:
                self._swap(current)
            except BaseException:
                self._failed_at = time.monotonic()
                raise
            return current

    def _follow(self) -> None:
        while not self._stopped.wait(self._interval):
            self._try()

    def _try(self) -> None:
        """Look once; what goes wrong is told, and the version before serves on."""
        try:
            self.look()
        except Exception as error:
            told = f"version {self._served()!r} is served on: {error}"
            # A fault of the store's is told in words; any other with where it happened.
            _LOG.error(told, exc_info=not isinstance(error, StoreError))
            if self._on_error is not None:
                self._on_error(error)
