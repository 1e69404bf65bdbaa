"""Time an experiment: twelve points of BM25's k1 and b on Cranfield, costs and figures included.

    python benchmarks/experiment_sweep.py --data ../shared/data

Prints seconds of the first run, of a second one that finds all runs, and how the first compares
with evaluating the twelve systems one after another.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from ragcore.build import build_memory, open_memory
from ragcore.config import load_config
from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.report import QuestionSource
from ragcore.evaluation.running import evaluate
from ragcore.experiments.running import run_systems
from ragcore.experiments.systems import Experiment, System

HERE: Final = Path(__file__).resolve().parent
K1: Final = (0.6, 0.9, 1.2, 1.5)
B: Final = (0.3, 0.5, 0.75)
METRICS: Final = ("nDCG@10", "R@100", "RR@10", "AP")
PIPELINE: Final = """\
ragcore: 1
memory:
  store: store
  corpus: {use: jsonl, path: passages.jsonl}
  retriever: {use: bm25}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cost", type=int, default=20, help="questions to measure costs with")
    arguments = parser.parse_args()
    source = arguments.data / "ir" / "cranfield"
    if not source.is_dir():
        print(f"skipped: no Cranfield in {source} (development data)")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(source, folder)
        build_memory(folder / "pipeline.yaml", version="v")
        experiment = sweep(folder, arguments.processes, arguments.cost)
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            run = run_systems(experiment)
            seconds.append(time.perf_counter() - started)
        apart = one_by_one(experiment)
    searched = run.counters.searches
    print(
        f"{len(experiment.systems)} systems, {len(run.runs[0].report.predictions)} questions, "
        f"costs of {arguments.cost}: {seconds[0]:.1f} s"
    )
    print(f"again, from the folder: {seconds[1]:.1f} s, {searched} searches")
    print(f"evaluated one by one, without costs: {apart:.1f} s ({seconds[0] / apart:.2f} x)")
    return 0


def write_data(source: Path, folder: Path) -> None:
    """Write the corpus, the questions with their grades, and the pipeline."""
    grades: dict[str, dict[str, int]] = {}
    for row in rows(source / "qrels.jsonl.gz"):
        grades.setdefault(row["qid"], {})[row["docid"]] = row["rel"]
    passages = [row for row in rows(source / "passages.jsonl.gz") if row["text"].strip()]
    questions = [
        {"id": row["id"], "question": row["question"], "relevance": grades[row["id"]]}
        for row in rows(source / "questions.jsonl.gz")
        if row["id"] in grades
    ]
    for name, values in (("passages.jsonl", passages), ("questions.jsonl", questions)):
        text = "".join(json.dumps(value) + "\n" for value in values)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")


def rows(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def sweep(folder: Path, processes: int, cost: int) -> Experiment:
    """Return the experiment of all points."""
    pipeline = folder / "pipeline.yaml"
    systems = []
    for k1, b in itertools.product(K1, B):
        overrides = (f"memory.retriever.k1={k1}", f"memory.retriever.b={b}")
        config = load_config(pipeline, overrides)
        systems.append(System(f"bm25, k1={k1}, b={b}", pipeline, overrides, config))
    return Experiment(
        name="sweep",
        systems=tuple(systems),
        questions=QuestionSource(folder / "questions.jsonl"),
        metrics=METRICS,
        baseline=systems[0].name,
        output=folder / "results",
        retrieval=True,
        processes=processes,
        cost_questions=cost,
    )


def one_by_one(experiment: Experiment) -> float:
    """Return the seconds of evaluating each system by itself in this process."""
    started = time.perf_counter()
    asked = experiment.questions.read()
    for system in experiment.systems:
        assert system.config is not None
        with open_memory(system.config) as memory:
            evaluate(memory, asked, make_metrics(METRICS))
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
