"""Measure what `ragcore memory merge` takes: seconds, bytes written and peak memory.

Usage: python benchmarks/merge_shards.py [--shards 64] [--size 80000] [--dim 384]
           [--kinds exact flat hnsw ivf bm25] [--verify full sampled] [--json merges.jsonl]

Shards are built as `ragcore memory build --shard` does, of passages as those of scale.py, with
vectors that are drawn; then all are merged into a new store, whose files are in the system's cache.
`exact`, `flat` and `hnsw` are merged by hard links; few rows of the first two (up to 262,144) are
written as one segment. `ivf` is joined by lists, after one training, and `bm25` is computed again:
both are copied, so that they are printed apart. Of the seconds, "checking" are those of comparing
the shards with their sha256: of all bytes ("full"), or of some blocks of large files ("sampled");
"rest" is the merge itself, up to the new version being the current one. The shards of a kind are
built in one process, and each merge has a process to itself.

The disk must have room for the corpus, of 800 bytes a passage, twice, and for the shards of one
kind: 64 x 80,000 passages and 384 dimensions take 16 GB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from scaling import stages
from scaling.jobs import Job, Shared
from scaling.measuring import Clock, in_process, peak_memory
from scaling.passages import read_text, write_corpus

import ragcore
from ragcore.config import PipelineConfig
from ragcore.registry.components import ComponentSpec, spec_from_dict
from ragcore.retrievers.dense import Dense
from ragcore.store.catalog import Catalog
from ragcore.store.compacting import fragments_of

DATA: Final = Path(__file__).parents[2] / "shared" / "data"
LINKED, COPIED = ("exact", "flat", "hnsw"), ("ivf", "bm25")
VERSION: Final = "merged"


def main() -> None:
    options = _options()
    if options.stage:
        print(json.dumps(_run(options.stage, json.loads(options.job))))
        return
    script, passages = Path(__file__).resolve(), options.shards * options.size
    heading = ("kind", "verify", "segments", "seconds", "checking", "rest", "cpu", "written", "of")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        shared = Shared(Path(folder))
        text = read_text(options.data if options.data.is_dir() else None)
        write_corpus(shared.corpus, text, passages)
        print(
            f"{options.shards} shards of {options.size:,} passages, {options.dim} dimensions, "
            f"text {text.kind}"
        )
        print(" ".join(f"{name:>9}" for name in heading), f"{'peak MB':>9}", flush=True)
        is_copied = False
        for kind in (*LINKED, *COPIED):
            if kind not in options.kinds:
                continue
            if kind in COPIED and not is_copied:
                is_copied = True
                print("copied, not linked:")
            job = {
                "folder": str(Path(folder) / kind),
                "kind": kind,
                "passages": passages,
                "dim": options.dim,
                "shards": options.shards,
            }
            in_process(script, "shards", {**job, "shard": 0})
            for verify in options.verify:
                merged = in_process(script, f"merge-{verify}", job)
                _report({"kind": kind, "verify": verify, **merged}, options)
            shutil.rmtree(job["folder"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--size", type=int, default=2_000, help="passages of a shard")
    parser.add_argument("--dim", type=int, default=384, help="numbers of a vector")
    parser.add_argument("--kinds", nargs="+", choices=LINKED + COPIED, default=LINKED + COPIED)
    parser.add_argument(
        "--verify", nargs="+", choices=("full", "sampled"), default=("full", "sampled")
    )
    parser.add_argument("--data", type=Path, default=DATA, help="the development data")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, help="append each measurement, a line of JSON")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def _report(row: dict[str, Any], options: argparse.Namespace) -> None:
    numbers = (f"{row[name]:9.2f}" for name in ("seconds", "checking", "rest", "processor_seconds"))
    sizes = (f"{row[name] / 1e6:6.1f} MB" for name in ("written", "bytes"))
    peak = (row["peak_anonymous"] or row["peak_rss"]) / 1e6
    print(
        f"{row['kind']:>9} {row['verify']:>9} {row['segments']:9}",
        *(*numbers, *sizes, f"{peak:9.0f}"),
        flush=True,
    )
    if options.json is not None:
        row |= {name: getattr(options, name) for name in ("shards", "size", "dim")}
        with options.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _config_of(job: Job, store: Path) -> PipelineConfig:
    """Return the pipeline of a job, with the core's own index for the kind `exact`."""
    if str(job.kind) != "exact":
        return stages.config_of(job, store)
    config = stages.config_of(replace(job, kind="flat"), store)
    dense = config.memory.retriever.config
    index = spec_from_dict("index", {"use": "exact"})
    settings = Dense.Config(encoder=dense.encoder, index=index)
    retriever = ComponentSpec("retriever", "dense", Dense, settings)
    memory = config.memory.model_copy(update={"retriever": retriever})
    return config.model_copy(update={"memory": memory})


def _shards(job: Job) -> dict[str, Any]:
    """Build all shards; train the index of the kind `ivf` before, on a sample of the corpus."""
    config, training = _config_of(job, job.store), Path(job.folder) / "training"
    if job.kind == "ivf":
        ragcore.train_index(config, out=training)
    for number in range(job.shards):
        ragcore.build_shard(
            config,
            number=number,
            of=job.shards,
            out=Path(job.folder) / "shards",
            training=training if training.exists() else None,
        )
    return {}


def _merge(job: Job, verify: Any) -> dict[str, Any]:
    """Merge all shards into a store, which is removed after it was measured."""
    store, checked, clock = Path(job.folder) / "store", 0.0, Clock()

    def note(stage: str, done: int, total: int | None) -> None:
        nonlocal checked
        if stage == "shards":
            checked = clock.seconds

    built = ragcore.merge_shards(
        _config_of(job, store),
        [Path(job.folder) / "shards"],
        version=VERSION,
        verify=verify,
        progress=note,
    )
    figures = clock.row()
    files = [path.stat() for path in (store / "versions" / VERSION).rglob("*") if path.is_file()]
    written = sum(each.st_size for each in files if each.st_nlink == 1)
    with Catalog(store).lease(VERSION) as version:
        fragments = fragments_of(version, _config_of(job, store).memory.retriever)
    shutil.rmtree(store)
    figures["checking"] = checked
    figures["rest"] = round(figures["seconds"] - checked, 7)
    figures["segments"] = 1 if fragments is None else fragments.segments
    return {**figures, "written": written, "bytes": built.bytes}


def _run(stage: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a stage in this process; return what it measured, with its peaks of memory."""
    with peak_memory() as peak:
        name, _, verify = stage.partition("-")
        measured = _shards(Job(**job)) if name == "shards" else _merge(Job(**job), verify)
    return {**measured, **peak.row()}


if __name__ == "__main__":
    main()
