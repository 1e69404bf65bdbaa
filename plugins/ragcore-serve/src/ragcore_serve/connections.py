"""End connections whose next request does not come, or whose replies nobody reads.

Knows uvicorn's protocol for HTTP/1.1; knows nothing of what a request asks. uvicorn bounds how long
a connection may be idle after a reply. It bounds neither how long before the first request, nor how
long a request's head may take, nor how long the rest of a body may take that was replied to before
it had come, nor how long a reply may wait for a client that does not read it: such clients would
use up the process's files and its memory.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_SECONDS", "UNREAD_SECONDS", "BoundedConnection"]

HEAD_SECONDS: Final = 20.0
"""In which the head of a request must have come, from the connection or from its first byte on; and
in which the rest of a body must have come, from the reply on."""

UNREAD_SECONDS: Final = 60.0
"""In which a client must have read what was sent, once it is more than the transport buffers."""

_REPLIED: Final = (h11.DONE, h11.MUST_CLOSE)


class BoundedConnection(H11Protocol):
    """A connection that ends where the head of a request, or the reading of a reply, takes long."""

    head_seconds: float = HEAD_SECONDS
    unread_seconds: float = UNREAD_SECONDS
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._bound_head()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; more bytes of a head do not give it more time."""
        super().data_received(data)
        self._bound_head()

    def on_response_complete(self) -> None:
        """Wait for the next request, of which a part may have come."""
        super().on_response_complete()
        self._bound_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        super().connection_lost(exc)
        self._end_head_timer()
        self._end_unread_timer()

    def pause_writing(self) -> None:
        """Wait until the client has read on."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._end_unread_timer()

    def _bound_head(self) -> None:
        """Begin to wait where a head is missing, unless that has begun; else wait no longer.

        What is missing of a body that nobody reads, since its reply was sent, counts as the head
        of the next request, which can only come after it.
        """
        unread = self.conn.their_state is h11.SEND_BODY and self.conn.our_state in _REPLIED
        if self.conn.their_state is not h11.IDLE and not unread:
            self._end_head_timer()
        elif self._head_timer is None and (unread or self.timeout_keep_alive_task is None):
            self._head_timer = self.loop.call_later(self.head_seconds, self._end_late)

    def _end_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            # Not `close`, which waits until the client has read what was sent before.
            self.transport.abort()

    def _end_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
