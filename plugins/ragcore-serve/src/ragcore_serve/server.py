"""Run an app until the process is asked to stop: listen, drain, and end with exit code 0.

Knows uvicorn, sockets and signals; knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from ragcore.errors import ConfigError
from ragcore_serve.config import ServeConfig
from ragcore_serve.connections import BoundedConnection
from ragcore_serve.served import Pipelines

__all__ = ["DrainingServer", "address_of", "listen"]

_LOG: Final = logging.getLogger("ragcore.serve")
_BACKLOG: Final = 2048
_LAST_BYTES_SECONDS: Final = 5
"""In which clients must have read the replies to what was drained."""
_PATIENT_SIGNALS: Final = 2
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        ConfigError: it is in use, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}: choose another "
            "--host or --port; --port 0 takes a free one"
        ) from error


def address_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class DrainingServer(uvicorn.Server):
    """A server that stops in two steps: it takes no more questions, then it ends.

    At the first SIGTERM or SIGINT it is not ready any more, and goes on replying, so that a load
    balancer sees that, until all questions that it admitted have been answered, or the time for it
    is over. A second signal ends what is being computed, each with an error.
    """

    def __init__(
        self,
        app: FastAPI,
        pipelines: Pipelines,
        config: ServeConfig,
        *,
        started: Callable[[], None] | None = None,
    ) -> None:
        """Prepare to run.

        Args:
            app: what replies.
            pipelines: what it serves.
            config: of the server.
            started: called when the server replies.
        """
        super().__init__(
            uvicorn.Config(
                app,
                # Records go where those of ragcore go; requests are logged by the app.
                log_config=None,
                access_log=False,
                http=BoundedConnection,
                server_header=False,
                proxy_headers=False,
                lifespan="on",
                timeout_graceful_shutdown=_LAST_BYTES_SECONDS,
            )
        )
        self._pipelines = pipelines
        self._drain_seconds = config.drain
        self._when_started = started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drains: list[asyncio.Task[None]] = []
        self._signals = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to reply."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started and self._when_started is not None:
            self._when_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while the server runs.

        uvicorn's own raises them again at the end, by which the process would end instead of with
        exit code 0.
        """
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; at the second signal, wait no longer; at the third, drop everything."""
        self._signals += 1
        if self._loop is None or self._signals > _PATIENT_SIGNALS:
            self.force_exit = self.should_exit = True
            return
        self._pipelines.begin_draining()
        seconds = self._drain_seconds if self._signals == 1 else 0.0
        self._loop.call_soon_threadsafe(self._begin_to_drain, seconds)

    def _begin_to_drain(self, seconds: float) -> None:
        # An event loop has no strong reference to its tasks.
        self._drains.append(asyncio.create_task(self._drain(seconds)))

    async def _drain(self, seconds: float) -> None:
        _LOG.info("asked to stop: finishing what was asked, within %g s", seconds)
        try:
            if not await self._pipelines.drain(seconds):
                _LOG.warning(
                    "stopped before all questions were answered: they took longer than %g s",
                    seconds,
                )
        finally:
            self.should_exit = True
