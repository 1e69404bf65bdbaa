"""Memories in Milvus through the store and the command line: built, updated, dropped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from memories import PASSAGES, collections, dense_part, named
from pymilvus import MilvusClient
from ragcore_milvus.config import MilvusConfig
from ragcore_milvus.index import Milvus

from ragcore.cli import main
from ragcore.disk.remote import RemotePointer, pointers_below
from ragcore.errors import CorpusError, StoreCorruptError
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers.hybrid import Hybrid
from ragcore.store.diff import Changes
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.helpers import word_encoder

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("plugins")]

PIPELINE = """\
ragcore: 1
memory:
  store: store
  corpus: {{use: jsonl, path: rows.jsonl}}
  retriever:
    use: dense
    encoder: {{use: words}}
    index: {{use: milvus, uri: "{uri}", database: {database}, timeout: 5}}
"""


def ids(store: Store, question: str, version: str | None = None) -> list[str]:
    with store.open(version) as memory:
        (result,) = memory.search(question, 5)
        return [each.id for each in result.passages]


def test_versions_are_built_updated_rolled_back_and_dropped(
    uri: str, database: str, tmp_path: Path
) -> None:
    part = dense_part(uri, database)
    store, plain = Store(tmp_path / "store"), Store(tmp_path / "plain")
    changed = [Passage("p0", "", "a new text of w0"), Passage("p99", "", "one more text of w3")]
    changes = Changes({each.id: each for each in changed}, {"p8": "changes.jsonl:3"})
    for each, spec in ((store, part), (plain, word_encoder.dense_part())):
        each.build("one", PASSAGES, spec)
        each.update("two", changes, retriever=spec)
    for version in ("one", "two"):
        for question in ("text 3 of w3", "a new text of w0", "w1"):
            assert ids(store, question, version) == ids(plain, question, version)
        store.verify(version)
    assert collections(uri, database) == named(store.folder)
    assert "p0" in ids(store, "a new text of w0")
    store.rollback()
    assert ids(store, "a new text of w0") == ids(plain, "a new text of w0", "one")
    store.activate("two")
    assert store.gc(1).removed == ("one",)
    assert collections(uri, database) == named(store.folder)
    assert ids(store, "a new text of w0") == ids(plain, "a new text of w0", "two")


def failing() -> Iterator[Passage]:
    yield from PASSAGES
    raise CorpusError("rows.jsonl:41: it ends within a row")


def test_a_build_that_fails_leaves_no_collection(uri: str, database: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(CorpusError, match="within a row"):
        store.build("one", failing(), dense_part(uri, database), batch=8)
    assert not collections(uri, database)


def test_what_a_killed_build_has_left_is_dropped_by_gc(
    uri: str, database: str, tmp_path: Path
) -> None:
    program = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from memories import PASSAGES, dense_part
from ragcore.store.store import Store
def passages():
    yield from PASSAGES
    os.kill(os.getpid(), signal.SIGKILL)
Store(Path(sys.argv[4])).build("one", passages(), dense_part(sys.argv[2], sys.argv[3]), batch=8)
"""
    folder = tmp_path / "store"
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", program, here, uri, database, str(folder)]
    run = subprocess.run(command, cwd=Path(__file__).parents[3], check=False, timeout=120)
    assert run.returncode == -signal.SIGKILL
    store = Store(folder)
    assert collections(uri, database) == named(folder) != set()
    store.gc(1, retriever=dense_part(uri, database))
    assert not collections(uri, database)
    assert not named(folder)


def test_a_collection_that_was_dropped_behind_our_back_is_named(
    uri: str, database: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, dense_part(uri, database))
    (name,) = named(store.folder)
    with store.open("one") as memory:
        client = MilvusClient(uri, db_name=database)
        client.drop_collection(name)
        client.close()
        with pytest.raises(StoreCorruptError, match=f"{name} of Milvus at .*not there"):
            memory.search("text 3", 2)
    with pytest.raises(StoreCorruptError, match=name):
        store.verify("one")


def test_members_of_one_retriever_are_in_different_databases(
    uri: str, database: str, tmp_path: Path
) -> None:
    client = MilvusClient(uri)
    other = f"{database}_other"
    client.create_database(other)
    members = [dense_part(uri, name) for name in (database, other)]
    both = ComponentSpec("retriever", "hybrid", Hybrid, Hybrid.Config(retrievers=members))
    store = Store(tmp_path / "store")
    try:
        store.build("one", PASSAGES, both, check=True)
        assert store.verify("one", retriever=both).passages == len(PASSAGES)
        store.build("two", PASSAGES[:3], word_encoder.dense_part())
        assert store.gc(1, retriever=both).remote == 2
        assert not collections(uri, database) | collections(uri, other)
    finally:
        inside = MilvusClient(uri, db_name=other)
        for collection in inside.list_collections():
            inside.drop_collection(collection)
        inside.close()
        client.drop_database(other)
        client.close()


def test_a_pointer_to_a_strangers_collection_leads_nowhere(
    uri: str, database: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, dense_part(uri, database))
    (folder,) = pointers_below(store.folder)
    pointer = RemotePointer.read(folder)
    RemotePointer(pointer.kind, pointer.use, "customers", pointer.details).write(folder)
    config = MilvusConfig(uri=uri, database=database)
    for use in (Milvus.drop, Milvus.load):
        with pytest.raises(StoreCorruptError, match="'customers' is no collection of vectors"):
            use(folder, config)


def test_a_collection_that_was_changed_is_seen_by_verify(
    uri: str, database: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.build("one", PASSAGES, dense_part(uri, database))
    (name,) = named(store.folder)
    client = MilvusClient(uri, db_name=database)
    (entity,) = client.query(name, filter="row == 3", output_fields=["row", "vector"])
    entity["vector"][0] += 1
    client.upsert(name, [entity])
    client.close()
    with pytest.raises(StoreCorruptError, match="digest"):
        store.verify("one")


def test_all_commands_of_a_memory_work(
    uri: str,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(PIPELINE.format(uri=uri, database=database), encoding="utf-8")

    def run(*words: str) -> str:
        assert main(list(words)) == 0, capsys.readouterr()
        return capsys.readouterr().out

    def write(passages: list[Passage]) -> None:
        rows = [json.dumps({"id": each.id, "text": each.text}) for each in passages]
        Path("rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")

    write(PASSAGES)
    run("memory", "build", "p.yaml", "--version", "one")
    write([*PASSAGES[1:], Passage("new", "", "a lake in w5")])
    run("memory", "update", "p.yaml", "--version", "two")
    assert "new" in run("search", "p.yaml", "a lake in w5", "--json")
    run("memory", "verify", "p.yaml")
    run("memory", "rollback", "p.yaml")
    assert '"new"' not in run("search", "p.yaml", "a lake in w5", "--json")
    assert collections(uri, database) == named(Path("store"))
    run("memory", "activate", "p.yaml", "two")
    run("memory", "gc", "p.yaml", "--keep", "1")
    assert collections(uri, database) == named(Path("store"))
