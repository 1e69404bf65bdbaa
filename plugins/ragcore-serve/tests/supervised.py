"""A server of two workers without HTTP: each replies with what it knows, one client at a time."""

from __future__ import annotations

import os
import signal
import socket
import sys


def work(listening: socket.socket, ready, mode: str) -> None:
    if mode == "broken":
        raise SystemExit(2)
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    listening.settimeout(0.05)
    ready()
    while not stopping:
        try:
            client, _ = listening.accept()
        except TimeoutError:
            continue
        with client, client.makefile("rw") as lines:
            names = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "PROMETHEUS_MULTIPROC_DIR")
            print(os.getpid(), *(os.environ[name] for name in names), file=lines, flush=True)
            # The client decides when it has been answered.
            if lines.readline():
                print("done", file=lines, flush=True)


if __name__ == "__main__":
    from ragcore_serve.workers import supervise

    from ragcore.errors import RagcoreError

    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        try:
            supervise(
                work,
                (sys.argv[1],),
                server,
                2,
                stop_seconds=float(sys.argv[2]),
                started=lambda: print("ready", flush=True),
            )
        except RagcoreError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
