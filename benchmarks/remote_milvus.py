"""Measure vectors in Milvus against FAISS on the same machine: latency and throughput.

Usage: python benchmarks/remote_milvus.py [--rows N] [--dim D] [--clients 1 8 32] [--seconds S]
           [--kinds exact hnsw] [--uri URI]

Builds, searches and prints as remote.py does for PostgreSQL; bytes are FAISS's alone, since Milvus
does not tell its own. Without --uri a Milvus is started on this machine, from the environment that
`make test-engines` makes, or RAGCORE_TEST_MILVUS names: no network is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "plugins/ragcore-milvus/tests")]


def main() -> int:
    parser = argparse.ArgumentParser(description="see the beginning of this file")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--kinds", nargs="+", default=["exact", "hnsw"])
    parser.add_argument("--uri")
    options = parser.parse_args()
    try:
        import faiss
        from milvus_server import Unavailable, running
        from ragcore_faiss.index import Faiss
        from ragcore_milvus.config import MilvusConfig
        from ragcore_milvus.index import Milvus
        from remote import EF_SEARCH, K, built, drawn, measured, recall_of, row
    except ImportError as error:
        print(f"skipped: {error}")
        return 0
    faiss.omp_set_num_threads(1)
    vectors, queries, best = drawn(options.rows, options.dim)
    with ExitStack() as stack:
        uri = options.uri
        if uri is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                uri = stack.enter_context(running(folder / "server")).uri
            except Unavailable as reason:
                print(f"skipped: {reason}; name a server with --uri")
                return 0
        print(f"{options.rows:,} x {options.dim}, {os.cpu_count()} cores, k = {K}")
        columns = "kind clients build_s MB recall q/s median_ms p95_ms median_ratio q/s_ratio"
        print("  ".join(f"{name:>12}" for name in columns.split()))
        for kind in options.kinds:
            factory = "HNSW32" if kind == "hnsw" else "Flat"
            search = {"efSearch": EF_SEARCH} if kind == "hnsw" else {}
            config = MilvusConfig(uri=uri, method=kind, m=32, ef_search=EF_SEARCH, timeout=120)
            local, seconds, size, _ = built(
                stack, Faiss, Faiss.Config(factory=factory, search=search), vectors
            )
            remote, remote_seconds, _, pointer = built(stack, Milvus, config, vectors)
            # As ten minutes after the build, when searches no longer wait for writes.
            remote._collection._completed = 0.0
            stack.callback(Milvus.drop, pointer, config)
            recall, remote_recall = (recall_of(index, queries, best) for index in (local, remote))
            for clients in options.clients:
                rate, median, tail = measured(local, queries, clients, options.seconds)
                row(f"faiss {factory}", clients, seconds, size, recall, rate, median, tail)
                remote_figures = measured(remote, queries, clients, options.seconds)
                ratios = (remote_figures[1] / median, remote_figures[0] / rate)
                name = f"milvus {kind}"
                row(name, clients, remote_seconds, 0, remote_recall, *remote_figures, *ratios)
    return 0


if __name__ == "__main__":
    sys.exit(main())
