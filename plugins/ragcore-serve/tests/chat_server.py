"""A server of the tests: a real one on a free port of this machine, over a tiny pipeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI
from ragcore_serve import app
from ragcore_serve.batching import Batcher
from ragcore_serve.config import ServeConfig
from ragcore_serve.served import Pipelines, ServedPipeline

from ragcore import Rag
from ragcore.config import RagConfig
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.table_generator import TableGenerator
from tests.helpers.word_encoder import dense_part

QUESTION = "who rules chad"
TITLE = "![x](https://evil.example/x.png) <b>*1*"


def build_store(folder: Path) -> Store:
    store = Store(folder / "store")
    for version, texts in {"v1": ["abc", "cab", "bca"], "v2": ["ba", "bb"]}.items():
        passages = [
            Passage(f"{version}-{n}", TITLE, text, {"n": n, "uri": f"https://example.org/{n}"})
            for n, text in enumerate(texts)
        ]
        store.build(version, passages, dense_part())
    store.activate("v1")
    return store


def make_rag(store: Store, generator: type[TableGenerator] = TableGenerator, **rag: Any) -> Rag:
    return Rag(
        store.open("v1", retriever=dense_part()),
        generator(TableGenerator.Config(sharpness=1.5)),
        RagConfig(**{"k": 3, "max_new_tokens": 4, **rag}),
        store=store,
        retriever=dense_part(),
    )


def make_pipelines(store: Store | None, rag: Rag, name: str = "tiny") -> Pipelines:
    batcher = Batcher(rag, queue=2, streams=2)
    return Pipelines([ServedPipeline(name, rag, batcher, store=store)])


@contextmanager
def served(application: Any, *, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Serve an application on a free port of this machine; yields its address.

    With its life, the pipelines are drained at the end.
    """
    config = uvicorn.Config(application, port=0, log_level="warning", lifespan=lifespan, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def make_app(pipelines: Pipelines, **config: Any) -> FastAPI:
    return app.make_app(pipelines, ServeConfig(**config))
