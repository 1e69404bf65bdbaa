"""The example of replicas: an exchange mixes nothing, and a replica that ends loses no question."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ragcore
from ragcore.registry.discovery import registry
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers.postgres_server import PostgresServer, postgres_server
from tests.helpers.word_encoder import dense_part

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "replicas"
WORDS = ["memory.retriever.encoder={use: words, dim: 64}", "memory.temperature=1"]
# Only passages that an edition has of its own, so that a mixture cannot pass unseen.
DATED = "rag.where={field: Executive branch}"

ready_made = pytest.mark.skipif(
    not (files("ragcore_world") / "reader" / "config.json").is_file(),
    reason="this checkout has no trained reader",
)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The example's modules, imported as it runs from its folder."""
    monkeypatch.syspath_prepend(EXAMPLE)
    names = ("copies", "load", "servers", "run")
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    import copies
    import load
    import run
    import servers

    yield SimpleNamespace(copies=copies, load=load, run=run, servers=servers)
    for name in names:
        del sys.modules[name]
    sys.modules.update(others)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install an encoder without weights, for this process and those that it starts."""
    site = tmp_path / "site-packages"
    info = site / "ragcore_words-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ragcore-words\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ragcore]\nwords = tests.helpers.word_encoder\n")
    paths = [str(site), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.syspath_prepend(site)
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    pytest.importorskip("ragcore_pgvector")
    pytest.importorskip("psycopg")
    with postgres_server() as server:
        monkeypatch.setenv("RAG_DSN", server.dsn())
        yield server


nginx_needed = pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="no nginx here",
)


@pytest.mark.engines
@ready_made
@nginx_needed
def test_the_example_exchanges_and_kills_and_loses_nothing(
    example: SimpleNamespace,
    words: None,
    server: PostgresServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--dsn", server.dsn(), "--folder", str(tmp_path), "--clients", "2"]
    assert example.run.main([*arguments, *WORDS, DATED]) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "behind nginx" in printed
    for date in example.run.DATES:
        assert re.search(rf"[1-9]\d* from {date}", printed)
    assert "0 lost, 0 with passages of two versions" in printed
    # No passage and no vector is in the folder that hosts share.
    assert example.copies.folder_bytes(tmp_path / "store") < 50_000


@pytest.mark.engines
@ready_made
@nginx_needed
@pytest.mark.parametrize("kind", ["files", "postgres"])
def test_replicas_of_one_store_drain_and_come_back(
    kind: str,
    example: SimpleNamespace,
    words: None,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, servers = example.run, example.servers
    overrides = [f"memory.store={tmp_path / 'store'}", *WORDS, DATED]
    if kind == "postgres":
        server = request.getfixturevalue("server")
        overrides += ["memory.retriever.index.timeout=2"]
    else:
        monkeypatch.setenv("RAG_DSN", "unused")
        overrides += ["memory.passages=null", "memory.retriever={use: bm25}"]
        overrides.remove(WORDS[0])
    ragcore.build_memory(run.PIPELINE, *overrides, run.corpus("2016-11"), version="2016-11")
    with (
        servers.Replica(run.PIPELINE, *overrides, log=tmp_path / "first.log") as first,
        servers.Replica(run.PIPELINE, *overrides, log=tmp_path / "second.log") as second,
    ):
        first.wait_until_ready()
        second.wait_until_ready()
        with (
            servers.balancer(tmp_path, [first.port, second.port]) as address,
            example.load.Load([address], run.QUESTIONS, 2) as load,
        ):
            load.wait(4)
            # Another process's change of the one folder is what both follow.
            newer = [*overrides, run.corpus("2018-12")]
            ragcore.update_memory(run.PIPELINE, overrides=newer, version="2018-12")
            run.follow((first, second), "2018-12")
            load.wait(4)
            assert second.terminate() == 0
            assert second.ready() == (0, None)
            load.wait(4)
            counted = run.report(load.replies)
            assert (counted.lost, counted.mixed, counted.broken_off) == ([], [], 0)
            assert set(counted.versions) == {"2016-11", "2018-12"}
            if kind == "postgres":
                second.start()
                second.wait_until_ready()
                falls_silent_and_comes_back(servers.until, server, load, [first, second])


def falls_silent_and_comes_back(
    until: Callable[[Callable[[], bool], str], None],
    server: PostgresServer,
    load: Any,
    replicas: Any,
) -> None:
    """The database ends and starts again: clients and `/readyz` learn it, nobody else need act."""
    server.stop()
    load.wait(2, lambda reply: reply.status in (502, 503))
    for replica in replicas:
        until(lambda replica=replica: replica.ready()[0] == 503, "say that it is not ready")
    server.restart()
    for replica in replicas:
        until(lambda replica=replica: replica.ready() == (200, "2018-12"), "be ready again")
    later = load.wait(4, lambda reply: reply.status == 200)
    assert {reply.status for reply in later} <= {200, 502, 503}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for version in ("one", "two"):
        passages = [Passage(f"p{n}", "", f"text {n} of {version}") for n in range(5)]
        store.build(version, passages, dense_part())
    return store


def found(folder: Path) -> str:
    with Store(folder).open(retriever=dense_part()) as memory:
        (result,) = memory.search("text 3", 1)
        return f"{memory.version}: {result.passages[0].text}"


def test_a_copy_that_is_killed_serves_what_it_served(
    example: SimpleNamespace, store: Store, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    store.activate("one")
    example.copies.copy_store(store.folder, copy, os.link)
    store.build("three", [Passage("new", "", "text 3 of three")], dense_part())
    left = 0

    def limited(source: str, target: str) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        shutil.copy2(source, target)

    count = sum(path.is_file() for path in (store.folder / "versions" / "three").rglob("*"))
    assert count > 3
    for copied in range(count):
        left = copied
        with pytest.raises(KeyboardInterrupt):
            example.copies.copy_store(store.folder, copy, limited)
        assert found(copy) == "one: text 3 of one"
    example.copies.copy_store(store.folder, copy)
    assert found(copy) == "three: text 3 of three"
    assert Store(copy).verify("three").broken is None
    assert Store(copy).rollback()[1] == "one"


def versions(folder: Path) -> set[str]:
    return {each.name for each in (folder / "versions").iterdir()}


def test_a_copy_loses_what_gc_deletes(
    example: SimpleNamespace, store: Store, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    example.copies.copy_store(store.folder, copy)
    store.build("three", [Passage("new", "", "text 3 of three")], dense_part())
    removed = store.gc(1).removed
    example.copies.copy_store(store.folder, copy)
    assert removed
    assert versions(copy) == versions(store.folder) == {"one", "two", "three"} - {*removed}


def test_a_report_counts_what_is_lost_and_what_is_mixed(example: SimpleNamespace) -> None:
    reply, report = example.load.Reply, example.run.report
    old, new = (
        next(iter(sorted(example.run.passages_of(date) - example.run.passages_of(other))))
        for date, other in (example.run.DATES, reversed(example.run.DATES))
    )
    right = reply("?", 200, "2016-11", "", (old,))
    mixed = reply("?", 200, "2018-12", "", (new, old))
    lost = reply("?", 502)
    counted = report([right, mixed, lost, reply("?", 0, broken_off=True)])
    assert (counted.mixed, counted.lost, counted.broken_off) == ([mixed], [lost], 1)
    assert counted.versions == {"2016-11": 1, "2018-12": 1}


@nginx_needed
def test_nginx_accepts_the_site_of_replicas(example: SimpleNamespace, tmp_path: Path) -> None:
    command = example.servers.nginx_command(tmp_path, [8001, 8002], 8080)
    done = subprocess.run([*command, "-t"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10.0.0" not in (tmp_path / "nginx.conf").read_text("utf-8")
