"""What goes wrong with a database: it hangs under many threads, is full, or is altered."""

from __future__ import annotations

import gc
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ragcore_pgvector import leases
from ragcore_pgvector.database import database_of
from ragcore_pgvector.passages import PostgresPassages
from ragcore_pgvector.passages_config import PostgresPassagesConfig
from reader import part

from ragcore.errors import MemoryMismatchError, MemoryUnavailableError, StoreCorruptError
from ragcore.memory.memory import Memory
from ragcore.registry.components import ComponentSpec
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.postgres_server import PostgresServer

pytestmark = pytest.mark.engines

NEWS = Changes({"news": Passage("news", "", "news of the day")}, {})
PASSAGES = [Passage(f"p{n}", "", f"text {n} of w{n % 7}") for n in range(20)]


@pytest.fixture
def spec(server: PostgresServer) -> ComponentSpec[Any]:
    return part(server.dsn(), timeout=1)


@pytest.fixture
def store(tmp_path: Path, spec: ComponentSpec[Any], server: PostgresServer) -> Store:
    gc.collect()
    server.execute("drop schema if exists ragcore cascade")
    settings: dict[str, Any] = {"dsn": server.dsn(), "timeout": 1}
    config = PostgresPassagesConfig(**settings)
    passages: ComponentSpec[Any] = ComponentSpec("passages", "postgres", PostgresPassages, config)
    store = Store(tmp_path / "store", passages=passages)
    store.build("one", PASSAGES, spec)
    return store


def seconds_of(memory: Memory, seconds: list[float]) -> Callable[[], None]:
    """Return a function that searches a database which hangs, and notes how long that took."""

    def ask() -> None:
        began = time.monotonic()
        with pytest.raises(MemoryUnavailableError):
            memory.search("text 5", 3)
        seconds.append(time.monotonic() - began)

    return ask


def test_threads_leave_a_server_that_hangs_together(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_PAUSE", -1.0)
    seconds: list[float] = []
    with store.open(retriever=spec) as memory:
        memory.search("text 5", 3)
        with server.frozen():
            threads = [threading.Thread(target=seconds_of(memory, seconds)) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        # One alone needs one, or two to connect; one after the other they would need twelve.
        assert len(seconds) == 6
        assert max(seconds) < 5
        assert memory.search("text 5 of w5", 3)[0].passages[0].id == "p5"


def test_a_lease_that_ends_while_the_server_hangs_stops_no_search(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.build("two", PASSAGES, spec)
    seconds: list[float] = []
    with store.open("one", retriever=spec) as memory:
        memory.search("text 5", 3)
        with store.open("two", retriever=spec) as other:
            other.search("text 5", 3)
        with server.frozen():
            del other
            gc.collect()
            monkeypatch.setattr(leases, "_PAUSE", -1.0)
            thread = threading.Thread(target=seconds_of(memory, seconds), daemon=True)
            thread.start()
            thread.join(20)
            assert not thread.is_alive()
        assert memory.search("text 5 of w5", 3)[0].passages[0].id == "p5"


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("v_", "drop column embedding"),
        ("v_", "rename column row to number"),
        ("ragcore_passages_", "drop column text"),
        (
            "ragcore_passages_",
            "alter column text type text using convert_from(text, 'UTF8')",
        ),
    ],
)
def test_a_table_that_another_program_altered_is_damage(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer, table: str, change: str
) -> None:
    listed = server.execute("select tablename from pg_tables where schemaname = 'ragcore'")
    (name,) = [name for (name,) in listed if name.startswith(table)]
    server.execute(f"alter table ragcore.{name} {change}")
    with pytest.raises(StoreCorruptError, match="by another program"):
        store.verify(retriever=spec)
    with (
        pytest.raises(StoreCorruptError, match="by another program"),
        store.open(retriever=spec) as memory,
    ):
        memory.search("text 5", 3)


@pytest.mark.parametrize(
    "action",
    [
        lambda store, spec: store.open(retriever=spec),
        lambda store, spec: store.verify(retriever=spec),
        lambda store, spec: store.update("two", NEWS, retriever=spec),
        lambda store, spec: store.update("two", NEWS, retriever=spec, activate=False),
        lambda store, spec: store.compact("two", retriever=spec),
        lambda store, spec: store.activate("parent", check=True, retriever=spec),
    ],
    ids=["open", "verify", "update", "update without use", "compact", "activate"],
)
def test_vectors_that_another_program_deleted_are_missed(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer, action: Callable[..., Any]
) -> None:
    store.update("parent", NEWS, retriever=spec)
    before = set(names_of(server))
    name = next(name for name in sorted(before) if name.startswith("v_"))
    # Not the whole table, whose records stay as they are.
    server.execute(f"delete from ragcore.{name} where row = (select min(row) from ragcore.{name})")
    with pytest.raises(StoreCorruptError, match=r"has \d+ rows, expected \d+: another program"):
        action(store, spec)
    assert {each.name for each in store.versions()} == {"one", "parent"}
    gc.collect()
    assert set(names_of(server)) == before


def test_an_update_that_verifies_all_finds_vectors_that_another_program_changed(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    (name,) = [name for name in names_of(server) if name.startswith("v_")]
    server.execute(f"update ragcore.{name} set row = 1000 where row = 3")
    for action in (
        lambda: store.update("two", NEWS, retriever=spec, verify=True),
        lambda: store.compact("two", retriever=spec, verify="full"),
        lambda: store.verify(retriever=spec),
    ):
        with pytest.raises(StoreCorruptError, match=r"was changed: it has 20 rows with digest"):
            action()


def names_of(server: PostgresServer) -> list[str]:
    listed = server.execute("select tablename from pg_tables where schemaname = 'ragcore'")
    return [name for (name,) in listed]


@pytest.mark.parametrize("condition", ["disk_full", "out_of_memory", "too_many_connections"])
def test_a_server_that_is_full_is_not_said_to_be_away(
    spec: ComponentSpec[Any], condition: str
) -> None:
    config: Any = spec.config
    database = database_of(config.index.config)
    pool = database.read(lambda _: database._pool)
    statement = f"do $$ begin raise {condition} using message = 'no space left'; end $$"
    with pytest.raises(MemoryUnavailableError, match="has no room: no space left"):
        database.change(lambda connection: connection.execute(statement.encode()))
    # The other connections are as they were.
    assert database._pool is pool


def test_versions_of_a_database_that_no_longer_exists_can_be_collected(
    store: Store, spec: ComponentSpec[Any], server: PostgresServer
) -> None:
    server.execute("drop schema ragcore cascade")
    store.build("two", PASSAGES, spec)
    # Its passages and its vectors, each with the advice that leads on.
    for _ in range(2):
        with pytest.raises(MemoryMismatchError) as caught:
            store.gc(1, retriever=spec)
        advice = re.search(r"if its database no longer exists, delete (\S+):", str(caught.value))
        assert advice is not None
        shutil.rmtree(advice[1])
    assert store.gc(1, retriever=spec).left == ()
    assert [each.name for each in store.versions()] == ["two"]
    with store.open(retriever=spec) as memory:
        assert memory.search("text 5 of w5", 1)[0].passages[0].id == "p5"
