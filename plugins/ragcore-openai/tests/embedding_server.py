"""A small HTTP server with the route /v1/embeddings of OpenAI's API, and faults on demand.

A text's vector depends on the text alone. It is a peer of the encoder that is tested, and shares no
code with it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["KEY", "EmbeddingServer", "Fault", "running", "vector_of"]

DIM = 16
KEY = "sk-very-secret-0123456789"

Fault = Callable[["_Handler", dict[str, Any]], None]
"""Replies in place of the server, with a request that it may look at."""


def vector_of(text: str, dim: int = DIM) -> npt.NDArray[np.float32]:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    drawn = np.random.default_rng(list(digest)).standard_normal(dim)
    return drawn.astype(np.float32)


class EmbeddingServer(ThreadingHTTPServer):
    """Keeps what it was asked.

    Attributes:
        faults: what the next requests get, one each; afterwards vectors.
        always: what every request gets; None for vectors.
        requests: the bodies of all requests.
        ports: of their connections, at the client's end.
        keys: their headers `Authorization`.
        most_at_once: the largest number of requests that were under way together.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.requests: list[dict[str, Any]] = []
        self.ports: list[int] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self.under_way = 0
        self.lock = threading.Lock()
        self.gate: threading.Barrier | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def texts(self) -> list[str]:
        return [text for request in self.requests for text in request["input"]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that gives up breaks its connection."""


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.requests.append(body)
            server.ports.append(self.client_address[1])
            server.keys.append(self.headers["Authorization"])
            server.under_way += 1
            server.most_at_once = max(server.most_at_once, server.under_way)
            fault = server.faults.popleft() if server.faults else server.always
        try:
            if server.gate is not None:
                server.gate.wait(10)
            if fault is not None:
                fault(self, body)
            elif self.path != "/v1/embeddings":
                self.reply(404, {"error": {"message": f"no route {self.path}"}})
            else:
                self.reply(200, {"data": rows(body)})
        finally:
            with server.lock:
                server.under_way -= 1

    def reply(self, status: int, payload: Any, **headers: str) -> None:
        """Reply with JSON, or with bytes as they are."""
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base's name)
        """Log nothing."""


def rows(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a reply, in another order than the texts: `index` says which is whose."""
    dim = body.get("dimensions", DIM)
    texts: Sequence[str] = body["input"]
    made = [
        {"object": "embedding", "index": index, "embedding": vector_of(text, dim).tolist()}
        for index, text in enumerate(texts)
    ]
    return made[::-1]


@contextmanager
def running() -> Iterator[EmbeddingServer]:
    """Run a server in a thread until the block ends."""
    with EmbeddingServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
