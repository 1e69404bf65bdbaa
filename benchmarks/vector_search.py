"""Measure vector indexes: ragcore's overhead, recall against speed, the cost of 21 million.

Usage: python benchmarks/vector_search.py [--overhead] [--recall] [--paper] [--small]
           [--kinds HNSW32 IVF] [--json FILE] [--plot FILE.svg] [--vectors FILE.npy]

  --overhead  the time of an index's `search`, divided by the library's own on the same object, for
              queries one by one and 64 together: rounds of both in turn, the median of the ratios
  --recall    every kind of index: recall@10 against queries a second, time to build and to load,
              bytes a vector
  --paper     bytes and hours for the paper's 21,015,324 vectors of 768 dimensions, from rates
              measured on small parts of it

Without one of these options all are measured, which takes about twenty minutes on two cores. The
vectors are drawn from a seeded mixture (vectors/data.py), the queries are further points of it, and
recall is measured against exact search. Indexes are built with all cores and searched with one
thread, or with --threads.

With --json the measurements are appended to a file, one a line, and the tables and the plot show
everything in the file; so you can measure the kinds in several runs. --report only shows the file.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from vectors import paper
from vectors.data import clustered, from_file
from vectors.kinds import CLUSTERS, paper_kinds, searched_kinds
from vectors.records import Log, Point
from vectors.searching import Plan, search
from vectors.tables import show


def main() -> int:
    options = parse()
    log = Log(options.json)
    everything = not (options.overhead or options.recall or options.paper or options.report)
    print(f"{os.cpu_count()} cores; searched with {options.threads} thread(s)", flush=True)
    if options.overhead or options.recall or everything:
        count, dim, queries = (10_000, 32, 256) if options.small else (200_000, 384, 512)
        if options.vectors:
            data = from_file(options.vectors, queries)
        else:
            data = clustered(count, queries, dim)
        print(data.description, flush=True)
        plan = Plan(
            recall=options.recall or everything,
            overhead=options.overhead or everything,
            threads=options.threads,
            budget=0.05 if options.small else 0.6,
            rounds=6 if options.small else 12,
        )
        kinds = searched_kinds(data.dim, len(data.stored))
        search(filter(options.chosen, kinds), data, plan, log)
    if options.paper or everything:
        data = clustered(10_000 if options.small else 100_000, 8, paper.DIM)
        print(f"{data.description}, for the paper's index", flush=True)
        lists = 256 if options.small else CLUSTERS
        paper.estimate(filter(options.chosen, paper_kinds(data.dim, lists)), data, log)
    show(log)
    if options.plot:
        plot(log, options.plot)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--overhead", action="store_true", help="ragcore's time over the library's")
    parser.add_argument("--recall", action="store_true", help="recall against speed")
    parser.add_argument("--paper", action="store_true", help="the cost of the paper's index")
    parser.add_argument("--report", action="store_true", help="measure nothing, show the file")
    parser.add_argument(
        "--kinds", nargs="+", default=[""], help="only kinds whose names begin with these"
    )
    parser.add_argument("--json", type=Path, help="a file to append the measurements to")
    parser.add_argument("--plot", type=Path, help="draw recall against speed into this file")
    parser.add_argument("--vectors", type=Path, help="a .npy file of your own vectors, [n, d]")
    parser.add_argument("--threads", type=int, default=1, help="for searching, not for building")
    parser.add_argument("--small", action="store_true", help="few vectors: to try the script")
    options = parser.parse_args()
    begins = tuple(options.kinds)
    options.chosen = lambda kind: kind.name.startswith(begins)
    return options


def plot(log: Log, path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        print("skipped the plot: matplotlib is not installed (pip install matplotlib)")
    elif not any(log.of(Point)):
        print("skipped the plot: nothing was measured with --recall")
    else:
        from vectors.plot import draw

        draw(log, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
