"""Compare the statistics of experiments with those of ranx and PyTerrier on the same runs.

    python benchmarks/significance.py

No time: four invented runs on invented judgments go through each library that is installed
(`pip install ranx python-terrier`), and p is compared: ranx's randomisation test and t-test, and
the t-tests of PyTerrier's Experiment with statsmodels' Holm correction. A library that is missing
is left out with a reason. Exits with 1 where a difference is larger than chance and rounding allow.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import math
import sys
from types import ModuleType
from typing import Final

import ir_measures
import numpy as np
import scipy.stats

from ragcore.evaluation.choosing import make_metrics
from ragcore.evaluation.figures import figures
from ragcore.evaluation.prediction import Prediction, Ranking
from ragcore.evaluation.report import Report
from ragcore.evaluation.resampling import EXCHANGES
from ragcore.experiments.results import Comparison
from ragcore.experiments.statistics import compare_with_baseline, holm

# ragcore's and PyTerrier's name of a measure, and ranx's.
METRICS: Final = {"nDCG@10": "ndcg@10", "AP": "map", "RR": "mrr", "R@20": "recall@20"}
NOISE: Final = {"baseline": 1.0, "alike": 1.0, "a bit better": 0.96, "better": 0.8}
PASSAGES: Final = 60

Rankings = dict[str, dict[str, dict[str, float]]]
"""By run, question and passage a score."""
Qrels = dict[str, dict[str, int]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=225)
    parser.add_argument("--small", action="store_true", help="few questions, to try the script")
    options = parser.parse_args()
    qrels, runs = invented(60 if options.small else options.questions)
    ours = compared(qrels, runs)
    faults = 0
    for name, check in (("ranx", against_ranx), ("pyterrier", against_pyterrier)):
        try:
            library = importlib.import_module(name)
        except ImportError as missing:
            print(f"{name}: left out, {missing}")
            continue
        faults += check(library, qrels, runs, ours)
    return 1 if faults else 0


def invented(questions: int) -> tuple[Qrels, Rankings]:
    """Make judgments, and runs whose scores are the grades with more or less noise."""
    rng = np.random.default_rng(0)
    qrels: Qrels = {}
    runs: Rankings = {name: {} for name in NOISE}
    for number in range(questions):
        grades = rng.choice(3, PASSAGES, p=[0.85, 0.1, 0.05])
        grades[rng.integers(PASSAGES)] = 1
        ids = [f"p{passage}" for passage in range(PASSAGES)]
        question = f"q{number}"
        qrels[question] = {name: int(grade) for name, grade in zip(ids, grades, strict=True)}
        hardness = rng.normal(0, 1, PASSAGES)
        for run, noise in NOISE.items():
            scores = grades + noise * (hardness + rng.normal(0, 0.5, PASSAGES))
            runs[run][question] = dict(zip(ids, scores.tolist(), strict=True))
    return qrels, runs


def compared(qrels: Qrels, runs: Rankings) -> dict[tuple[str, str], tuple[Comparison, float]]:
    """Compare by ragcore; also the t-test of its scores, by run and metric."""
    metrics = make_metrics(list(METRICS))
    reports = {name: report(qrels, run) for name, run in runs.items()}
    others = [name for name in runs if name != "baseline"]
    rows = compare_with_baseline(metrics, reports["baseline"], [reports[name] for name in others])
    comparisons = {}
    for index, metric in enumerate(METRICS):
        first = [row[0] for row in reports["baseline"].figures[index].by_question if row]
        for name, row in zip(others, rows, strict=True):
            scores = [row[0] for row in reports[name].figures[index].by_question if row]
            comparisons[name, metric] = (
                row[metric],
                float(scipy.stats.ttest_rel(scores, first).pvalue),
            )
    return comparisons


def report(qrels: Qrels, run: dict[str, dict[str, float]]) -> Report:
    predictions = []
    for question, scores in run.items():
        ids = sorted(scores, key=lambda name: -scores[name])
        ranking = Ranking(tuple(ids), tuple(scores[name] for name in ids), 1000, qrels[question])
        relevant = tuple(name for name, grade in qrels[question].items() if grade)
        predictions.append(
            Prediction(question, "", (), False, relevant, None, None, None, (), ranking=ranking)
        )
    return Report(
        tuple(predictions), tuple(figures(make_metrics(list(METRICS)), predictions)), "", depth=1000
    )


def against_ranx(
    ranx: ModuleType,
    qrels: Qrels,
    runs: Rankings,
    ours: dict[tuple[str, str], tuple[Comparison, float]],
) -> int:
    """Compare p with ranx's two tests; return how many differ."""
    print(f"ranx {importlib.metadata.version('ranx')}")
    tables = [ranx.Run(run, name=name) for name, run in runs.items()]
    reports = {
        test: ranx.compare(
            ranx.Qrels(qrels),
            tables,
            list(METRICS.values()),
            stat_test=test,
            n_permutations=EXCHANGES,
        )
        for test in ("fisher", "student")
    }
    print(
        f"{'run':12} {'metric':8} {'difference':>10} {'ranx':>8} {'p':>8} {'ranx':>8} "
        f"{'t-test':>8} {'ranx':>8}  win/tie/loss"
    )
    faults = 0
    for (run, metric), (comparison, student) in ours.items():
        theirs = METRICS[metric]
        results = reports["fisher"].results
        difference = results[run][theirs] - results["baseline"][theirs]
        fisher, theirs_student = (
            report.comparisons["baseline", run][theirs]["p_value"] for report in reports.values()
        )
        counts = reports["fisher"].win_tie_loss[run, "baseline"][theirs]
        wins = (counts["W"], counts["T"], counts["L"])
        print(
            f"{run:12} {metric:8} {comparison.difference:10.4f} {difference:8.4f} "
            f"{comparison.p:8.4f} {fisher:8.4f} {student:8.4f} {theirs_student:8.4f}  "
            f"{comparison.wins}/{comparison.ties}/{comparison.losses} {wins}"
        )
        error = 4 * math.sqrt(2 * max(fisher * (1 - fisher), 1 / EXCHANGES) / EXCHANGES)
        same = (
            abs(comparison.difference - difference) < 1e-6
            and comparison.p is not None
            and abs(comparison.p - fisher) <= error
            and abs(student - theirs_student) < 1e-6
            and wins == (comparison.wins, comparison.ties, comparison.losses)
        )
        if not same:
            print("    DIFFERS")
            faults += 1
    return faults


