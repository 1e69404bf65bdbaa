"""A real server over a real pipeline for a browser, and passages that no page must believe."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import uvicorn
from ragcore_serve.app import make_app
from ragcore_serve.config import ServeConfig
from ragcore_serve.served import PipelineFile, open_pipelines

import ragcore

QUESTION = "Who is the prime minister of Ethiopia?"
ADMIN = "an-admin-token-of-the-tests"
USER = "a-token-of-the-tests"
ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
LINK = "https://en.wikipedia.org/w/index.php?title=Ethiopia&oldid=1234"

ABIY = {
    "id": "et:head",
    "title": "Ethiopia, Executive branch",
    # Characters beyond 16 bits come first: an offset counts characters, not halves of them.
    "text": "🦒🦒 head of government: Prime Minister ABIY Ahmed Ali (since 2 April 2018)",
    "metadata": {"uri": LINK, "revision": 1234, "date": "2025-11-30T10:00:00Z"},
}
HAILEMARIAM = ABIY | {
    "text": "head of government: Prime Minister HAILEMARIAM Desalegn (since 21 September 2012)",
}
BACKGROUND = {
    "id": "et:background",
    "title": "Ethiopia, Background",
    "text": "ABIY Ahmed Ali took office as prime minister of Ethiopia in 2018.",
    "metadata": {"path": "reports/ethiopia.pdf", "page": 3},
}
HOSTILE = {
    "id": ATTACK,
    "title": f"Ethiopia, prime minister {ATTACK}",
    "text": f"The prime minister of Ethiopia \u202ereversed\u202c {ATTACK} met the parliament.",
    "metadata": {"uri": "javascript:document.title='owned'", "heading": ATTACK},
}
VERSIONS = {"2015": [HAILEMARIAM, HOSTILE], "2026": [ABIY, BACKGROUND, HOSTILE]}
PIPELINE = """
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: "2026.jsonl"}
  retriever: {use: bm25}
generator: {use: extractive, model: world-reader}
rag: {marginalize: sequence, decode: joint, k: 3, beams: 2, grounded: true}
"""


def build_pipeline(folder: Path) -> Path:
    """Write a pipeline's file, build its versions, and return the file's path."""
    path = folder / "world.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    for version, passages in VERSIONS.items():
        corpus = folder / f"{version}.jsonl"
        corpus.write_text("\n".join(map(json.dumps, passages)), encoding="utf-8")
        ragcore.build_memory(path, f"memory.corpus.path={json.dumps(str(corpus))}", version=version)
    return path


class Running:
    """A server in a thread of this process."""

    def __init__(self, pipeline: Path, folder: Path, *, user: str | None = None) -> None:
        (folder / "admin").write_text(ADMIN, encoding="utf-8")
        tokens = {"admin_token_file": folder / "admin"}
        if user is not None:
            (folder / "user").write_text(user, encoding="utf-8")
            tokens["token_file"] = folder / "user"
        for path in tokens.values():
            path.chmod(0o600)
        config = ServeConfig(port=0, **tokens)
        self.pipelines = open_pipelines([PipelineFile("world", pipeline)], [], config)
        app = make_app(self.pipelines, config)
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.pipelines.close()
