"""The stages of a memory's life that are measured, each on the files that earlier ones left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

import ragcore
from ragcore.config import PipelineConfig
from ragcore.contracts import Index
from ragcore.live.handle import LiveMemory
from ragcore.memory.memory import Memory
from ragcore.planning.layout import (
    PROBED_SHARE,
    factory_of,
    list_count,
    training_size,
)
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from ragcore.store.diff import read_changes
from ragcore.store.store import Store
from scaling.drawing import Drawing, DrawingConfig
from scaling.jobs import Job
from scaling.measuring import Clock, peak_memory

__all__ = ["STAGES", "run"]

K: Final = 10
BLOCK: Final = 8_192
BASE, UPDATED = "base", "updated"


def index_of(job: Job) -> ComponentSpec[Any]:
    settings: dict[str, Any] = {"factory": factory_of(job.kind, job.passages, job.dim)}
    if training := training_size(job.kind, job.passages):
        settings["train_size"] = training
    if job.kind in ("ivf", "ivf-pq"):
        probes = max(1, list_count(job.passages) // PROBED_SHARE)
        settings["search"] = {"nprobe": probes}
    elif job.kind == "hnsw":
        settings["search"] = {"efSearch": 64}
    return spec_from_dict("index", {"use": "faiss", **settings})


def retriever_of(job: Job) -> ComponentSpec[Any]:
    if job.kind == "bm25":
        return spec_from_dict("retriever", {"use": "bm25"})
    encoder = ComponentSpec("encoder", "drawing", Drawing, DrawingConfig(dim=job.dim))
    config = Dense.Config(encoder=encoder, index=index_of(job))
    return ComponentSpec("retriever", "dense", Dense, config)


def config_of(job: Job, store: Path) -> PipelineConfig:
    memory = {
        "store": store,
        "corpus": spec_from_dict("corpus", {"use": "jsonl", "path": str(job.shared.corpus)}),
        "retriever": retriever_of(job),
        "cache": None,
    }
    return PipelineConfig.model_validate({"ragcore": 1, "memory": memory})


def build(job: Job) -> dict[str, Any]:
    """Build a memory in one go; its version is opened and searched once, as every build does."""
    clock = Clock()
    ragcore.build_memory(config_of(job, job.store), version=BASE)
    return {**clock.row(), **_bytes(job.store / "versions" / BASE)}


def _bytes(version: Path) -> dict[str, int]:
    """Return the bytes of a version's passages and of its retriever's files."""
    files = [path for path in version.rglob("*") if path.is_file()]
    retriever = sum(path.stat().st_size for path in files if "retriever" in path.parts)
    every = sum(path.stat().st_size for path in files)
    return {"bytes": every, "retriever_bytes": retriever, "passage_bytes": every - retriever}


def train(job: Job) -> dict[str, Any]:
    """Train an index: what adding the first vectors takes longer than adding as many after them.

    What the latter take is in the record, too: a build's time is too coarse to subtract from.
    """
    count = training_size(job.kind, job.passages)
    encoder = Drawing(DrawingConfig(dim=job.dim))
    index: Index = index_of(job).build(dim=job.dim)
    clocks = []
    for start in (0, count):
        rows = np.arange(start, start + count)
        vectors = encoder.drawn(rows.astype(np.uint64))
        clock = Clock()
        index.add(rows, vectors)
        index.search(vectors[:1], 1)
        clocks.append(clock.row())
    first, second = clocks
    row = {name: round(max(0.0, first[name] - second[name]), 6) for name in first}
    return {**row, "added": count, **{f"adding_{name}": second[name] for name in second}}


def shard(job: Job) -> dict[str, Any]:
    """Build one of several shards."""
    clock = Clock()
    config = config_of(job, job.store)
    training = Path(job.folder) / "training"
    built = ragcore.build_shard(
        config,
        number=job.shard,
        of=job.shards,
        out=Path(job.folder) / "shards",
        training=training if training.exists() else None,
    )
    return {**clock.row(), "bytes": built.bytes}


def train_shards(job: Job) -> dict[str, Any]:
    """Train the index of the shards on a sample of the whole corpus."""
    clock = Clock()
    ragcore.train_index(config_of(job, job.store), out=Path(job.folder) / "training")
    return clock.row()


def merge(job: Job) -> dict[str, Any]:
    """Merge all shards."""
    store = Path(job.folder) / "merged"
    clock = Clock()
    ragcore.merge_shards(config_of(job, store), [Path(job.folder) / "shards"], version=BASE)
    return clock.row()


def merged_search(job: Job) -> dict[str, Any]:
    """Search the merged memory, of as many segments as there were shards."""
    return _searched(job, Path(job.folder) / "merged")


def exact(job: Job) -> dict[str, Any]:
    """Write which passages are the best of each question, by all inner products."""
    clock, encoder = Clock(), Drawing(DrawingConfig(dim=job.dim))
    queries = encoder.encode_questions(job.asked())  # [B, d]
    best = np.full((len(queries), K), -1, np.int64)
    scores = np.full((len(queries), K), -np.inf, np.float32)
    for start in range(0, job.passages, BLOCK):
        rows = np.arange(start, min(start + BLOCK, job.passages))
        products = queries @ encoder.drawn(rows.astype(np.uint64)).T  # [B, n]
        all_rows = np.concatenate([best, np.broadcast_to(rows, products.shape)], axis=1)
        all_scores = np.concatenate([scores, products], axis=1)
        order = np.argsort(-all_scores, axis=1, kind="stable")[:, :K]
        best = np.take_along_axis(all_rows, order, axis=1)
        scores = np.take_along_axis(all_scores, order, axis=1)
    np.save(job.shared.exact, best)
    return clock.row()


def open_(job: Job) -> dict[str, Any]:
    """Open a memory, whose files the system has in its cache, and search it once."""
    config = config_of(job, job.store)
    (question,) = job.asked()[:1]
    clock = Clock()
    with ragcore.open_memory(config, version=BASE) as memory:
        opened = clock.row()
        clock = Clock()
        memory.search(question, K)
        return {**opened, "first_search": clock.seconds}


def search(job: Job) -> dict[str, Any]:
    """Search one question at a time."""
    return _searched(job, job.store)


def _searched(job: Job, store: Path) -> dict[str, Any]:
    questions = job.asked()
    with ragcore.open_memory(config_of(job, store), version=BASE) as memory:
        # The first ones map files and fill caches.
        _times(memory, questions[:20])
        retrieved, took = _times(memory, questions)
    times = {name: [row[name] for row in took] for name in took[0]}
    return {
        **{name: round(float(np.median(all_times)), 7) for name, all_times in times.items()},
        "p99": round(float(np.quantile(times["seconds"], 0.99)), 7),
        "processor_p99": round(float(np.quantile(times["processor_seconds"], 0.99)), 7),
        "recall": _recall(job, retrieved),
        "questions": len(questions),
    }


def _times(memory: Memory, questions: Sequence[str]) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Search; return the numbers of the passages found, [B, K], and the times of each search."""
    retrieved = np.full((len(questions), K), -1, np.int64)
    took = []
    for at, question in enumerate(questions):
        clock = Clock()
        (result,) = memory.search(question, K)
        took.append(clock.row())
        numbers = [int(passage.id) for passage in result.passages]
        retrieved[at, : len(numbers)] = numbers
    return retrieved, took


