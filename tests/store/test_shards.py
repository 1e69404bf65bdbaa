"""Test that merged shards are the memory that one build makes, whatever index or retriever."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ragcore_faiss.index import Faiss

import ragcore
from ragcore.config import load_config
from ragcore.errors import (
    ConfigError,
    CorpusError,
    EmptyCorpusError,
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
    VersionExistsError,
)
from ragcore.filters.expressions import read_where
from ragcore.memory.memory import Memory
from ragcore.registry.components import ComponentSpec
from ragcore.store.catalog import Catalog
from ragcore.store.ids import IdDigests, digest_of, find_repeated, read_digests
from ragcore.store.index_training import _sample
from ragcore.store.manifest import Manifest
from ragcore.store.progress import silent
from ragcore.store.sharding import BuiltShard, build_shard_version
from ragcore.store.store import Store
from ragcore.testing import RetrieverSuite, examine
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.word_encoder import dense_part
from tests.store.test_store import contents

ROOT = Path(__file__).parents[2]

WORDS = [
    *("chad", "lake", "desert", "river", "north"),
    *("south", "capital", "people", "language", "music"),
]
DENSE = "{use: dense, encoder: {use: words}, index: {use: exact}}"
FAISS = "{{use: dense, encoder: {{use: words}}, index: {{use: faiss, factory: {}}}}}"
BM25 = "{use: bm25}"
HNSWLIB = "{use: dense, encoder: {use: words}, index: {use: hnswlib}}"
HYBRID = f"{{use: hybrid, retrievers: [{BM25}, {DENSE}]}}"
QUESTIONS = ["lake chad", "music of the north", "w7 people", "desert w55"]

PLUGIN = """\
from ragcore.registry.components import ComponentConfig
from ragcore.types import Document, Passage

class Pages:
    class Config(ComponentConfig):
        sizes: tuple[int, ...]
        twice: bool = False

    capabilities = frozenset({"documents"})
    identity, date, complete = "pages", "2026-01-01", True

    def __init__(self, config):
        self.config = config

    def documents(self, known):
        for n, size in enumerate(self.config.sizes):
            texts = [f"text {i} of w{n}" for i in range(size)]
            passages = tuple(Passage(f"d{n}-{i}", f"d{n}", text) for i, text in enumerate(texts))
            is_last = n + 1 == len(self.config.sizes)
            yield Document("d0" if self.config.twice and is_last else f"d{n}", str(size), passages)

    def __iter__(self):
        for document in self.documents(None):
            yield from document.passages
from tests.helpers.word_encoder import ragcore_encoders
from ragcore.hookspecs import hookimpl

@hookimpl
def ragcore_corpora():
    return {"pages": "words_plugin:Pages"}

@hookimpl
def ragcore_retrievers():
    return {"bm25": "ragcore_bm25.retriever:Bm25"}

@hookimpl
def ragcore_indexes():
    return {
        "faiss": "ragcore_faiss.index:Faiss",
        "hnswlib": "ragcore_hnswlib.index:Hnswlib",
    }
"""


def write_corpus(folder: Path, count: int = 60) -> None:
    lines = []
    for n in range(count):
        text = " ".join(WORDS[(n * step) % len(WORDS)] for step in (1, 3, 7)[: 1 + n % 3])
        lines.append(json.dumps({"id": f"p{n}", "title": f"w{n}", "text": text, "n": n}))
    (folder / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def pipeline(installed: Installed, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a pipeline with a retriever, and its corpus."""
    installed.add("words", PLUGIN)
    write_corpus(tmp_path)

    def write(retriever: str = DENSE, corpus: str = "{use: jsonl, path: passages.jsonl}") -> Path:
        path = tmp_path / "pipeline.yaml"
        path.write_text(
            "ragcore: 1\nmemory:\n  store: store\n  cache: null\n"
            f"  corpus: {corpus}\n  retriever: {retriever}\n",
            encoding="utf-8",
        )
        return path

    return write


def build_shards(path: Path, of: int, **options: Any) -> Path:
    out = path.parent / "shards"
    for number in range(of):
        ragcore.build_shard(path, number=number, of=of, out=out, **options)
    return out


def answers(memory: Memory) -> list[list[Any]]:
    hits = memory.hits(QUESTIONS, 7)
    return [hits.rows.tolist(), hits.scores.tolist()]


def files(store: Path, version: str) -> dict[str, str]:
    manifest = Manifest.read(store / "versions" / version)
    return {name: record.sha256 for name, record in manifest.files.items()}


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


# With all lists searched: a segment that finds fewer than k in some searches further ones.
IVF = FAISS.format('"IVF4,PQ4x4", train_size: 40, search: {nprobe: 4}')


