"""Measure memories of millions of passages from their corpus to a swap, and fit rates for plans.

Usage: python benchmarks/scale.py --millions 1 2 5 --json scale.jsonl [--kinds bm25 flat hnsw]
       python benchmarks/scale.py --thousands 20
       python benchmarks/scale.py --report --json scale.jsonl --rates-out rates.json --page PAGE.md

For each kind of index and each size: build, train, open, search one by one, update 0.1 %, swap
while a thread searches, build in shards, merge these, search the merged memory. Each stage runs in
a process of its own, so that its peak of memory is its own. Passages are the development data
repeated with edits where it is there (--data), else made from a seed. Dense memories have an
encoder that draws vectors, so that only ragcore's work is timed; real encoders are timed apart
(--encoders). Where other programs keep the processors busy, each time is also the processor's.

Each measurement is a line of JSON; tables follow. With --json the lines are appended to a file, and
another run leaves out each kind and size that is in it: it goes on where one stopped. --rates-out
writes what `ragcore memory plan --rates` reads, --page the tables into a page. Files are in a
temporary folder; what does not fit on the disk or into memory is left out, which is printed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from scaling import encoding_rate, stages
from scaling.fitting import write_rates
from scaling.jobs import Job, Shared
from scaling.measuring import in_process
from scaling.passages import read_text
from scaling.records import Log, Record, circumstances
from scaling.tables import refresh_page, tables

from ragcore.planning.layout import FILE_KINDS, IndexKind, index_bytes

DATA: Final = Path(__file__).parents[2] / "shared" / "data"
TEXT_BYTES: Final = 800
BM25_BYTES: Final = 1_200
"""Of a passage's counts and scores, generously: for the check of free room alone."""

GRAPHS_UP_TO: Final = 2_000_000
GIB: Final = 1 << 30