def against_pyterrier(
    pyterrier: ModuleType,
    qrels: Qrels,
    runs: Rankings,
    ours: dict[tuple[str, str], tuple[Comparison, float]],
) -> int:
    """Compare the t-test and Holm's correction with those of Experiment; return how many differ."""
    import pandas as pd

    print(f"python-terrier {importlib.metadata.version('python-terrier')}")
    frames = [
        pd.DataFrame(
            [(qid, name, score) for qid, row in run.items() for name, score in row.items()],
            columns=["qid", "docno", "score"],
        )
        for run in runs.values()
    ]
    judged = pd.DataFrame(
        [(qid, name, grade) for qid, row in qrels.items() for name, grade in row.items()],
        columns=["qid", "docno", "label"],
    )
    topics = pd.DataFrame({"qid": list(qrels), "query": list(qrels)})
    table = pyterrier.Experiment(
        [pyterrier.model.add_ranks(frame) for frame in frames],
        topics,
        judged,
        [ir_measures.parse_measure(name) for name in METRICS],
        names=list(runs),
        baseline=0,
        correction="holm",
        filter_by_qrels=False,
    ).set_index("name")
    faults = 0
    print(f"{'run':12} {'metric':8} {'t-test':>8} {'theirs':>8} {'Holm':>8} {'theirs':>8}")
    for metric in METRICS:
        names = [name for name in runs if name != "baseline"]
        ps = [ours[name, metric][1] for name in names]
        for name, p, corrected in zip(names, ps, holm(ps), strict=True):
            row = table.loc[name]
            theirs = (row[f"{metric} p-value"], row[f"{metric} p-value corrected"])
            print(
                f"{name:12} {metric:8} {p:8.4f} {theirs[0]:8.4f} {corrected:8.4f} {theirs[1]:8.4f}"
            )
            if abs(p - theirs[0]) > 1e-6 or abs(corrected - theirs[1]) > 1e-6:
                print("    DIFFERS")
                faults += 1
    return faults


if __name__ == "__main__":
    sys.exit(main())
