"""Follow a store: serve each version that becomes the current one, in a thread of its own.

Knows when to look and what to do about failures; knows nothing of how a version is served, which
is a function that it calls.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Self

from ragcore.errors import StoreError
from ragcore.process.fork import call_in_child, new_lock
from ragcore.store.store import Store

__all__ = ["RETRY", "Watch"]

RETRY: Final = 60.0
"""Seconds after which a version that could not be served is tried again."""

_LOG: Final = logging.getLogger("ragcore.memory")


class Watch:
    """Serve the store's current version, whenever that changes.

        with rag.memory.watch():
            serve_requests()

    If a version cannot be served, the one before it goes on serving. The error is logged as one of
    `ragcore.memory` and passed to `on_error`; the version is tried again after a minute, or another
    as soon as it becomes current. A version that was chosen by `rag.swap` is served until the
    store's current version changes; one that `memory.version` names stays.
    """

    def __init__(
        self,
        store: Store,
        follow: Callable[[str], bool],
        followed: Callable[[], str | None],
        served: Callable[[], str],
        interval: float = 1.0,
        on_error: Callable[[Exception], object] | None = None,
        *,
        pinned: bool = False,
    ) -> None:
        """Look at the store once, and start a thread that goes on looking.

        Args:
            store: its current version is served.
            follow: serves a version, unless the store has another current one by then, or it is
                served already; returns whether it did.
            followed: returns the store's version that was followed last, by a watch or by
                activating it. A watch that compared the store with its own last look alone would
                miss that another program goes back to the version of that look.
            served: returns the version that is served.
            interval: seconds between two looks at the store.
            on_error: called with each error: here, and in the watch's thread.
            pinned: whether the version that is served was chosen by name: then it stays.
        """
        self._store = store
        self._follow = follow
        self._followed = followed
        self._served = served
        self._interval = interval
        self._on_error = on_error
        self._pinned = pinned
        if pinned:
            _LOG.warning(
                "version %r stays, since memory.version names it: leave memory.version out to "
                "follow the store's current version",
                served(),
            )
        self._failed_at: float | None = None
        self._looking = new_lock()
        self._stopped = threading.Event()
        self._look_and_report()
        self._start()
        call_in_child(self._restart)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop watching; return when a running swap has ended."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def look(self) -> str | None:
        """Look at the store once, and serve its current version if that has changed.

        Returns:
            The version that is now served, or None if nothing has changed.

        Raises:
            StoreError: the store's current version cannot be read, or cannot be served.
        """
        if self._pinned:
            return None
        with self._looking:
            # Before the store is read: an activation between the two is no change to follow.
            followed = self._followed()
            current = self._store.current()
            again = self._failed_at is not None and time.monotonic() - self._failed_at >= RETRY
            if current is None or (current == followed and not again):
                return None
            self._failed_at = None
            try:
                return current if self._follow(current) else None
            except BaseException:
                self._failed_at = time.monotonic()
                raise

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._look_often, name="ragcore-watch", daemon=True)
        self._thread.start()

    def _restart(self) -> None:
        """Go on watching in a forked child, which has no copy of the thread."""
        if not self._stopped.is_set():
            self._stopped = threading.Event()
            self._start()

    def _look_often(self) -> None:
        """Look at the store every `interval` seconds until stopped."""
        while not self._stopped.wait(self._interval):
            self._look_and_report()

    def _look_and_report(self) -> None:
        """Look at the store once; log an error, and let the version before go on serving."""
        try:
            self.look()
        except Exception as error:
            # A StoreError explains itself; any other error needs its traceback.
            _LOG.error(
                "version %r goes on serving: %s",
                self._served(),
                error,
                exc_info=not isinstance(error, StoreError),
            )
            if self._on_error is not None:
                self._on_error(error)