@pytest.mark.parametrize(
    "retriever", [IVF, f"{{use: hybrid, retrievers: [{BM25}, {IVF}]}}", FAISS.format("SQ8")]
)
def test_shards_of_one_training_answer_as_one_index(
    pipeline: Callable[..., Path], retriever: str
) -> None:
    path = pipeline(retriever)
    training = path.parent / "training"
    trained = ragcore.train_index(path, out=training)
    assert (trained.sample, trained.passages) == (60 if "SQ8" in retriever else 40, 60)
    for of in (1, 4):
        out = path.parent / f"shards-{of}"
        for number in range(of):
            ragcore.build_shard(path, number=number, of=of, out=out, training=training)
        ragcore.merge_shards(path, [out], version=f"of-{of}")
    with (
        ragcore.open_memory(path, version="of-1") as one,
        ragcore.open_memory(path, version="of-4") as four,
    ):
        hits = [memory.hits(QUESTIONS, 7) for memory in (one, four)]
        assert hits[0].scores.tolist() == hits[1].scores.tolist()
        # Which of the passages that tie with the last hit is found, FAISS does not say.
        inside = hits[0].scores > hits[0].scores[:, -1:]
        assert inside.sum() > 12
        assert hits[0].rows[inside].tolist() == hits[1].rows[inside].tolist()


def test_a_sample_is_of_the_whole_corpus(pipeline: Callable[..., Path]) -> None:
    path = pipeline(IVF)
    corpus = load_config(path).memory.corpus
    assert corpus is not None
    samples = [
        [passage.id for passage in _sample(corpus.build(), None, 20, silent)[0]] for _ in range(2)
    ]
    assert samples[0] == samples[1] == sorted(set(samples[0]), key=lambda id_: int(id_[1:]))
    assert len(samples[0]) == 20
    # Of 60 passages, a third of each half is expected.
    assert 4 < len([id_ for id_ in samples[0] if int(id_[1:]) < 30]) < 16


def test_a_training_that_does_not_fit_is_refused(pipeline: Callable[..., Path]) -> None:
    path = pipeline(IVF)
    training, out = path.parent / "training", path.parent / "shards"
    ragcore.train_index(path, out=training)
    with pytest.raises(StoreError, match="is there already"):
        ragcore.train_index(path, out=training)
    ragcore.build_shard(path, number=0, of=2, out=out, training=training)
    with pytest.raises(VersionExistsError, match="another training of the index"):
        ragcore.build_shard(path, number=0, of=2, out=out)
    ragcore.train_index(path, out=path.parent / "other", sample=50)
    ragcore.build_shard(path, number=1, of=2, out=out, training=path.parent / "other")
    with pytest.raises(StoreError, match="shard-1-of-2 was built from another training of"):
        ragcore.merge_shards(path, [out])
    change_seed(path)
    with pytest.raises(MemoryMismatchError, match=r"words\(seed=0.*words\(seed=1"):
        ragcore.build_shard(path, number=1, of=2, out=out, training=training)
    pipeline(FAISS.format("SQ8"))
    with pytest.raises(MemoryMismatchError, match=r"IVF4,PQ4x4.*SQ8"):
        ragcore.build_shard(path, number=1, of=3, out=out, training=training)
    pipeline(DENSE)
    with pytest.raises(UnsupportedOperation, match="index_training"):
        ragcore.train_index(path, out=path.parent / "new")
    with pytest.raises(UnsupportedOperation, match="index_training"):
        ragcore.build_shard(path, number=1, of=3, out=out, training=training)
    assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("name", ["training.json", "retriever/index/index.faiss"])
def test_a_damaged_training_is_refused(pipeline: Callable[..., Path], name: str) -> None:
    path = pipeline(IVF)
    ragcore.train_index(path, out=path.parent / "training")
    file = path.parent / "training" / name
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(StoreCorruptError, match=r"training"):
        ragcore.build_shard(
            path, number=1, of=2, out=path.parent / "shards", training=path.parent / "training"
        )


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


def test_files_are_shared_by_hard_links(pipeline: Callable[..., Path]) -> None:
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


class Shrinking:
    """A corpus that has fewer passages when it is read for the second time."""

    def __init__(self) -> None:
        self.left = 9

    def __iter__(self) -> Iterator[Passage]:
        yield from PASSAGES[: self.left]
        self.left -= 2


def test_a_corpus_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"had 5 passages in this part .* and 3 when"):
        parts(tmp_path, Shrinking())


