"""Test that a compacted version answers as its parent, without removed rows and in one segment."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ragcore
from ragcore.contracts import Fragments
from ragcore.errors import (
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
    VersionExistsError,
)
from ragcore.filters.expressions import read_where
from ragcore.store.store import Store
from tests.helpers.shard_project import (
    BM25,
    DENSE,
    FAISS,
    HNSWLIB,
    HYBRID,
    QUESTIONS,
    answers,
    build_shards,
)
from tests.store.test_store import contents

SQ8 = FAISS.format("SQ8, train_size: 60")
IVF = FAISS.format('"IVF4,PQ4x4", train_size: 60, search: {nprobe: 4}')


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let merges and updates leave all segments, as those of large memories."""
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 1)


def fragmented(path: Path, *, training: bool = False) -> Store:
    """Merge three shards, remove nine passages, of which six are replaced, and add one."""
    folder = None
    if training:
        folder = path.parent / "training"
        ragcore.train_index(path, out=folder)
    for number in range(3):
        out = path.parent / "shards"
        ragcore.build_shard(path, number=number, of=3, out=out, training=folder)
    ragcore.merge_shards(path, [out], version="merged")
    lines = [json.loads(line) for line in (path.parent / "passages.jsonl").read_text().splitlines()]
    changes = [{"id": lines[n]["id"], "delete": True} for n in (3, 31, 59)]
    changes += [{**lines[n], "title": f"w{n} new"} for n in (5, 7, 22, 23, 40, 41)]
    changes.append({"id": "p99", "title": "w99", "text": "people", "n": 99})
    (path.parent / "changes.jsonl").write_text("\n".join(map(json.dumps, changes)))
    ragcore.update_memory(path, path.parent / "changes.jsonl", version="updated")
    return Store(path.parent / "store")


@pytest.mark.parametrize(
    "retriever",
    [
        *(DENSE, HYBRID, FAISS.format("Flat"), SQ8, IVF, FAISS.format('"IVF4,Flat"')),
        f"{{use: hybrid, retrievers: [{BM25}, {IVF}]}}",
    ],
)
def test_it_answers_as_its_parent(pipeline: Callable[..., Path], retriever: str) -> None:
    path = pipeline(retriever)
    store = fragmented(path, training="PQ" in retriever or "SQ8" in retriever)
    before = store.fragments()
    apart = retriever == FAISS.format('"IVF4,Flat"')
    assert before is not None
    assert before.removed == 9
    assert before.segments == (2 if "PQ" in retriever else 4)
    compacted = store.compact("compact")
    assert (compacted.parent, compacted.passages, compacted.current) == ("updated", 58, True)
    assert (compacted.parent_segments, compacted.parent_removed) == (before.segments, 9)
    # Lists that were trained apart stay apart.
    assert (compacted.segments, compacted.removed) == (4 if apart else 1, 0)
    assert store.fragments("compact") == Fragments(compacted.segments, 0)
    store.verify("compact")
    where = read_where({"n": {"gte": 25}})
    with (
        ragcore.open_memory(path, version="updated") as parent,
        ragcore.open_memory(path, version="compact", verify=True) as memory,
    ):
        assert list(memory.passages) == list(parent.passages)
        hits, expected = memory.hits(QUESTIONS, 58), parent.hits(QUESTIONS, 58)
        assert hits.scores.tolist() == expected.scores.tolist()
        if retriever in (DENSE, HYBRID, FAISS.format("Flat")):
            assert answers(memory) == answers(parent)
            filtered = [each.hits(QUESTIONS, 7, where=where) for each in (memory, parent)]
            assert filtered[0].rows.tolist() == filtered[1].rows.tolist()


@pytest.mark.parametrize("retriever", [FAISS.format("HNSW8"), HNSWLIB])
def test_a_graph_is_built_again(pipeline: Callable[..., Path], retriever: str) -> None:
    path = pipeline(retriever)
    store = fragmented(path)
    compacted = store.compact("compact", activate=False)
    assert (compacted.segments, compacted.removed, compacted.current) == (1, 0, False)
    with (
        ragcore.open_memory(path, version="updated") as parent,
        ragcore.open_memory(path, version="compact") as memory,
    ):
        questions = [f"w{n}" for n in (0, 5, 40, 58, 99)]
        hits, expected = memory.hits(questions, 58), parent.hits(questions, 58)
        assert np.sort(hits.rows, axis=1).tolist() == [[*range(58)]] * 5
        assert hits.rows[:, 0].tolist() == expected.rows[:, 0].tolist()


def test_only_files_of_the_retriever_are_written(pipeline: Callable[..., Path]) -> None:
    store = fragmented(pipeline())
    store.compact("compact")
    parent, version = (store.folder / "versions" / name for name in ("updated", "compact"))
    shared = [name for name in store.manifest("compact").files if "retriever" not in name]
    assert {"passages.arrow", "passages-3.arrow", "rows.npy"} <= set(shared)
    assert all((version / name).samefile(parent / name) for name in shared)
    with store.open("compact", verify=True) as memory:
        assert len(memory) == 58


def test_a_compact_version_is_left_alone(pipeline: Callable[..., Path]) -> None:
    path = pipeline()
    ragcore.build_memory(path, version="built")
    store = Store(path.parent / "store")
    compacted = store.compact("compact")
    assert compacted.nothing_changed
    assert (compacted.name, compacted.segments) == ("built", 1)
    assert [each.name for each in store.versions()] == ["built"]


def test_a_retriever_without_segments_cannot_be_compacted(pipeline: Callable[..., Path]) -> None:
    path = pipeline(BM25)
    ragcore.merge_shards(path, [build_shards(path, 3)], version="merged")
    store = Store(path.parent / "store")
    assert store.fragments() is None
    with pytest.raises(UnsupportedOperation, match=r"bm25.*compact"):
        store.compact()


def test_a_reader_keeps_the_version_that_it_has_open(pipeline: Callable[..., Path]) -> None:
    path = pipeline(IVF)
    store = fragmented(path, training=True)
    with ragcore.open_memory(path, version="updated") as memory:
        expected = answers(memory)
        store.compact("compact")
        assert store.gc(1).in_use == ("updated",)
        assert answers(memory) == expected
    assert store.gc(1).removed == ("updated",)
    # What the parent had is not needed any more.
    with ragcore.open_memory(path, verify=True) as memory:
        assert len(memory) == 58
        assert answers(memory)[1] == expected[1]


@pytest.mark.parametrize("retriever", [DENSE, SQ8, FAISS.format("HNSW8")])
def test_a_full_disk_leaves_the_parent_alone(pipeline: Callable[..., Path], retriever: str) -> None:
    store = fragmented(pipeline(retriever), training="SQ8" in retriever)
    before = contents(store.folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot be written: .*too large"):
            store.compact("compact")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(store.folder) == before
    assert store.compact("compact").segments == 1


def test_a_damaged_file_is_not_compacted(pipeline: Callable[..., Path]) -> None:
    store = fragmented(pipeline())
    vectors = store.folder / "versions" / "updated" / "retriever" / "index-1" / "vectors.npy"
    raw = bytearray(vectors.read_bytes())
    raw[-3] ^= 1
    vectors.chmod(0o644)
    vectors.write_bytes(raw)
    with pytest.raises(StoreCorruptError, match=r"index-1/vectors\.npy has sha256"):
        store.compact("compact")
    assert {each.name for each in store.versions()} == {"merged", "updated"}
    with pytest.raises(VersionExistsError, match="merged"):
        store.compact("merged")
