"""Replicas, each a process of `ragcore serve`, and nginx in front of them.

Knows how they are started and ended; knows nothing of what they are asked.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["NGINX", "Replica", "balancer", "nginx_command", "until"]

SITE: Final = Path(__file__).resolve().parents[2] / "plugins/ragcore-serve/deploy/replicas.conf"
NGINX: Final = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""The program; None where it is not installed."""
SECONDS: Final = 120.0
"""Until a process has started or ended."""


class Replica:
    """One process that serves a pipeline on a port of 127.0.0.1."""

    def __init__(
        self,
        pipeline: Path,
        *overrides: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Choose a port; nothing is started yet.

        Args:
            pipeline: its YAML file.
            overrides: changes to it, and options of `ragcore serve`.
            log: a file, to which its log is added.
            environment: added to that of this process.
        """
        self.port = _free_port()
        self._command = [
            *(sys.executable, "-m", "ragcore", "serve", str(pipeline), *overrides),
            *("--port", str(self.port), "--interval", "0.1"),
        ]
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """Where it can be asked."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and do not wait."""
        with self._log.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
            )

    def wait_until_ready(self) -> None:
        """Wait until it can be asked.

        Raises:
            RuntimeError: it has ended; the message is its log.
        """
        assert self.process is not None
        assert self.process.stdout is not None
        # It prints where it listens when the memory and the model are loaded.
        line = self.process.stdout.readline()
        if self.address not in line:
            self.process.wait(SECONDS)
            raise RuntimeError(line + self._log.read_text(encoding="utf-8"))

    def ready(self) -> tuple[int, str | None]:
        """Return the status of `/readyz`, 0 without a reply, and the version that is served."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            versions = json.loads(response.read()).get("versions", {})
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
        return response.status, next(iter(versions.values()), None)

    def kill(self) -> None:
        """End it as a loss of power would."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=SECONDS)

    def terminate(self) -> int:
        """Ask it to stop; return its exit code when it has answered what it was asked."""
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=SECONDS)
        return self.process.returncode

    def __enter__(self) -> Replica:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()


def until(holds: Callable[[], bool], what: str) -> None:
    """Ask again and again, until something holds.

    Raises:
        TimeoutError: it did not, for two minutes.
    """
    end = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not in {SECONDS:.0f} s: {what}")


def nginx_command(folder: Path, ports: Sequence[int], port: int) -> list[str]:
    """Write the site for replicas on these ports of 127.0.0.1; return how nginx is started."""
    assert NGINX is not None
    site = SITE.read_text("utf-8").replace("listen 8080", f"listen 127.0.0.1:{port}")
    for number, replica in enumerate(ports, start=1):
        site = site.replace(f"server 10.0.0.{number}:8000", f"server 127.0.0.1:{replica}")
    folders = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "" if os.geteuid() else "user root;"
    head = f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}}"
    file = folder / "nginx.conf"
    file.write_text(f"{head} http {{ access_log off; {folders} {site} }}", "utf-8")
    return [NGINX, "-p", str(folder), "-c", str(file)]


@contextmanager
def balancer(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run nginx in front of two replicas until the block ends; yields its address."""
    port = _free_port()
    with (folder / "nginx.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(nginx_command(folder, ports, port), stderr=log)

    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError((folder / "nginx.log").read_text(encoding="utf-8"))
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        until(listens, "nginx listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(SECONDS)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
