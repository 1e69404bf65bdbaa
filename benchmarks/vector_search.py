"""Vector indexes: what ragcore adds to a search, recall against speed, and the cost at 21 million.

Usage: python benchmarks/vector_search.py [--overhead] [--recall] [--paper] [--small]
           [--kinds HNSW32 IVF] [--json FILE] [--plot FILE.svg] [--vectors FILE.npy]

  --overhead  an index's `search` over the library's own on the same object, queries one by one and
              64 at once: rounds of both in turn, the median of the rounds' ratios
  --recall    every kind of index: recall@10 against queries a second, time to build and to load,
              bytes a vector
  --paper     bytes and hours for the paper's 21,015,324 vectors of 768 dimensions, from rates
              measured on small parts of it

Without one of these, all are measured, which takes some twenty minutes on two cores. The vectors
are clustered ones from a seed (vectors/data.py), the queries further ones of the same mixture, and
recall is measured against exact search. Indexes are built with all cores and searched with one
thread, or --threads.

With --json the measurements are appended to a file, a line each, and the tables and the plot are of
all that the file holds: so kinds can be measured in several runs. --report measures nothing more.
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
from vectors.searching import Wanted, search
from vectors.tables import show


def main() -> int:
    options = parse()
    log = Log(options.json)
    everything = not (options.overhead or options.recall or options.paper or options.report)
    print(f"{os.cpu_count()} cores; searched with {options.threads} thread(s)", flush=True)
    if options.overhead or options.recall or everything:
        count, dim, asked = (10_000, 32, 256) if options.small else (200_000, 384, 512)
        if options.vectors:
            data = from_file(options.vectors, asked)
        else:
            data = clustered(count, asked, dim)
        print(data.about, flush=True)
        wanted = Wanted(
            recall=options.recall or everything,
            overhead=options.overhead or everything,
            threads=options.threads,
            budget=0.05 if options.small else 0.6,
            rounds=6 if options.small else 12,
        )
        kinds = searched_kinds(data.dim, len(data.stored))
        search(filter(options.chosen, kinds), data, wanted, log)
    if options.paper or everything:
        data = clustered(10_000 if options.small else 100_000, 8, paper.DIM)
        print(f"{data.about}, for the paper's index", flush=True)
        lists = 256 if options.small else CLUSTERS
        paper.reckon(filter(options.chosen, paper_kinds(data.dim, lists)), data, log)
    show(log)
    if options.plot:
        plot(log, options.plot)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--overhead", action="store_true", help="ragcore over the library itself")
    parser.add_argument("--recall", action="store_true", help="recall against speed")
    parser.add_argument("--paper", action="store_true", help="the cost of the paper's index")
    parser.add_argument("--report", action="store_true", help="measure nothing, show what there is")
    parser.add_argument("--kinds", nargs="+", default=[""], help="those whose names begin so")
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
