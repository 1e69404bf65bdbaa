"""A server that is lost, stands still or refuses: clear errors in time, and nothing left over."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from memories import PASSAGES, collections, dense_part, named, vectors
from milvus_server import MilvusServer, Unavailable, environment, running
from pymilvus import MilvusClient
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.index import Milvus

from ragcore.errors import MemoryMismatchError, MemoryUnavailableError, StoreCorruptError
from ragcore.store.store import Store
from ragcore.types import Hits, Passage

TOKEN = "root:Milvus"
"""Of the user that each Milvus with authorization has at first."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server of this module alone, which its tests may kill."""
    try:
        environment()
        with running(tmp_path_factory.mktemp("milvus") / "server") as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def saved(server: MilvusServer, folder: Path, **settings: object) -> Milvus:
    """Return a loaded index of 300 vectors."""
    folder.mkdir()
    config = MilvusConfig(uri=server.uri, **settings)
    index = Milvus(config, dim=16)
    index.add(np.arange(300), vectors(300))
    index.save(folder)
    return Milvus.load(folder, config)


def found_again(index: Milvus, queries: npt.NDArray[np.float32]) -> Hits:
    """Search until it is answered, at most for a minute."""
    end = time.monotonic() + 60
    while True:
        try:
            return index.search(queries, 5)
        except MemoryUnavailableError:
            assert time.monotonic() < end, "nothing is found any more"


def test_a_server_that_cannot_be_reached_is_named_in_time(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "root:geheim")
    config = MilvusConfig(uri=address, token="root:geheim", timeout=0.5)
    began = time.monotonic()
    with pytest.raises(MemoryUnavailableError, match=f"Milvus at {address} did not") as raised:
        Milvus(config, dim=16).add(np.arange(3), vectors(3))
    assert time.monotonic() - began < 10
    assert "geheim" not in str(raised.value)
    store = Store(tmp_path / "store")
    with pytest.raises(MemoryUnavailableError):
        store.build("one", PASSAGES, dense_part(address, timeout=0.5))
    assert not named(store.folder)


@pytest.mark.engines
def test_threads_survive_a_server_that_is_killed_and_started_again(
    own: MilvusServer, tmp_path: Path
) -> None:
    index = saved(own, tmp_path / "saved", timeout=3)
    queries = vectors(4, seed=1)
    expected = index.search(queries, 5)
    errors: list[Exception] = []
    wrong: list[Hits] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                hits = index.search(queries, 5)
            except MemoryUnavailableError as error:
                errors.append(error)
            else:
                if not np.array_equal(hits.rows, expected.rows):
                    wrong.append(hits)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    own.kill()
    with pytest.raises(MemoryUnavailableError):
        index.search(queries, 5)
    own.start()
    # Within the time that a server needs to load its collections again.
    assert np.array_equal(found_again(index, queries).rows, expected.rows)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert errors
    Milvus.drop(tmp_path / "saved", index._config)


@pytest.mark.engines
def test_a_server_that_stands_still_is_waited_for_once_more(
    own: MilvusServer, tmp_path: Path
) -> None:
    index = saved(own, tmp_path / "saved", timeout=1)
    queries = vectors(4, seed=1)
    expected = index.search(queries, 5)
    own.pause()
    try:
        began = time.monotonic()
        with pytest.raises(MemoryUnavailableError, match="did not search"):
            index.search(queries, 5)
        assert 1.5 < time.monotonic() - began < 6
    finally:
        own.resume()
    assert np.array_equal(found_again(index, queries).rows, expected.rows)
    Milvus.drop(tmp_path / "saved", index._config)


@pytest.mark.engines
def test_threads_that_connect_to_a_server_which_stands_still_fail_together(
    own: MilvusServer, tmp_path: Path
) -> None:
    index = saved(own, tmp_path / "saved", timeout=1)
    index._collection.connection.close()
    queries = vectors(4, seed=1)
    seconds: list[float] = []

    def ask() -> None:
        began = time.monotonic()
        with pytest.raises(MemoryUnavailableError):
            index.search(queries, 5)
        seconds.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    own.pause()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        own.resume()
    # One alone needs one; one after the other they would need eight.
    assert len(seconds) == 8
    assert max(seconds) < 5
    found_again(index, queries)
    Milvus.drop(tmp_path / "saved", index._config)