def test_shards_that_do_not_follow_each_other_are_refused(pipeline: Callable[..., Path]) -> None:
    path = pipeline(BM25, "{use: jsonl, path: passages.jsonl, ids: content}")
    out = build_shards(path, 3)
    folder = out / "versions" / "shard-1-of-3"
    manifest = Manifest.read(folder)
    assert manifest.shard is not None
    moved = manifest.shard.model_copy(update={"first": 19})
    manifest.model_copy(update={"shard": moved}).write(folder)
    with pytest.raises(StoreError, match=r"begins at passage 19, .* before it have 20"):
        ragcore.merge_shards(path, [out])


def test_a_document_in_two_shards_is_refused(pipeline: Callable[..., Path]) -> None:
    path = pipeline(DENSE, "{use: pages, sizes: [3, 2, 2, 2], twice: true}")
    with pytest.raises(CorpusError, match="the document 'd0' twice"):
        ragcore.merge_shards(path, [build_shards(path, 2)], version="merged")
    assert Store(path.parent / "store").versions() == []


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


def change_seed(path: Path) -> None:
    path.write_text(path.read_text().replace("{use: words}", "{use: words, seed: 1}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: write_corpus(path.parent, 61), "shard-1-of-2 was built from another state"),
        (change_seed, "shard-1-of-2 was built from another encoder or analyser"),
        (
            lambda path: path.write_text(path.read_text().replace("jsonl}", "jsonl, words: 3}")),
            "different settings of the corpus",
        ),
    ],
)
def test_a_shard_of_something_else_is_refused(
    pipeline: Callable[..., Path], change: Callable[[Path], object], message: str
) -> None:
    path = pipeline()
    out = path.parent / "shards"
    ragcore.build_shard(path, number=0, of=2, out=out)
    before = path.read_text()
    change(path)
    ragcore.build_shard(path, number=1, of=2, out=out)
    path.write_text(before)
    with pytest.raises(StoreError, match=message):
        ragcore.merge_shards(path, [out], version="merged")
    assert not (path.parent / "store").exists()


def test_shards_of_another_encoder_than_the_pipelines_are_refused(
    pipeline: Callable[..., Path],
) -> None:
    path = pipeline()
    out = build_shards(path, 2)
    change_seed(path)
    with pytest.raises(StoreError, match=r"words\(seed=0,d=32\).*words\(seed=1,d=32\)"):
        ragcore.merge_shards(path, [out], version="merged")
    assert Store(path.parent / "store").versions() == []


def test_gaps_and_overlaps_are_refused(pipeline: Callable[..., Path], tmp_path: Path) -> None:
    path = pipeline()
    out = build_shards(path, 3)
    other = tmp_path / "other"
    ragcore.build_shard(path, number=1, of=3, out=other)
    with pytest.raises(StoreError, match="the same shard 1/3"):
        ragcore.merge_shards(path, [out, other])
    shutil.rmtree(out / "versions" / "shard-1-of-3")
    with pytest.raises(StoreError, match=r"shards 1/3 are missing: build them.*--shard 1/3"):
        ragcore.merge_shards(path, [out])
    ragcore.build_shard(path, number=1, of=2, out=out)
    with pytest.raises(StoreError, match="one of 2 shards"):
        ragcore.merge_shards(path, [out])
    with pytest.raises(StoreError, match="no finished shard"):
        ragcore.merge_shards(path, [tmp_path / "nowhere"])
    ragcore.build_memory(path, version="whole")
    with pytest.raises(StoreError, match="'whole' in it is no shard"):
        ragcore.merge_shards(path, [path.parent / "store"])
    with pytest.raises(StoreError, match="is the store of a memory"):
        ragcore.build_shard(path, number=1, of=2, out=path.parent / "store")


@pytest.mark.parametrize("shard", [(3, 3), (-1, 3), (0, 0)])
def test_a_shard_that_cannot_be_is_refused(
    pipeline: Callable[..., Path], shard: tuple[int, int]
) -> None:
    path = pipeline()
    with pytest.raises(ConfigError, match="counted from 0"):
        ragcore.build_shard(path, number=shard[0], of=shard[1], out=path.parent / "shards")


@pytest.mark.parametrize("name", ["passages.arrow", "retriever/index/vectors.npy", "ids.npy"])
def test_damaged_files_are_refused(pipeline: Callable[..., Path], name: str) -> None:
    path = pipeline()
    out = build_shards(path, 2)
    damaged = out / "versions" / "shard-1-of-2" / name
    content = bytearray(damaged.read_bytes())
    content[-20] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(StoreCorruptError, match=f"{name} has sha256"):
        ragcore.merge_shards(path, [out])
    assert not (path.parent / "store").exists()


def test_an_id_in_two_shards_is_refused(pipeline: Callable[..., Path]) -> None:
    path = pipeline()
    corpus = path.parent / "passages.jsonl"
    corpus.write_text(corpus.read_text().replace('"id": "p55"', '"id": "p5"'))
    out = build_shards(path, 3)
    with pytest.raises(CorpusError, match=r"shard-0-of-3 and .*shard-2-of-3 both .* id 'p5'"):
        ragcore.merge_shards(path, [out])


