"""Measure what an index in several segments costs a search, against one index of all vectors.

Usage: python benchmarks/segments.py [--count 200000] [--dim 128] [--kinds flat ivf hnsw hnswlib]
           [--segments 1 4 16] [--rounds 40]

For each kind of index, vectors are divided among segments as shards of one training are, merged as
`ragcore memory merge` does, and opened from disk. Printed are the median times of a search for one
question, k=10, divided by that of one index, with threads and without ("one thread"), for 32
questions together, and recall@10 against brute force; "merged" says how many segments a merge
leaves. All are searched in turn, round by round. On a machine that does other things as well,
--cpu measures the processor time of all threads: then "one thread" is what counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ragcore_faiss.index import Faiss
from ragcore_hnswlib.index import Hnswlib
from vectors.data import clustered

from ragcore.contracts import SavedRetriever
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers import parallel
from ragcore.retrievers.dense_files import DenseRecord, merge_saved
from ragcore.retrievers.flat import Exact
from ragcore.retrievers.segments import Segments

LISTS = 1024
K = 10
KINDS: dict[str, tuple[type[Any], Any]] = {
    "exact": (Exact, Exact.Config()),
    "flat": (Faiss, Faiss.Config(factory="Flat")),
    "sq8": (Faiss, Faiss.Config(factory="SQ8", train_size=20_000)),
    "ivf": (
        Faiss,
        Faiss.Config(factory=f"IVF{LISTS},Flat", search={"nprobe": 16}, train_size=50_000),
    ),
    "hnsw": (Faiss, Faiss.Config(factory="HNSW32", search={"efSearch": 64})),
    "hnswlib": (Hnswlib, Hnswlib.Config(ef_search=64)),
}


def main() -> None:
    options = parse()
    data = clustered(options.count, 64, options.dim)
    print(f"{os.cpu_count()} processors; {data.description}", flush=True)
    print(f"{'kind':8} {'segments':>8} {'merged':>6} {'ms':>8} {'ratio':>6} ", end="")
    print(f"{'one thread':>10} {'together':>8} {'recall':>6} {'merge s':>7}")
    truth = brute_force(data.queries, data.stored)
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            measure(kind, data.stored, data.queries, truth, options, Path(folder))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, help="vectors")
    parser.add_argument("--dim", type=int, default=128, help="numbers in each")
    parser.add_argument("--rounds", type=int, default=40, help="searches of each")
    parser.add_argument("--segments", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["flat", "ivf", "hnsw"])
    parser.add_argument("--cpu", action="store_true", help="measure processor time")
    return parser.parse_args()


def measure(
    kind: str,
    stored: np.ndarray,
    queries: np.ndarray,
    truth: list[set[int]],
    options: argparse.Namespace,
    folder: Path,
) -> None:
    spec = ComponentSpec("index", kind, *KINDS[kind])
    opened: dict[int, Segments] = {}
    merging: dict[int, float] = {}
    for number in options.segments:
        parts = built(spec, stored, number, folder / f"parts-{number}")
        merged = folder / f"merged-{number}"
        merged.mkdir()
        began = time.perf_counter()
        merge_saved(parts, merged, spec)
        merging[number] = time.perf_counter() - began
        shifts = DenseRecord.read(merged).shifts
        opened[number] = Segments.load(merged, spec, shifts, mmap=True)
        shutil.rmtree(folder / f"parts-{number}")
    clock = time.process_time if options.cpu else time.perf_counter
    times: dict[tuple[int, str], list[float]] = {}
    for turn in range(options.rounds):
        query = queries[turn % len(queries)][None]
        for number, segments in opened.items():
            for way, asked, worth in (
                ("threads", query, parallel._WORTH),
                ("one", query, float("inf")),
                ("together", queries[:32], parallel._WORTH),
            ):
                if way == "together" and turn % 8:
                    continue
                usual, parallel._WORTH = parallel._WORTH, worth
                segments.search(asked, K)
                began = clock()
                segments.search(asked, K)
                times.setdefault((number, way), []).append(clock() - began)
                parallel._WORTH = usual
    middle = {key: median(each) for key, each in times.items()}
    first = options.segments[0]
    for number, segments in opened.items():
        hits = segments.search(queries, K).rows
        recall = np.mean([len(truth[i] & set(line)) / K for i, line in enumerate(hits.tolist())])
        ratios = [
            middle[number, way] / middle[first, way] for way in ("threads", "one", "together")
        ]
        print(
            f"{kind:8} {number:8} {len(segments.shifts):6} {1e3 * middle[number, 'threads']:8.3f} "
            f"{ratios[0]:6.2f} {ratios[1]:10.2f} {ratios[2]:8.2f} {recall:6.3f} "
            f"{merging[number]:7.2f}",
            flush=True,
        )


def built(spec: Any, stored: np.ndarray, number: int, folder: Path) -> list[SavedRetriever]:
    """Build and save shards of one training."""
    trained = Segments(spec)
    training = folder / "training"
    training.mkdir(parents=True)
    if "spawn_empty" in spec.component.capabilities:
        trained.train(stored[:50_000], training)
    parts, first = [], 0
    for shard, vectors in enumerate(np.array_split(stored, number)):
        segments = Segments(spec)
        if "spawn_empty" in spec.component.capabilities:
            segments.use_training(training)
        segments.add(np.arange(len(vectors)), vectors)
        (folder / str(shard)).mkdir()
        segments.save(folder / str(shard))
        DenseRecord(spec.use, (0,), {}).write(folder / str(shard))
        parts.append(SavedRetriever(folder / str(shard), first, len(vectors)))
        first += len(vectors)
    return parts


def brute_force(queries: np.ndarray, stored: np.ndarray) -> list[set[int]]:
    index = Exact(Exact.Config(), dim=stored.shape[1])
    index.add(np.arange(len(stored)), stored)
    return [set(line) for line in index.search(queries, K).rows.tolist()]


if __name__ == "__main__":
    main()
