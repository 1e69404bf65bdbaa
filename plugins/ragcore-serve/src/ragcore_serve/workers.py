"""Serve by several processes that share one listening socket, and the memory's mapped files.

Knows processes, signals and their environment; knows nothing of HTTP or of what a worker does. A
worker that dies is started again: it loses the requests that it had accepted, and no other. A
worker that dies before it was ready would do so again, and ends the server.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import Any, Final

from ragcore.errors import RagcoreError
from ragcore.process.cpus import usable_cpus
from ragcore_serve.metrics import MULTIPROCESS_FOLDER

__all__ = ["WorkerError", "configure_workers", "supervise"]

_LOG: Final = logging.getLogger("ragcore.serve")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

Target = Callable[..., None]
"""What a worker does: called with the socket, a function to call when it is ready, and `args`."""


class WorkerError(RagcoreError):
    """A worker could not begin to serve; what was wrong it has written itself.

    The server ends with the worker's exit code, as it would without workers: a service
    manager starts it again after a crash, and not after an error that stays.
    """

    def __init__(self, process: SpawnProcess) -> None:
        """Name a process that has ended."""
        super().__init__(
            f"worker {process.pid} ended before it was ready, with exit code "
            f"{process.exitcode}: see what it has written above"
        )
        self.exit_code = max(1, process.exitcode or 1)


def configure_workers(
    workers: int,
    environment: MutableMapping[str, str] = os.environ,
    *,
    cpus: int | None = None,
) -> None:
    """Share the processors among workers, whose threads sleep where they wait.

    OpenMP reads these once, when torch or faiss is loaded: call this before a worker is started.
    What the user has set stays.

    Args:
        workers: how many processes there will be.
        environment: is changed; workers inherit it.
        cpus: how many processors there are; by affinity and the cgroup's quota where None.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not any(name in environment for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        threads = max(1, (usable_cpus() if cpus is None else cpus) // workers)
        environment["OMP_NUM_THREADS"] = str(threads)


def supervise(
    target: Target,
    args: tuple[Any, ...],
    listening: socket.socket,
    workers: int,
    *,
    stop_seconds: float,
    started: Callable[[], None] | None = None,
) -> None:
    """Run workers until SIGTERM or SIGINT; call it in the main thread of a process.

    The signal is passed on to all workers, each of which finishes what it has admitted; a second
    one too. A worker that has not ended in time is killed.

    Args:
        target: what a worker does, in a module that a new process can import.
        args: its further arguments, which are pickled.
        listening: the socket; connections that no worker has accepted outlive any worker.
        workers: how many processes.
        stop_seconds: in which workers must end once they are asked to.
        started: called when all workers are ready for the first time.

    Raises:
        WorkerError: a worker ended before it was ready.
    """
    configure_workers(workers)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ragcore-metrics-"))
        stack.enter_context(_environment(MULTIPROCESS_FOLDER, folder))
        signals = stack.enter_context(_signals())
        crew = _Crew(target, args, listening)
        stack.callback(crew.kill)
        for _ in range(workers):
            crew.start()
        while not (stopping := _next_signal(signals, crew.wait(signals))):
            crew.restart_the_dead()
            if started is not None and crew.ready:
                _LOG.info("%d workers are ready", workers)
                started()
                started = None
        _stop(crew, stopping, signals, stop_seconds)


class _Crew:
    """The workers that run."""

    def __init__(self, target: Target, args: tuple[Any, ...], listening: socket.socket) -> None:
        self._target = target
        self._args = args
        self._listening = listening
        self._context = multiprocessing.get_context("spawn")
        self._starting: dict[SpawnProcess, Connection] = {}
        self._serving: set[SpawnProcess] = set()

    @property
    def ready(self) -> bool:
        """Whether all workers serve."""
        return not self._starting

    @property
    def running(self) -> bool:
        """Whether any worker runs."""
        return bool(self._starting or self._serving)

    def start(self) -> None:
        """Start one more worker."""
        receiving, sending = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(self._target, self._listening, sending, self._args)
        )
        process.start()
        # The worker's end alone stays open, so that its death is the end of the pipe.
        sending.close()
        self._starting[process] = receiving

    def wait(self, signals: socket.socket, timeout: float | None = None) -> bool:
        """Wait until a worker is ready or has ended, or a signal came; return whether one did."""
        processes = [*self._starting, *self._serving]
        events = wait(
            [signals, *self._starting.values(), *(each.sentinel for each in processes)], timeout
        )
        for process, receiving in list(self._starting.items()):
            if receiving in events and _is_ready(receiving):
                self._serving.add(process)
                self._starting.pop(process).close()
        return signals in events

    def restart_the_dead(self) -> None:
        """Start a worker for each that has died.

        Raises:
            WorkerError: one was not ready yet.
        """
        for process in [each for each in self._starting if not each.is_alive()]:
            self._starting.pop(process).close()
            raise WorkerError(process)
        for process in self._bury():
            _LOG.warning(
                "worker %d died with exit code %s: starting another", process.pid, process.exitcode
            )
            self.start()

    def signal(self, number: int) -> None:
        """Send a signal to all workers."""
        for process in [*self._starting, *self._serving]:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, number)

    def forget_the_ended(self) -> None:
        """Forget the workers that have ended, as they were asked to."""
        for process in [each for each in self._starting if not each.is_alive()]:
            self._starting.pop(process).close()
        self._bury()

    def kill(self) -> None:
        """Kill the workers that are left."""
        for process in [*self._starting, *self._serving]:
            process.kill()
            process.join()
        self.forget_the_ended()

    def _bury(self) -> list[SpawnProcess]:
        """Forget the workers that have served and ended, and their gauges; return them."""
        from prometheus_client.multiprocess import mark_process_dead

        dead = [each for each in self._serving if not each.is_alive()]
        for process in dead:
            self._serving.remove(process)
            process.join()
            mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        return dead


def _stop(crew: _Crew, number: int, signals: socket.socket, seconds: float) -> None:
    """Tell all workers to stop, and wait until they have; then kill what is left."""
    crew.signal(number)
    deadline = monotonic() + seconds
    while crew.running and (remaining := deadline - monotonic()) > 0:
        if again := _next_signal(signals, crew.wait(signals, remaining)):
            crew.signal(again)
        crew.forget_the_ended()
    if crew.running:
        _LOG.warning("killing the workers that did not stop within %g s", seconds)


def _work(
    target: Target, listening: socket.socket, sending: Connection, args: tuple[Any, ...]
) -> None:
    """Run a worker, in its process."""
    # A terminal's Ctrl-C goes to its whole group: it is for the supervisor, which passes it on.
    os.setpgid(0, 0)
    threading.Thread(target=_stop_with_the_supervisor, daemon=True).start()

    def ready() -> None:
        sending.send_bytes(b"ready")
        sending.close()

    target(listening, ready, *args)


def _stop_with_the_supervisor() -> None:
    """Tell this process to stop when the one that started it has died."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _is_ready(receiving: Connection) -> bool:
    """Return whether a worker has sent that it is ready; one that has died sends nothing."""
    try:
        receiving.recv_bytes()
    except EOFError:
        return False
    return True


def _next_signal(signals: socket.socket, came: bool) -> int:
    """Return the signal that came; 0 where none did."""
    return signals.recv(1)[0] if came else 0


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Receive the numbers of signals from a socket inside the block."""
    receiving, sending = socket.socketpair()
    sending.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    descriptor = signal.set_wakeup_fd(sending.fileno())
    try:
        yield receiving
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        receiving.close()
        sending.close()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable inside the block, for processes that are started there."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