def test_a_corpus_without_passages_is_refused(pipeline: Callable[..., Path]) -> None:
    path = pipeline()
    (path.parent / "passages.jsonl").write_text("\n")
    out = build_shards(path, 2)
    with pytest.raises(EmptyCorpusError, match="no passage"):
        ragcore.merge_shards(path, [out])


def test_a_retriever_that_cannot_merge_is_refused(
    pipeline: Callable[..., Path], installed: Installed
) -> None:
    path = pipeline("{use: plain}")
    installed.add(
        "plain",
        "from ragcore.hookspecs import hookimpl\nfrom ragcore import SimpleRetriever\n"
        "class Plain(SimpleRetriever):\n"
        "    def scores(self, question):\n        return [0.0 for _ in self.passages]\n"
        '@hookimpl\ndef ragcore_retrievers():\n    return {"plain": "plain_plugin:Plain"}\n',
    )
    with pytest.raises(UnsupportedOperation, match="retriever 'plain' does not support 'merge'"):
        ragcore.build_shard(path, number=0, of=2, out=path.parent / "shards")


def ids(names: list[str], folder: Path) -> Any:
    digests = IdDigests()
    list(digests.noting(iter([Passage(name, "", "x") for name in names])))
    folder.mkdir()
    digests.save(folder)
    return read_digests(folder)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.text("abc", max_size=3), max_size=8), max_size=4))
def test_a_repeated_id_is_found_wherever_it_is(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    lists = [ids(each, folder / str(number)) for number, each in enumerate(names)]
    repeated = find_repeated(lists)
    flat = [name for each in names for name in each]
    assert (repeated is None) == (len(set(flat)) == len(flat))
    if repeated is not None:
        (name,) = {name for name in flat if digest_of(name) == repeated.digest}
        owners = [number for number, each in enumerate(names) for n in each if n == name]
        assert list(repeated.sources) == owners[:2] or set(repeated.sources) <= set(owners)


def test_many_ids_are_compared_in_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragcore.store.ids._SECTION", 16)
    lists = [
        ids([f"{letter}{n}" for n in range(100)], tmp_path / letter) for letter in ("a", "b", "c")
    ]
    assert find_repeated(lists) is None
    again = ids(["b42", "x"], tmp_path / "again")
    repeated = find_repeated([*lists, again])
    assert repeated is not None
    assert (repeated.digest, repeated.sources) == (digest_of("b42"), (1, 3))


def parts(out: Path, corpus: Iterable[Passage], **options: Any) -> BuiltShard:
    return build_shard_version(
        Catalog(out),
        **{"number": 1, "of": 2, "fresh": False, "report": silent, **options},
        corpus=corpus,
        spec=dense_part(batch_size=4),
        corpus_config=None,
        training=None,
        batch=4,
        cache=None,
    )


class Dying:
    """A corpus that kills its process while it is read for the second time."""

    def __init__(self, passages: list[Passage], after: int) -> None:
        self.passages = passages
        self.left = len(passages) + after

    def __iter__(self) -> Iterator[Passage]:
        for passage in self.passages:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            yield passage


PASSAGES = [Passage(f"p{n}", "", f"w{n}") for n in range(60)]


def test_a_killed_worker_goes_on_where_it_stopped(tmp_path: Path) -> None:
    code = (
        "from tests.store.test_shards import *\n"
        f"parts(Path({str(tmp_path / 'out')!r}), Dying(PASSAGES, 50))"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    steps: list[tuple[str, int, int | None]] = []
    shard = parts(tmp_path / "out", PASSAGES, report=lambda *step: steps.append(step))
    # The range is 30 to 59; of it 19 were read, and four batches of four encoded.
    assert ("kept", 16, None) in steps
    whole = parts(tmp_path / "whole", PASSAGES)
    assert shard.built.manifest.files == whole.built.manifest.files
    names = [each.name for each in (tmp_path / "out" / "versions").iterdir()]
    assert names == ["shard-1-of-2"]


def test_a_full_disk_ends_one_shard_alone(tmp_path: Path) -> None:
    parts(tmp_path, PASSAGES, number=0)
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot be written: .*too large"):
            parts(tmp_path, PASSAGES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = contents(tmp_path)
    assert {name: left[name] for name in before} == before
    assert not (tmp_path / "versions" / "shard-1-of-2").exists()
    # What was encoded before the disk was full is there still.
    steps: list[tuple[str, int, int | None]] = []
    parts(tmp_path, PASSAGES, report=lambda *step: steps.append(step))
    assert steps[0][0] == "kept"


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