def _recall(job: Job, retrieved: np.ndarray) -> float:
    """Return the share of the best passages by `exact` that were found; BM25 is exact."""
    if job.kind == "bm25":
        return 1.0
    pairs = zip(np.load(job.shared.exact, allow_pickle=False), retrieved, strict=True)
    shares = [len(set(best.tolist()) & set(hits.tolist())) / K for best, hits in pairs]
    return round(float(np.mean(shares)), 4)


def update(job: Job) -> dict[str, Any]:
    """Add, replace and delete 0.1 % of the passages, a third each, spread over the memory."""
    changes = read_changes(job.shared.changes)
    before = _inodes(job.store)
    clock = Clock()
    Store(job.store).update(UPDATED, changes, parent=BASE, retriever=retriever_of(job))
    times = clock.row()
    after = _inodes(job.store)
    new = sum(size for inode, size in after.items() if inode not in before)
    return {**times, "bytes": new}


def _inodes(folder: Path) -> dict[int, int]:
    """Return the bytes of each file by its inode, so that a hard link counts once."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return {each.st_ino: each.st_size for each in stats}


def swap(job: Job) -> dict[str, Any]:
    """Swap to the updated version while a thread searches without pause.

    `pause` is the longest time without an answer during the swap, from opening the new version to
    serving it, minus the longest one in as long a time without a swap.
    """
    store, spec, questions = Store(job.store), retriever_of(job), job.asked()
    live = LiveMemory(store.open(BASE, retriever=spec))
    stop, answered = threading.Event(), list[float]()
    failures: list[Exception] = []

    def ask() -> None:
        turn = 0
        try:
            while not stop.is_set():
                with live.reading() as memory:
                    memory.search(questions[turn % len(questions)], K)
                answered.append(time.perf_counter())
                turn += 1
        except Exception as error:
            failures.append(error)

    with live.reading() as memory:
        _times(memory, questions[:20])
    reader = threading.Thread(target=ask)
    reader.start()
    while len(answered) < 10 and reader.is_alive():
        time.sleep(0.01)
    began = time.perf_counter()
    opened = store.open(UPDATED, retriever=spec)
    opened.search(questions[0], K)
    live.swap(opened)
    served = time.perf_counter()
    time.sleep(max(0.5, served - began))
    ended = time.perf_counter()
    stop.set()
    reader.join()
    live.close()
    if failures:
        raise failures[0]
    during, without = _longest(answered, began, served), _longest(answered, served, ended)
    return {
        "seconds": round(served - began, 6),
        "pause": round(max(0.0, during - without), 6),
        "longest_during": round(during, 6),
        "longest_without": round(without, 6),
    }


def _longest(answered: Sequence[float], began: float, ended: float) -> float:
    """Return the longest time between two answers, of which one may be outside the window."""
    pairs = pairwise(answered)
    gaps = [after - before for before, after in pairs if after > began and before < ended]
    return max(gaps, default=ended - began)


Stage = Callable[[Job], dict[str, Any]]

STAGES: Final[dict[str, Stage]] = {
    "exact": exact,
    "build": build,
    "train": train,
    "open": open_,
    "search": search,
    "update": update,
    "swap": swap,
    "train-shards": train_shards,
    "shard": shard,
    "merge": merge,
    "merged-search": merged_search,
}


def run(stage: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a stage in this process; return what it measured, with its peaks of memory."""
    with peak_memory() as peak:
        measured = STAGES[stage](Job(**job))
    return {**measured, **peak.row()}
