"""A real Milvus in one process, on free ports of this machine; tests may kill and restart it.

Milvus comes as the package `milvus`, which needs older libraries than ragcore has; so it is
installed in an environment of its own. `RAGCORE_TEST_MILVUS` names the folder of that environment,
or the URI of a server that runs already; without it, the folder `milvus` in this environment is
looked for, where `make test-engines` puts it. Knows nothing of the index.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["MilvusServer", "Unavailable", "environment", "running", "uri_of_running"]

_VARIABLE: Final = "RAGCORE_TEST_MILVUS"
_START_SECONDS: Final = 120.0
_SETTINGS: Final = {
    # Where a killed server starts again, it waits until its former sessions are over.
    "common.session.ttl": 5,
    # Its parts tell each other what has changed less often than a test can wait for.
    "dataCoord.segment.assignmentExpiration": 200,
    "proxy.timeTickInterval": 50,
    "queryCoord.checkInterval": 100,
    "queryCoord.distPullInterval": 100,
}
"""Those in which it differs from a standalone Milvus as it comes."""
_SET_DEATH_SIGNAL: Final = 1
"""`PR_SET_PDEATHSIG`: the kernel kills the process when the thread that started it ends."""


class Unavailable(Exception):  # noqa: N818 (the reason of a skipped test)
    """No Milvus can be had here; says why."""


def uri_of_running() -> str | None:
    """Return the URI of a server that the user runs, if one is named."""
    value = os.environ.get(_VARIABLE, "")
    return value if "://" in value else None


def environment() -> Path:
    """Return the Python of the environment in which the package `milvus` is installed.

    Raises:
        Unavailable: there is none.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("the package milvus has a server for Linux alone")
    folder = Path(os.environ.get(_VARIABLE) or Path(sys.prefix) / "milvus")
    python = folder / "bin" / "python"
    if not python.exists() or not list(folder.glob("lib/python*/site-packages/milvus/data/bin")):
        raise Unavailable(f"no Milvus in {folder}: make test-engines installs it")
    return python


class MilvusServer:
    """One Milvus, in one process, with all its files in one folder."""

    def __init__(self, folder: Path, *, authorization: bool = False) -> None:
        self.folder = folder
        self._python = environment()
        self._authorization = authorization
        self._process: subprocess.Popen[bytes] | None = None
        # The client's port and that of its health; chosen at the first start, and kept.
        self._ports: tuple[str, str] = ("", "")

    @property
    def uri(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self._ports[0]}"

    def start(self) -> None:
        """Start it, and wait until it answers; with the data of an earlier start.

        Raises:
            Unavailable: it ends, or does not answer in two minutes.
        """
        self.folder.mkdir(exist_ok=True)
        # One after the other: two that start at the same time would choose the same free ports.
        with (self._python.parents[1] / "starting").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._start()
                self._wait()
            except BaseException:
                self.kill()
                raise

    def _start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._python, __file__, self.folder, str(int(self._authorization))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # An interrupt at the terminal is for the tests, which stop it in order.
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it as a lost machine would be: nothing is written any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it stand still: its connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _wait(self) -> None:
        """Wait until the server says that all its parts are healthy."""
        assert self._process is not None
        ports = self.folder / "ports"
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                log = (self.folder / "server.log").read_text(errors="replace")
                raise Unavailable(f"Milvus ended with {self._process.returncode}: {log[-2000:]}")
            if ports.exists():
                first, *_, last = ports.read_text().split()
                self._ports = first, last
                health = f"http://127.0.0.1:{self._ports[-1]}/healthz"
                with (
                    suppress(urllib.error.URLError, OSError),
                    urllib.request.urlopen(health, timeout=5) as reply,
                ):
                    if b"OK" in reply.read():
                        return
            time.sleep(0.1)
        raise Unavailable(f"Milvus did not answer in {_START_SECONDS:g} s")


@contextmanager
def running(folder: Path, *, authorization: bool = False) -> Iterator[MilvusServer]:
    """Run a Milvus until the block ends; the server is killed then, whatever happened.

    Raises:
        Unavailable: it cannot be installed or started here.
    """
    server = MilvusServer(folder, authorization=authorization)
    server.start()
    try:
        yield server
    finally:
        # What it stored is deleted with the folder: it need not end in order.
        server.kill()


def _free_port(config: Any, first: int) -> int:
    """Return the first port that is free from there on."""
    port, listening = config.resolve_port(first)
    listening.close()
    return int(port)


def _separate_etcd(folder: Path, clients: int, peers: int) -> None:
    """Let the etcd in Milvus listen for its peers on a port that no other one has.

    Milvus's settings have none for it: all servers of a machine would take the same.
    """
    settings = folder / "configs" / "etcd.yaml"
    here = f"http://127.0.0.1:{peers}"
    lines = {
        "listen-client-urls": f"http://127.0.0.1:{clients}",
        "advertise-client-urls": f"http://127.0.0.1:{clients}",
        "listen-peer-urls": here,
        "initial-advertise-peer-urls": here,
        "initial-cluster": f"default={here}",
    }
    settings.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    milvus = folder / "configs" / "milvus.yaml"
    before, after = milvus.read_text().split("\netcd:\n")
    path = f"\netcd:\n  config:\n    path: {settings}\n"
    milvus.write_text((before + path + after).replace("localhost:", "127.0.0.1:"))


def _run(folder: Path, authorization: bool) -> None:
    """Become the server's process; runs in the environment that has the package `milvus`."""
    from milvus import MilvusServerConfig, _initialize_data_files

    # Also if the tests are killed: the signal is kept by exec.
    ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit("the process that started this one has ended")
    programs = Path(sys.prefix) / "milvus-programs"
    programs.mkdir(exist_ok=True)
    # Unpacked once, not for each server.
    _initialize_data_files(str(programs))
    ports = folder / "ports"
    if not ports.exists():
        config = MilvusServerConfig(data_dir=str(folder))
        config.set("authorization_enabled", authorization)
        for key, value in _SETTINGS.items():
            config.set(key, value)
        config.resolve()
        keys = [key for key in config.configurable_items if key.endswith("_port")]
        peers, health = _free_port(config, 24_379), _free_port(config, 9_591)
        _separate_etcd(folder, config.get("etcd_port"), peers)
        chosen = [config.get("proxy_port"), *map(config.get, keys), health]
        (folder / "ports.new").write_text(" ".join(map(str, chosen)))
        (folder / "ports.new").replace(ports)
    os.chdir(folder)
    binary = programs / "bin" / "milvus"
    os.environ |= {
        "DEPLOY_MODE": "STANDALONE",
        "LD_LIBRARY_PATH": str(binary.parent),
        "METRICS_PORT": ports.read_text().split()[-1],
        "MILVUS_RUN_DIR": str(folder / "run"),
    }
    os.execv(binary, [str(binary), "run", "standalone"])


if __name__ == "__main__":
    _run(Path(sys.argv[1]), sys.argv[2] == "1")
