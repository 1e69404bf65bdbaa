"""Test what a merge refuses, and what is left of shards whose build or disk failed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ragcore
from ragcore.errors import (
    ConfigError,
    CorpusError,
    EmptyCorpusError,
    StoreCorruptError,
    StoreError,
    UnsupportedOperation,
)
from ragcore.store.catalog import Catalog
from ragcore.store.manifest import Manifest
from ragcore.store.progress import silent
from ragcore.store.sharding import BuiltShard, build_shard_version
from ragcore.store.store import Store
from ragcore.types import Passage
from tests.conftest import Installed
from tests.helpers.shard_project import (
    BM25,
    DENSE,
    ROOT,
    build_shards,
    change_seed,
    write_corpus,
)
from tests.helpers.word_encoder import dense_part
from tests.store.test_store import contents


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
        "from tests.store.test_shard_faults import *\n"
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
