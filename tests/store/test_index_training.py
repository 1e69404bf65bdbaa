"""Test that one training of an index serves all shards, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ragcore
from ragcore.config import load_config
from ragcore.errors import (
    MemoryMismatchError,
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
    VersionExistsError,
)
from ragcore.store.index_training import _sample
from ragcore.store.progress import silent
from tests.helpers.shard_project import (
    BM25,
    DENSE,
    FAISS,
    QUESTIONS,
    change_seed,
    files,
    write_corpus,
)

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


@pytest.mark.parametrize("factory", ['"IVF4,Flat"', '"IVF4,SQ8"', '"IVF4,PQ4x4"'])
def test_inverted_lists_of_one_training_are_merged_into_the_files_of_one_index(
    pipeline: Callable[..., Path], factory: str
) -> None:
    path = pipeline(FAISS.format(f"{factory}, train_size: 60"))
    training = path.parent / "training"
    ragcore.train_index(path, out=training)
    for of in (1, 5):
        for number in range(of):
            out = path.parent / f"shards-{of}"
            ragcore.build_shard(path, number=number, of=of, out=out, training=training)
        ragcore.merge_shards(path, [out], version=f"of-{of}")
    one, five = (files(path.parent / "store", name) for name in ("of-1", "of-5"))
    assert {name for name in five if "index" in name} >= {"retriever/index/index.faiss"}
    for name in (name for name in one if name.startswith("retriever")):
        assert five[name] == one[name], name


@pytest.mark.parametrize(
    "index", ['"IVF4,PQ4x4", train_size: 60, search: {nprobe: 4}', "SQ8, train_size: 60"]
)
def test_segments_of_updates_are_joined_by_their_codes(
    pipeline: Callable[..., Path], index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pipeline(FAISS.format(index))
    folder = _updated(path, "joined")
    # Forty of the first sixty rows were removed, and eight came one by one.
    assert len([*folder.glob("index*/index.faiss")]) <= 3
    assert sum(len(np.load(each)) for each in folder.glob("*.hidden.npy")) <= 20
    write_corpus(path.parent)
    monkeypatch.setattr("ragcore.retrievers.combining.LARGEST", 1)
    apart = _updated(path, "apart")
    assert len([*apart.glob("index*/index.faiss")]) == 9
    questions = [f"w{number}" for number in range(30, 110)]
    with (
        ragcore.open_memory(path, "memory.store=joined") as memory,
        ragcore.open_memory(path, "memory.store=apart") as expected,
    ):
        for k in (3, 28):
            hits, wanted = memory.hits(questions, k), expected.hits(questions, k)
            assert hits.scores.tolist() == wanted.scores.tolist()
        assert np.sort(hits.rows, axis=1).tolist() == [[*range(28)]] * len(questions)


def _updated(path: Path, store: str) -> Path:
    """Build a memory and update it eight times; return the folder of its retriever."""
    overrides = [f"memory.store={store}"]
    ragcore.build_memory(path, *overrides, version="0")
    lines = (path.parent / "passages.jsonl").read_text().splitlines()
    for number in range(1, 9):
        new = f'{{"id": "new-{number}", "title": "w{100 + number}", "text": "people", "n": 0}}'
        lines = [*lines[5:], new]
        (path.parent / "passages.jsonl").write_text("\n".join(lines) + "\n")
        ragcore.update_memory(path, overrides=overrides, version=str(number), allow=["deletions"])
    return path.parent / store / "versions" / "8" / "retriever"


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
