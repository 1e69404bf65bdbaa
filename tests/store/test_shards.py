"""Test that merged shards are the memory that one build makes, whatever index or retriever."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ragcore_faiss.index import Faiss

import ragcore
from ragcore.errors import (
    VersionExistsError,
)
from ragcore.filters.expressions import read_where
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.store import Store
from ragcore.testing import RetrieverSuite, examine
from tests.helpers.shard_project import (
    BM25,
    DENSE,
    FAISS,
    HNSWLIB,
    HYBRID,
    QUESTIONS,
    answers,
    build_shards,
    files,
    write_corpus,
)
from tests.helpers.word_encoder import dense_part


@pytest.mark.parametrize("retriever", [DENSE, BM25, HYBRID, FAISS.format("Flat")])
@pytest.mark.parametrize("of", [1, 3, 7])
def test_merged_shards_answer_as_one_build(
    pipeline: Callable[..., Path], retriever: str, of: int
) -> None:
    path = pipeline(retriever)
    ragcore.build_memory(path, version="whole")
    out = build_shards(path, of)
    merged = ragcore.merge_shards(path, [out], version="merged")
    assert (merged.passages, merged.current) == (60, True)
    with (
        ragcore.open_memory(path, version="whole") as whole,
        ragcore.open_memory(path, version="merged", verify=True) as memory,
    ):
        assert list(memory.passages) == list(whole.passages)
        assert answers(memory) == answers(whole)


@pytest.mark.parametrize(
    "retriever",
    [*(FAISS.format(name) for name in ("HNSW8", '"IVF4,Flat"', "SQ8", '"IVF4,PQ4x4"')), HNSWLIB],
)
def test_approximate_indexes_stay_segments(pipeline: Callable[..., Path], retriever: str) -> None:
    path = pipeline(retriever)
    merged = ragcore.merge_shards(path, [build_shards(path, 3)], version="merged")
    folder = path.parent / "store" / "versions" / "merged" / "retriever"
    assert sorted(each.name for each in folder.iterdir() if each.is_dir()) == [
        *("index", "index-1", "index-2")
    ]
    counts = [info.passages for info in Store(path.parent / "shards").versions()]
    shifts = json.loads((folder / "dense.json").read_text())["shifts"]
    assert shifts == [0, counts[0], counts[0] + counts[1]]
    with ragcore.open_memory(path) as memory:
        hits = memory.hits([f"w{n}" for n in (3, 25, 59)], merged.passages)
        assert np.sort(hits.rows, axis=1).tolist() == [list(range(60))] * 3
        assert hits.rows[:, 0].tolist() == [3, 25, 59]


def test_a_merged_bm25_has_the_files_of_one_build(pipeline: Callable[..., Path]) -> None:
    path = pipeline(BM25)
    ragcore.build_memory(path, version="whole")
    ragcore.merge_shards(path, [build_shards(path, 4)], version="merged")
    store, own = path.parent / "store", [f"passages{end}" for end in ("", "-1", "-2", "-3")]
    merged, whole = files(store, "merged"), files(store, "whole")
    for name in own:
        merged.pop(f"{name}.arrow")
    whole.pop("passages.arrow")
    assert merged == whole


def test_an_update_of_merged_shards_answers_as_a_build(pipeline: Callable[..., Path]) -> None:
    path = pipeline(HYBRID)
    ragcore.merge_shards(path, [build_shards(path, 3)], version="merged")
    lines = (path.parent / "passages.jsonl").read_text().splitlines()
    lines = [line for number, line in enumerate(lines) if number not in (2, 21, 22, 59)]
    lines.append(json.dumps({"id": "new", "title": "w7", "text": "people of the lake", "n": 0}))
    (path.parent / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ragcore.update_memory(path, version="updated")
    ragcore.build_memory(path, version="whole")
    with (
        ragcore.open_memory(path, version="updated") as updated,
        ragcore.open_memory(path, version="whole") as whole,
    ):
        assert answers(updated) == answers(whole)
        for condition in ({"n": {"gte": 25}}, {"n": {"lt": 45}}):
            where = read_where(condition)
            hits = [memory.hits(QUESTIONS, 7, where=where) for memory in (updated, whole)]
            assert hits[0].rows.tolist() == hits[1].rows.tolist()


@pytest.mark.parametrize(
    "retriever", [*(FAISS.format(name) for name in ("HNSW8", '"IVF4,Flat"', "SQ8")), HNSWLIB]
)
def test_an_update_removes_and_adds_in_any_segment(
    pipeline: Callable[..., Path], retriever: str
) -> None:
    path = pipeline(retriever)
    ragcore.merge_shards(path, [build_shards(path, 3)], version="merged")
    lines = (path.parent / "passages.jsonl").read_text().splitlines()
    lines = [line for number, line in enumerate(lines) if number not in (2, 30, 31, 59)]
    lines.append(json.dumps({"id": "new", "title": "w99", "text": "people", "n": 0}))
    (path.parent / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    updated = ragcore.update_memory(path, version="updated")
    assert (updated.added, updated.removed, updated.passages) == (1, 4, 57)
    exact = ["memory.store=exact", "memory.retriever.index={use: exact}"]
    ragcore.build_memory(path, *exact)
    questions = ["w3", "w29", "w32", "w53", "w99"]
    with ragcore.open_memory(path) as memory, ragcore.open_memory(path, *exact) as whole:
        hits, expected = (each.hits(questions, 57) for each in (memory, whole))
        assert np.sort(hits.rows, axis=1).tolist() == [list(range(57))] * 5
        assert hits.rows[:, 0].tolist() == expected.rows[:, 0].tolist()
        assert expected.rows[-1, 0] == 56


def test_files_are_shared_by_hard_links(
    pipeline: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if there were more rows than are joined.
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 1)
    path = pipeline()
    out = build_shards(path, 2)
    ragcore.merge_shards(path, [out], version="merged")
    version = path.parent / "store" / "versions" / "merged"
    for merged, shard in (
        ("passages.arrow", "shard-0-of-2/passages.arrow"),
        ("passages-1.arrow", "shard-1-of-2/passages.arrow"),
        ("retriever/index-1/vectors.npy", "shard-1-of-2/retriever/index/vectors.npy"),
    ):
        assert os.path.samefile(version / merged, out / "versions" / shard)
    # Shards may go then; and a second merge makes the same.
    ragcore.merge_shards(path, [out], version="again")
    assert files(path.parent / "store", "again") == files(path.parent / "store", "merged")
    shutil.rmtree(out)
    Store(path.parent / "store").verify("merged")


def test_shards_may_lie_in_several_folders_in_any_order(pipeline: Callable[..., Path]) -> None:
    path = pipeline()
    folders = [path.parent / name for name in ("c", "a", "b")]
    for number, folder in enumerate(folders):
        ragcore.build_shard(path, number=number, of=3, out=folder)
    ragcore.merge_shards(path, folders[::-1], version="merged")
    with ragcore.open_memory(path) as memory:
        assert [passage.id for passage in memory.passages] == [f"p{n}" for n in range(60)]


def test_there_may_be_more_shards_than_passages(pipeline: Callable[..., Path]) -> None:
    path = pipeline(HYBRID)
    write_corpus(path.parent, 3)
    out = build_shards(path, 5)
    assert 0 in [Store(out).manifest(f"shard-{n}-of-5").passages for n in range(5)]
    assert ragcore.merge_shards(path, [out], version="merged").passages == 3
    with ragcore.open_memory(path) as memory:
        assert [passage.id for passage in memory.passages] == ["p0", "p1", "p2"]


def test_documents_are_numbered_across_shards(pipeline: Callable[..., Path]) -> None:
    path = pipeline(DENSE, "{use: pages, sizes: [3, 0, 2, 5, 1, 1, 4]}")
    ragcore.build_memory(path, version="whole")
    ragcore.merge_shards(path, [build_shards(path, 3)], version="merged")
    catalog = Catalog(path.parent / "store")
    with catalog.lease("whole") as whole, catalog.lease("merged") as merged:
        fields = ("documents", "corpus_identity", "corpus_date", "passages")
        assert [getattr(merged.manifest, name) for name in fields] == [6, "pages", "2026-01-01", 16]
        documents = [list(each.open_documents() or ()) for each in (whole, merged)]
        assert documents[0] == documents[1]
        assert documents[1][3].numbers == [5, 6, 7, 8, 9]
    path = pipeline(DENSE, "{use: pages, sizes: [3, 0, 2, 5, 1, 2]}")
    updated = ragcore.update_memory(path, version="updated", parent="merged")
    assert (updated.added, updated.removed, updated.passages) == (1, 4, 13)


def test_a_corpus_without_parts_is_read_whole_and_divided(pipeline: Callable[..., Path]) -> None:
    path = pipeline(BM25, "{use: csv, path: passages.csv, words: 2}")
    rows = [f'p{n},"w{n}, and\nmore {n}"' for n in range(31)]
    (path.parent / "passages.csv").write_text("\n".join(["id,text", *rows]) + "\n")
    shard = ragcore.build_shard(path, number=1, of=4, out=path.parent / "shards")
    assert shard.read_whole
    record = Store(path.parent / "shards").manifest("shard-1-of-4").shard
    assert record is not None
    assert (shard.passages, record.first) == (16, 15)
    ragcore.merge_shards(path, [build_shards(path, 4)], version="merged")
    ragcore.build_memory(path, version="whole")
    assert [files(path.parent / "store", name)["retriever/bm25.json"] for name in ("merged",)] == [
        files(path.parent / "store", "whole")["retriever/bm25.json"]
    ]
    jsonl = pipeline(BM25)
    assert not ragcore.build_shard(jsonl, number=0, of=4, out=path.parent / "other").read_whole


def test_a_shard_that_is_there_is_not_built_again(pipeline: Callable[..., Path]) -> None:
    path = pipeline()
    first = ragcore.build_shard(path, number=1, of=3, out=path.parent / "shards")
    again = ragcore.build_shard(path, number=1, of=3, out=path.parent / "shards")
    assert (first.was_there, again.was_there) == (False, True)
    assert (again.name, again.number, again.of) == ("shard-1-of-3", 1, 3)
    assert again.passages == first.passages > 10
    assert first.created == again.created
    write_corpus(path.parent, 59)
    with pytest.raises(VersionExistsError, match=r"shard-1-of-3.*another corpus.*--fresh"):
        ragcore.build_shard(path, number=1, of=3, out=path.parent / "shards")
    fresh = ragcore.build_shard(path, number=1, of=3, out=path.parent / "shards", fresh=True)
    assert not fresh.was_there
    assert ragcore.build_shard(path, number=1, of=3, out=path.parent / "shards").was_there
    names = sorted(each.name for each in (path.parent / "shards" / "versions").iterdir())
    assert names == ["shard-1-of-3"]


@pytest.mark.parametrize("factory", ["SQ8", "HNSW16", "IVF4,Flat"])
def test_dense_memories_of_faiss_follow_the_laws(factory: str) -> None:
    dense = dense_part(dim=128)
    config = Faiss.Config(factory=factory, search={"nprobe": 4} if "IVF" in factory else {})
    index = ComponentSpec("index", "faiss", Faiss, config)
    changed = dense.config.model_copy(update={"index": index})
    spec = ComponentSpec("retriever", "dense", dense.component, changed)
    laws = {law for law in RetrieverSuite.laws() if "merg" in law or "trained_before" in law}
    verdicts = examine(RetrieverSuite, spec, laws)
    assert [verdict.outcome for verdict in verdicts] == ["passed"] * 3, verdicts
