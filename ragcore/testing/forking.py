"""A second Python process that forks for each component, with slow libraries imported before.

Importing torch and transformers takes seconds. The second process imports those that the first has
imported, and nothing of a component: each component is imported, and run, by a fork of its own, and
so finds no state of another. Linux only: elsewhere libraries do not all survive a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import IO, Any, Final

__all__ = ["can_fork", "run_forked", "serve"]

_SLOW: Final = ("torch", "transformers")
_lock: Final = Lock()
_server: _Server | None = None


def can_fork() -> bool:
    """Return whether a process that has imported libraries can be forked here."""
    return sys.platform == "linux"


class _Server:
    """The second process, and the environment in which it was started."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            text=True,
        )

    def ask(self, request: Mapping[str, Any]) -> int:
        """Have a fork answer a request, and return its exit status.

        Raises:
            EOFError: the process has ended.
        """
        to, back = self._pipes()
        to.write(json.dumps(request) + "\n")
        to.flush()
        answer = back.readline()
        if not answer:
            raise EOFError("the second process has ended")
        return int(answer)

    def close(self) -> None:
        """End the process, which reads to the end of its input."""
        if self.owner != os.getpid():
            return
        for pipe in self._pipes():
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise EOFError("the second process has no pipes")
        return to, back


def run_forked(
    module: str,
    message: Mapping[str, Any],
    environment: Mapping[str, str],
    folder: Path,
    seconds: int,
) -> tuple[int, str]:
    """Have a fork of the second process carry out a message in a folder.

    Args:
        module: what `python -m` runs, which calls `serve` where its argument is --serve.
        message: what `serve` passes on.
        environment: variables of the second process, which is started again where they differ.
        folder: the fork's working folder.
        seconds: after so many it is ended.

    Returns:
        Its exit status, and what it wrote to standard error.
    """
    global _server
    # pytest sets it again for each test.
    own = {key: value for key, value in environment.items() if key != "PYTEST_CURRENT_TEST"}
    request = {
        "message": message,
        "libraries": [name for name in list(sys.modules) if name.partition(".")[0] in _SLOW],
        "paths": [str(Path(path).absolute()) for path in sys.path],
        "folder": str(folder),
        "seconds": seconds,
    }
    # Its paths may change from one component to the next.
    started = {key: value for key, value in own.items() if key != "PYTHONPATH"}
    with _lock:
        if _server is not None and (_server.owner, _known(_server)) != (os.getpid(), started):
            _server.close()
            _server = None
        if _server is None:
            _server = _Server(module, own)
            atexit.register(_server.close)
        try:
            status = _server.ask(request)
        except (EOFError, OSError):
            # The next component gets a new one.
            _server.close()
            _server = None
            raise
    return status, (folder / "errors.txt").read_text(encoding="utf-8", errors="replace")


def _known(server: _Server) -> dict[str, str]:
    return {key: value for key, value in server.environment.items() if key != "PYTHONPATH"}


def serve(carry_out: Callable[[Mapping[str, Any]], int]) -> None:
    """Fork for each request on standard input, and write the exit status of each fork.

    Args:
        carry_out: what a fork does with the message; its exit status.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a library prints must not be taken for an answer.
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        for name in request["libraries"]:
            # A fork imports what it needs; this only saves time.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        child = os.fork()
        if not child:
            _carry_out(carry_out, request)
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


def _carry_out(carry_out: Callable[[Mapping[str, Any]], int], request: Mapping[str, Any]) -> None:
    """Carry out a request in a fork, and end it."""
    status = 1
    try:
        signal.alarm(request["seconds"])
        os.chdir(request["folder"])
        errors = os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(errors, 2)
        os.dup2(errors, 1)
        sys.path[:] = request["paths"]
        importlib.invalidate_caches()
        status = carry_out(request["message"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # Without the parent's handlers of its end.
        os._exit(status)
