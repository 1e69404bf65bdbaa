"""Produce chunks in a thread, a few ahead of where they are needed.

Libraries that unpack release the interpreter's lock, so that several files are unpacked at the same
time while the XML of one is parsed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Final

__all__ = ["AbandonedError", "Pipe", "read_ahead"]

_AHEAD: Final = 8
"""Chunks that are produced before they are needed."""

_PATIENCE: Final = 0.1
"""Seconds after which a producer that waits looks whether its reader has stopped."""


class AbandonedError(Exception):
    """The reader has stopped, so that nothing more is needed."""


class Pipe:
    """A short queue of chunks, from a producer's thread to a reader."""

    def __init__(self, produce: Callable[[Pipe], None]) -> None:
        """Start no thread yet; `produce` is called with the pipe, and calls `put`."""
        self._produce = produce
        self._items: queue.Queue[bytes | Exception | None] = queue.Queue(_AHEAD)
        self._abandoned = threading.Event()

    def put(self, item: bytes | Exception | None) -> None:
        """Add a chunk, waiting for room.

        Raises:
            AbandonedError: the reader has stopped.
        """
        while not self._abandoned.is_set():
            try:
                self._items.put(item, timeout=_PATIENCE)
                return
            except queue.Full:
                continue
        raise AbandonedError

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks; what the producer raises is raised here."""
        thread = threading.Thread(target=self._run, name="ragcore-wikipedia", daemon=True)
        thread.start()
        try:
            while (item := self._items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self._abandoned.set()
            thread.join()

    def _run(self) -> None:
        try:
            try:
                self._produce(self)
                self.put(None)
            except AbandonedError:
                raise
            # Whatever it is, the reader must not wait for ever; it raises it in its own thread.
            except Exception as error:
                self.put(error)
        except AbandonedError:
            return


def read_ahead(chunks: Generator[bytes, None, None]) -> Iterator[bytes]:
    """Yield the chunks of a generator, which runs in a thread and is closed at the end."""

    def produce(pipe: Pipe) -> None:
        try:
            for chunk in chunks:
                pipe.put(chunk)
        finally:
            chunks.close()

    yield from Pipe(produce)
