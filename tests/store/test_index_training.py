"""Test that one training of an index serves all shards, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
