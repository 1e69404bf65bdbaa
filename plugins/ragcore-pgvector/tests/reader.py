"""A program on another host: it follows a store, and searches until it is told to stop.

    python reader.py STORE DSN

Prints `ready`, then, when its input ends, how often it searched, and each version that it has seen.
A hit whose text is not of the version that the answer names is an error; so is any exception.
"""

from __future__ import annotations

import sys
import threading

from ragcore_pgvector.configs import PgvectorConfig
from ragcore_pgvector.index import Pgvector

from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.dense import Dense
from ragcore.store.store import Store
from tests.helpers.word_encoder import NumpyWordEncoder


def part(dsn: str, **settings: object) -> ComponentSpec:
    """Return the spec of a dense retriever over PostgreSQL."""
    config = PgvectorConfig(**{"dsn": dsn, **settings})
    index = ComponentSpec("index", "pgvector", Pgvector, config)
    encoder = ComponentSpec("encoder", "words", NumpyWordEncoder, NumpyWordEncoder.Config())
    return ComponentSpec("retriever", "dense", Dense, Dense.Config(encoder=encoder, index=index))


def main(folder: str, dsn: str) -> None:
    """Search the current version again and again."""
    store, spec = Store(folder), part(dsn)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    memory = store.open(retriever=spec)
    seen, count = [memory.version], 0
    print("ready", flush=True)
    while not ended.is_set():
        current = store.current()
        if current != memory.version:
            newer = store.open(current, retriever=spec)
            memory.close()
            memory = newer
            seen.append(memory.version)
        (result,) = memory.search("news of the day", 5)
        texts = [passage.text for passage in result.passages]
        # Each version has one passage that names it, and it is the best.
        if not texts[0].endswith(f"day {memory.version}"):
            raise AssertionError(f"{memory.version} found {texts}")
        count += 1
    print(count, *seen, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
