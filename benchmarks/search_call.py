"""What ragcore adds to one search of FAISS and of hnswlib, in microseconds of processor time.

    python benchmarks/search_call.py

One question, 10 hits of 400 random vectors of 64 dimensions, one thread: so small an index takes a
few microseconds, and what is around it shows. Minima of many repeats.
"""

from __future__ import annotations

import argparse
import time
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import faiss
import hnswlib
import numpy as np
from ragcore_faiss.config import FaissConfig
from ragcore_faiss.index import Faiss
from ragcore_hnswlib.config import HnswlibConfig
from ragcore_hnswlib.index import Hnswlib

FACTORIES: Final = ("Flat", "SQ8", "IVF4,Flat", "HNSW32")
VECTORS: Final = 400
DIM: Final = 64
HITS: Final = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1000, help="searches of a repeat")
    parser.add_argument("--repeats", type=int, default=15, help="the fastest one counts")
    parser.add_argument("--small", action="store_true", help="few calls, to try the script")
    options = parser.parse_args()
    calls, repeats = (10, 2) if options.small else (options.calls, options.repeats)
    faiss.omp_set_num_threads(1)
    vectors = np.random.default_rng(0).standard_normal((VECTORS, DIM), np.float32)
    query = vectors[:1].copy()

    def microseconds(search: Callable[[], Any]) -> float:
        seconds = timeit.repeat(search, number=calls, repeat=repeats, timer=time.thread_time)
        return min(seconds) / calls * 1e6

    print(f"{'index':12} {'library':>8} {'ragcore adds':>13}   microseconds a search")
    for factory in FACTORIES:
        index = Faiss(FaissConfig(factory=factory), dim=DIM)
        bare = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
        bare.train(vectors)
        bare.add(vectors)
        report(factory, index, vectors, query, partial(bare.search, query, HITS), microseconds)
    graph = hnswlib.Index("ip", DIM)
    graph.init_index(VECTORS)
    graph.set_num_threads(1)
    graph.add_items(vectors, np.arange(VECTORS))
    index = Hnswlib(HnswlibConfig(threads=1), dim=DIM)
    report("hnswlib", index, vectors, query, partial(graph.knn_query, query, HITS), microseconds)
    return 0


def report(
    name: str,
    index: Any,
    vectors: Any,
    query: Any,
    library: Callable[[], Any],
    microseconds: Callable[[Callable[[], Any]], float],
) -> None:
    """Print the time of the library's own search, and what an index of ragcore adds to it."""
    index.add(np.arange(VECTORS), vectors)
    index.search(query, HITS)
    bare, whole = microseconds(library), microseconds(lambda: index.search(query, HITS))
    print(f"{name:12} {bare:8.1f} {whole - bare:13.1f}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