def main() -> None:
    options = _options()
    if options.stage == "encode":
        print(json.dumps(encoding_rate.encode(**json.loads(options.job))))
        return
    if options.stage:
        print(json.dumps(stages.run(options.stage, json.loads(options.job))))
        return
    log = Log(options.json, fresh=options.fresh)
    if not options.report:
        _measure(options, log)
    records = log.all()
    if not records:
        sys.exit("nothing was measured: see what was left out above")
    print(tables(records))
    if options.rates_out:
        print(f"{write_rates(options.rates_out, records)} rates in {options.rates_out}")
    for page in options.page:
        refresh_page(page, records)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[], help="of passages")
    parser.add_argument("--thousands", type=float, nargs="+", default=[], help="of passages")
    parser.add_argument("--kinds", nargs="+", choices=FILE_KINDS, default=list(FILE_KINDS))
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--shards", type=int, default=4, help="0 for none")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--graphs-up-to", type=int, default=GRAPHS_UP_TO, help="passages")
    parser.add_argument("--encoders", nargs="*", choices=encoding_rate.SHAPES, default=None)
    parser.add_argument("--encoded", type=int, default=192, help="passages, by each encoder")
    parser.add_argument("--data", type=Path, default=DATA, help="the development data")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, help="append measurements, and leave out what it has")
    parser.add_argument("--fresh", action="store_true", help="discard what --json has")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--rates-out", type=Path)
    parser.add_argument("--page", type=Path, nargs="+", default=[])
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(options: argparse.Namespace, log: Log) -> None:
    sizes = [round(1e6 * each) for each in options.millions]
    sizes += [round(1e3 * each) for each in options.thousands]
    sizes = sorted(sizes or [20_000, 50_000])
    script, data = Path(__file__).resolve(), options.data if options.data.is_dir() else None
    about = circumstances()
    for name in encoding_rate.SHAPES if options.encoders is None else options.encoders:
        record = {"stage": "encode", "kind": name, "passages": options.encoded, **about}
        if not log.has([record]):
            job = {"name": name, "count": options.encoded}
            log.add({**record, **in_process(script, "encode", job)})
    text = read_text(data)
    if data is None:
        print(f"{options.data} is missing: the text is invented, by a seed", flush=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            shared, text_bytes = Shared(Path(folder)), 0.0
            for kind in options.kinds:
                job = Job(
                    folder=str(Path(folder) / kind),
                    kind=kind,
                    passages=size,
                    dim=options.dim,
                    shards=options.shards,
                )
                plan = _stages(job)
                common = {"kind": kind, "passages": size, "dim": options.dim, "text": text.kind}
                common |= {"shards": options.shards, **about}
                if log.has({**common, **each} for each in plan):
                    continue
                if not _fits(job, Path(folder), options.graphs_up_to):
                    continue
                if not shared.corpus.exists():
                    text_bytes = shared.write(text, size, options.questions)
                if kind != "bm25" and not shared.exact.exists():
                    in_process(script, "exact", asdict(job))
                _run(script, job, plan, {**common, "text_bytes": round(text_bytes, 2)}, log)


def _stages(job: Job) -> list[Record]:
    """Return the stages of a job, in their order, with the number of a shard where it has one."""
    names = ["build", "train", "open", "search", "update", "swap"]
    names = [name for name in names if name != "train" or _is_trained(job.kind)]
    plan: list[Record] = [{"stage": name} for name in names]
    if job.shards:
        if _is_trained(job.kind):
            plan.append({"stage": "train-shards"})
        plan += [{"stage": "shard", "shard": number} for number in range(job.shards)]
        plan += [{"stage": "merge"}, {"stage": "merged-search"}]
    return plan


def _is_trained(kind: IndexKind) -> bool:
    return kind in ("sq8", "ivf", "ivf-pq")


def _run(script: Path, job: Job, plan: list[Record], common: Record, log: Log) -> None:
    """Run all stages of a job; its files are deleted afterwards."""
    Path(job.folder).mkdir()
    try:
        for each in plan:
            if each["stage"] == "train-shards":
                # Shards are built from the corpus alone: these stores are not needed any more.
                shutil.rmtree(job.store)
            asked: dict[str, Any] = {**asdict(job), "shard": each.get("shard", 0)}
            log.add({**common, **each, **in_process(script, each["stage"], asked)})
    finally:
        shutil.rmtree(job.folder)


def _fits(job: Job, folder: Path, graphs_up_to: int) -> bool:
    """Return whether a job has room on the disk and in memory; print why where it has not."""
    label = f"{job.kind}, {job.passages:,} passages"
    if job.kind == "hnsw" and job.passages > graphs_up_to:
        print(f"{label}: left out, a graph takes long to build (--graphs-up-to)", flush=True)
        return False
    vectors = 0 if job.kind == "bm25" else 4 * job.dim * job.passages
    index = BM25_BYTES * job.passages if job.kind == "bm25" else _index_bytes(job)
    memory = index + TEXT_BYTES * job.passages
    # The corpus; the memory, and its shards and what is merged of them; vectors while it is built.
    needed = TEXT_BYTES * job.passages + (3 if job.shards else 2) * memory + 2 * vectors
    free = shutil.disk_usage(folder).free
    if needed > 0.9 * free:
        print(f"{label}: left out, {needed / GIB:.0f} GiB needed of {free / GIB:.0f} GiB on disk")
        return False
    available = _available_memory()
    if available is not None and 1.5 * index > available:
        print(f"{label}: left out, {index / GIB:.0f} GiB of index, {available / GIB:.0f} GiB free")
        return False
    return True


def _index_bytes(job: Job) -> float:
    return index_bytes(job.kind, job.passages, job.dim)


def _available_memory() -> int | None:
    """Return the bytes that a new process can have (Linux), or None where they are not told."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    lines = (line.split() for line in info.read_text().splitlines())
    return next((int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:"), None)


if __name__ == "__main__":
    main()
