"""Measure what an index in several segments costs a search, against one index of all vectors.

Usage: python benchmarks/segments.py [--count 200000] [--dim 128] [--kinds flat ivf hnsw hnswlib]
           [--segments 1 4 16] [--rounds 40] [--sorted] [--halving] [--ef 64]
           [--vectors FILE.npy] [--queries FILE.npy]

For each kind of index, vectors are divided among segments as shards of one training are, merged as
`ragcore memory merge` does, and opened from disk. Printed are the median times of a search for one
question, k=10, divided by that of one index, with threads and without ("one thread"), for 32
questions together, and recall@10 against brute force; "merged" says how many segments a merge
leaves. All are searched in turn, round by round.

Graphs in several segments are searched less widely than one graph ("narrowed"), and for comparison
each with the whole efSearch or ef_search ("whole"). What they find depends on where the best
passages of a question are: in any segment, as drawn, or most of them in a few (--sorted, in the
order of 64 directions), as where a corpus is sorted by subjects. With --halving each segment has
half as many vectors as the one before, as after updates. With --vectors a file's vectors are
searched, with --queries by those of another file, else by some of the same.

On a machine that does other things as well, --cpu measures the processor time of all threads: then
"one thread" is what counts.
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
from vectors.data import Data, clustered, from_file

from ragcore.contracts import SavedRetriever
from ragcore.registry.components import ComponentSpec
from ragcore.retrievers import parallel
from ragcore.retrievers.dense_files import DenseRecord, merge_saved
from ragcore.retrievers.flat import Exact
from ragcore.retrievers.segments import Segments

LISTS = 1024
K = 10
GRAPHS = ("hnsw", "hnswlib")
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
    data = data_of(options)
    print(f"{os.cpu_count()} processors; {data.description}", flush=True)
    print(
        f"{'kind':8} {'segments':>8} {'merged':>6} {'searched':>8} {'ms':>8} {'ratio':>6} ", end=""
    )
    print(f"{'one thread':>10} {'together':>8} {'recall':>6} {'merge s':>7}")
    stored = by_subject(data.stored) if options.sorted else data.stored
    truth = brute_force(data.queries, stored)
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            measure(kind, stored, data.queries, truth, options, Path(folder))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, help="vectors")
    parser.add_argument("--dim", type=int, default=128, help="numbers in each")
    parser.add_argument("--rounds", type=int, default=40, help="searches of each")
    parser.add_argument("--segments", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["flat", "ivf", "hnsw"])
    parser.add_argument("--ef", type=int, default=64, help="candidates of a search of a graph")
    parser.add_argument("--asked", type=int, default=200, help="queries, for recall")
    parser.add_argument("--vectors", type=Path, help="a .npy file of vectors to search, [n, d]")
    parser.add_argument("--queries", type=Path, help="a .npy file of queries, [q, d]")
    parser.add_argument("--halving", action="store_true", help="segments of unequal sizes")
    parser.add_argument("--sorted", action="store_true", help="neighbours in the same segment")
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
    spec = with_ef(ComponentSpec("index", kind, *KINDS[kind]), options.ef)
    opened: dict[tuple[int, str], Segments] = {}
    merging: dict[int, float] = {}
    for number in options.segments:
        parts = built(spec, divided(stored, number, options.halving), folder / f"parts-{number}")
        merged = folder / f"merged-{number}"
        merged.mkdir()
        began = time.perf_counter()
        merge_saved(parts, merged, spec)
        merging[number] = time.perf_counter() - began
        shifts = DenseRecord.read(merged).shifts
        for way in ("whole", "narrowed") if number > 1 and kind in GRAPHS else ("whole",):
            opened[number, way] = Segments.load(merged, spec, shifts, mmap=True)
            if way == "whole":
                search_whole(opened[number, way])
        shutil.rmtree(folder / f"parts-{number}")
    clock = time.process_time if options.cpu else time.perf_counter
    times: dict[tuple[tuple[int, str], str], list[float]] = {}
    for turn in range(options.rounds):
        query = queries[turn % len(queries)][None]
        for searched, segments in opened.items():
            for way, asked, worth in (
                ("threads", query, parallel._WORTH),
                ("one", query, float("inf")),
                ("together", queries[:32], parallel._WORTH),
            ):
                if way == "together" and turn % 8:
                    continue
                usual, parallel._WORTH = parallel._WORTH, worth
                # What was just searched for lies in the processor's cache, most of one graph.
                segments.search(queries[turn % len(queries) - 1][None], K)
                began = clock()
                segments.search(asked, K)
                times.setdefault((searched, way), []).append(clock() - began)
                parallel._WORTH = usual
    middle = {key: median(each) for key, each in times.items()}
    first = next(iter(opened))
    for searched, segments in opened.items():
        number, way = searched
        hits = segments.search(queries, K).rows
        recall = np.mean([len(truth[i] & set(line)) / K for i, line in enumerate(hits.tolist())])
        ratios = [
            middle[searched, way] / middle[first, way] for way in ("threads", "one", "together")
        ]
        print(
            f"{kind:8} {number:8} {len(segments.shifts):6} {way:>8} "
            f"{1e3 * middle[searched, 'threads']:8.3f} "
            f"{ratios[0]:6.2f} {ratios[1]:10.2f} {ratios[2]:8.2f} {recall:6.3f} "
            f"{merging[number]:7.2f}",
            flush=True,
        )


def data_of(options: argparse.Namespace) -> Data:
    """Return the vectors of a file, or clustered ones."""
    if options.vectors is None:
        return clustered(options.count, options.asked, options.dim)
    if options.queries is None:
        return from_file(options.vectors, options.asked)
    stored, queries = (
        np.load(path).astype(np.float32) for path in (options.vectors, options.queries)
    )
    return Data(stored, queries, f"{len(stored):,} vectors of {options.vectors}")


def with_ef(spec: Any, ef: int) -> Any:
    """Return the spec of a graph that considers so many candidates; of others as it is."""
    match spec.use:
        case "hnsw":
            changes: dict[str, Any] = {"search": {"efSearch": ef}}
        case "hnswlib":
            changes = {"ef_search": ef}
        case _:
            return spec
    config = spec.config.model_copy(update=changes)
    return ComponentSpec(spec.kind, spec.use, spec.component, config)


def search_whole(segments: Segments) -> None:
    """Search each graph as widely as if it were the only one."""
    for segment in segments._segments:
        index: Any = segment.index
        index.capabilities = index.capabilities - {"width"}


def divided(stored: np.ndarray, number: int, halving: bool) -> list[np.ndarray]:
    """Divide vectors among segments: equal ones, or each half as large as the one before."""
    if not halving:
        return np.array_split(stored, number)
    shares = 0.5 ** np.arange(number)
    bounds = (np.cumsum(shares / shares.sum())[:-1] * len(stored)).round().astype(int)
    return np.split(stored, bounds)


def by_subject(stored: np.ndarray) -> np.ndarray:
    """Return vectors in the order of the one of 64 of them that each is nearest to."""
    rng = np.random.default_rng(1)
    middles = stored[rng.choice(len(stored), 64, replace=False)]
    nearest = (stored @ middles.T).argmax(axis=1)
    return np.ascontiguousarray(stored[nearest.argsort(kind="stable")])


def built(spec: Any, divided: list[np.ndarray], folder: Path) -> list[SavedRetriever]:
    """Build and save shards of one training."""
    trained = Segments(spec)
    training = folder / "training"
    training.mkdir(parents=True)
    if "spawn_empty" in spec.component.capabilities:
        trained.train(np.concatenate(divided)[:50_000], training)
    parts, first = [], 0
    for shard, vectors in enumerate(divided):
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
