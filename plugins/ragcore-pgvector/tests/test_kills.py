"""Programs that are killed while they compact, update, collect or merge memories in PostgreSQL.

Each is killed at some change of the file system, the n-th in the store's folder. The memory then
answers as before, and what it left goes with the next gc.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ragcore_pgvector.passages import PostgresPassages
from ragcore_pgvector.passages_config import PostgresPassagesConfig
from reader import part

from ragcore.disk.remote import RemotePointer, pointers_below
from ragcore.registry.components import ComponentSpec
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.postgres_server import PostgresServer

pytestmark = pytest.mark.engines

PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(30)]
CHANGES = ("os.rename", "os.mkdir", "os.link", "os.rmdir", "os.remove", "shutil.rmtree")


def news(number: int) -> Changes:
    return Changes({f"n{number}": Passage(f"n{number}", "", f"news {number}")}, {})


def compact(store: Store, spec: ComponentSpec[Any]) -> None:
    store.compact(None, retriever=spec)


def update(store: Store, spec: ComponentSpec[Any]) -> None:
    store.update(None, news(3), retriever=spec)


def collect(store: Store, spec: ComponentSpec[Any]) -> None:
    store.gc(1, retriever=spec)


def killed_at(change: int, folder: Path, action: Callable[[], None]) -> int:
    """Run an action in a process that is killed at a change below a folder; return its status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    count = 0

    def kill(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in CHANGES and str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == change:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(kill)
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@pytest.mark.parametrize(
    ("action", "change"),
    [
        *((compact, change) for change in (1, 4, 9)),
        *((update, change) for change in (2, 7, 12)),
        *((collect, change) for change in (1, 2, 4)),
    ],
)
def test_a_killed_program_loses_nothing_and_leaves_nothing(
    tmp_path: Path,
    server: PostgresServer,
    action: Callable[[Store, ComponentSpec[Any]], None],
    change: int,
) -> None:
    gc.collect()
    server.execute("drop schema if exists ragcore cascade")
    spec = part(server.dsn())
    config = PostgresPassagesConfig(dsn=server.dsn())
    passages: ComponentSpec[Any] = ComponentSpec("passages", "postgres", PostgresPassages, config)
    store = Store(tmp_path / "store", passages=passages)
    store.build("one", PASSAGES, spec)
    for number in (1, 2):
        store.update(f"update-{number}", news(number), retriever=spec)
    status = killed_at(change, store.folder, lambda: action(store, spec))
    assert status == signal.SIGKILL
    # Nothing is in the database that no pointer leads to.
    assert tables(server) <= named(store.folder)
    with store.open(retriever=spec) as memory:
        assert memory.search("text 5 of w5", 1)[0].passages[0].id == "p5"
    store.verify(retriever=spec)
    action(store, spec)
    store.build("last", PASSAGES[:2], spec)
    assert store.gc(1, retriever=spec).left == ()
    assert tables(server) == named(store.folder)


def tables(server: PostgresServer) -> set[str]:
    listed = server.execute("select tablename from pg_tables where schemaname = 'ragcore'")
    return {name for (name,) in listed} - {"identity", "segments"}


def named(folder: Path) -> set[str]:
    return {RemotePointer.read(each).name for each in pointers_below(folder)}