@pytest.mark.engines
def test_an_index_that_another_program_dropped_is_damage(own: MilvusServer, tmp_path: Path) -> None:
    index = saved(own, tmp_path / "saved")
    client = MilvusClient(own.uri)
    name = index._collection.name
    client.release_collection(name)
    # Where it was only released, it is loaded again.
    assert index.search(vectors(1), 1).rows[0, 0] == 0
    client.release_collection(name)
    client.drop_index(name, "vector")
    client.close()
    for action in (lambda: index.search(vectors(1), 1), lambda: index.check(full=True)):
        with pytest.raises(StoreCorruptError, match=f"the index of collection {name}.*dropped"):
            action()
    Milvus.drop(tmp_path / "saved", index._config)


@pytest.mark.engines
@pytest.mark.usefixtures("plugins")
def test_a_server_that_is_lost_during_a_build_leaves_nothing_behind(
    own: MilvusServer, tmp_path: Path
) -> None:
    before = collections(own.uri, "")
    store = Store(tmp_path / "store")
    part = dense_part(own.uri, timeout=2)

    def passages() -> Iterator[Passage]:
        yield from PASSAGES[:24]
        own.kill()
        yield from PASSAGES[24:]

    with pytest.raises(MemoryUnavailableError):
        store.build("one", passages(), part, batch=8)
    assert not store.versions()
    # The pointer stays, so that what could not be dropped is dropped later.
    (name,) = named(store.folder)
    own.start()
    end = time.monotonic() + 60
    while name not in collections(own.uri, ""):
        assert time.monotonic() < end
    store.gc(1, retriever=part)
    assert collections(own.uri, "") == before
    store.build("one", PASSAGES, part, batch=8)
    with store.open() as memory:
        assert memory.search("text 3 of w3", 1)[0].passages[0].id == "p3"
    assert collections(own.uri, "") == before | named(store.folder)


@pytest.mark.engines
def test_another_database_is_not_mistaken_for_the_one_of_the_pointer(
    own: MilvusServer, uri: str, tmp_path: Path
) -> None:
    index = saved(own, tmp_path / "saved")
    elsewhere = MilvusConfig(uri=uri)
    with pytest.raises(MemoryMismatchError, match="is not the database"):
        Milvus.drop(tmp_path / "saved", elsewhere)
    with pytest.raises(StoreCorruptError, match="another Milvus"):
        Milvus.load(tmp_path / "saved", elsewhere).search(vectors(1), 1)
    assert index._collection.name in collections(own.uri, "")
    assert Milvus.drop(tmp_path / "saved", index._config)
    # A second time there is nothing to do.
    assert Milvus.drop(tmp_path / "saved", index._config)


@pytest.mark.engines
def test_a_token_is_used_and_is_nowhere_to_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        environment()
    except Unavailable as reason:
        pytest.skip(str(reason))
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MILVUS_TOKEN", TOKEN)
    monkeypatch.setenv("WRONG_TOKEN", "root:geheim")
    with running(tmp_path / "server", authorization=True) as server:
        index = saved(server, tmp_path / "saved", token=TOKEN)
        assert index.search(vectors(1), 1).rows[0, 0] == 0
        wrong = MilvusConfig(uri=server.uri, token="root:geheim", timeout=3)
        with pytest.raises(MemoryUnavailableError, match="and the token") as raised:
            Milvus.load(tmp_path / "saved", wrong).search(vectors(1), 1)
        with pytest.raises(MemoryUnavailableError, match="token"):
            Milvus.drop(tmp_path / "saved", wrong)
        with pytest.raises(MemoryUnavailableError, match="token"):
            Milvus.drop(tmp_path / "saved", MilvusConfig(uri=server.uri, timeout=3))
    written = [path.read_text() for path in (tmp_path / "saved").iterdir()]
    for text in (*written, repr(index._config), caplog.text, str(raised.value)):
        assert TOKEN not in text
        assert "geheim" not in text
